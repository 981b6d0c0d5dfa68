// SPDX-License-Identifier: GPL-2.0

//! Hosts that are adapters of Fibre Channel.
//!
//! This is the little of the transport that a host needs that does not see the fabric: its own
//! names, one remote port that stands for all, and scans that user space asks for.
//!
//! C header: [`include/scsi/scsi_transport_fc.h`](srctree/include/scsi/scsi_transport_fc.h)

use super::Template;
use crate::{
    bindings,
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// World wide names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wwns {
    node: u64,
    port: u64,
}

/// Names, and where the transport shows them.
struct State {
    wwns: Wwns,
    /// The attributes of the host, while it is registered.
    attributes: Option<NonNull<bindings::fc_host_attrs>>,
}

// SAFETY: Any thread may write the attributes: while they are here they are valid.
unsafe impl Send for State {}

/// The names of an adapter, which may change while it is registered.
#[pin_data]
pub struct Names {
    #[pin]
    state: SpinLockIrq<State>,
}

impl Names {
    /// Names of an adapter: the world wide names of its node and of its port.
    pub fn new(node: u64, port: u64) -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock_irq!(State {
                wwns: Wwns { node, port },
                attributes: None,
            }),
        })
    }

    /// The adapter has other names from now on. Any context.
    pub fn set(&self, node: u64, port: u64) {
        let mut state = self.state.lock();

        state.wwns = Wwns { node, port };
        state.show();
    }

    /// Shows the names there from now on.
    ///
    /// # Safety
    ///
    /// They must be valid, until this is called again or [`Names::hide`] is.
    unsafe fn show(&self, attributes: NonNull<bindings::fc_host_attrs>) {
        let mut state = self.state.lock();

        state.attributes = Some(attributes);
        state.show();
    }

    /// Shows them nowhere from now on.
    fn hide(&self) {
        self.state.lock().attributes = None;
    }
}

impl State {
    fn show(&self) {
        let Some(attributes) = self.attributes else {
            return;
        };
        // SAFETY: They are valid while they are here, and nobody else writes these. Readers, of
        // files in sysfs, read one of them.
        unsafe {
            (&raw mut (*attributes.as_ptr()).node_name).write_volatile(self.wwns.node);
            (&raw mut (*attributes.as_ptr()).port_name).write_volatile(self.wwns.port);
        }
    }
}

/// The transport of one host.
///
/// # Invariants
///
/// `transport` was made by `fc_attach_transport()` of `_functions`, and is not released.
pub(super) struct Transport<T: Template> {
    transport: NonNull<bindings::scsi_transport_template>,
    _functions: KBox<bindings::fc_function_template>,
    _hosts: PhantomData<fn() -> T>,
}

// SAFETY: A transport may be released by any thread.
unsafe impl<T: Template> Send for Transport<T> {}

impl<T: Template> Transport<T> {
    /// Process context, may sleep.
    #[inline]
    pub(super) fn new() -> Result<Self> {
        let mut functions = KBox::new(
            pin_init::zeroed::<bindings::fc_function_template>(),
            GFP_KERNEL,
        )?;
        functions.set_show_host_node_name(1);
        functions.set_show_host_port_name(1);

        // SAFETY: The functions live as long as the transport, and stay where they are.
        let transport = unsafe { bindings::fc_attach_transport(&mut *functions) };
        let transport = NonNull::new(transport).ok_or(ENODEV)?;
        // SAFETY: Nobody else has the transport yet.
        unsafe { (*transport.as_ptr()).user_scan = Some(Self::user_scan) };

        // INVARIANT: It was just made.
        Ok(Self {
            transport,
            _functions: functions,
            _hosts: PhantomData,
        })
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::scsi_transport_template {
        self.transport.as_ptr()
    }

    /// User space has the mid layer look for devices: at one address, or at all of some kind.
    unsafe extern "C" fn user_scan(
        shost: *mut bindings::Scsi_Host,
        channel: c_uint,
        id: c_uint,
        lun: u64,
    ) -> c_int {
        // CAST: All bits are set, however long the number is.
        const ALL: c_uint = bindings::SCAN_WILD_CARD as c_uint;
        const ALL_LUNS: u64 = bindings::SCAN_WILD_CARD as i64 as u64;

        // SAFETY: The mid layer gives us a valid host, whose limits do not change.
        let (max_channel, max_id, max_lun) =
            unsafe { ((*shost).max_channel, (*shost).max_id, (*shost).max_lun) };

        if (channel != ALL && channel > max_channel)
            || (id != ALL && id >= max_id)
            || (lun != ALL_LUNS && lun >= max_lun)
        {
            return EINVAL.to_errno();
        }
        let channels = if channel == ALL {
            0..=max_channel
        } else {
            channel..=channel
        };
        for channel in channels {
            let ids = if id == ALL { 0..max_id } else { id..id + 1 };
            for id in ids {
                // SAFETY: As above; the device is that of the host.
                unsafe {
                    bindings::scsi_scan_target(
                        &raw mut (*shost).shost_gendev,
                        channel,
                        id,
                        lun,
                        bindings::scsi_scan_mode_SCSI_SCAN_MANUAL,
                    )
                };
            }
        }
        0
    }
}

impl<T: Template> Drop for Transport<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Its host was removed, or was never registered.
        unsafe { bindings::fc_release_transport(self.transport.as_ptr()) };
    }
}

/// The remote port of a registered host.
///
/// # Invariants
///
/// The host is registered, has a [`Transport`], and the port is one of its own.
pub(super) struct RemotePort<T: Template> {
    shost: NonNull<bindings::Scsi_Host>,
    port: NonNull<bindings::fc_rport>,
    names: Arc<Names>,
    _hosts: PhantomData<fn() -> T>,
}

// SAFETY: A port may be deleted by any thread.
unsafe impl<T: Template> Send for RemotePort<T> {}

impl<T: Template> RemotePort<T> {
    /// Names the host, and adds the port. Process context; sleeps.
    ///
    /// # Safety
    ///
    /// The host must be registered with a [`Transport`], and stay so as long as this exists.
    #[inline]
    pub(super) unsafe fn new(
        shost: NonNull<bindings::Scsi_Host>,
        names: Arc<Names>,
    ) -> Result<Self> {
        let mut ids = bindings::fc_rport_identifiers {
            roles: bindings::FC_PORT_ROLE_FCP_DUMMY_INITIATOR,
            ..pin_init::zeroed()
        };
        // SAFETY: The host is registered.
        let port = unsafe { bindings::fc_remote_port_add(shost.as_ptr(), 0, &mut ids) };
        let port = NonNull::new(port).ok_or(ENOMEM)?;

        // SAFETY: By the safety requirements; the transport's data of a host are these.
        let attributes = unsafe { (*shost.as_ptr()).shost_data }.cast::<bindings::fc_host_attrs>();
        if let Some(attributes) = NonNull::new(attributes) {
            // SAFETY: They are the host's, which stays registered until `self` hides them.
            unsafe { names.show(attributes) };
        }

        // INVARIANT: By the safety requirements.
        Ok(Self {
            shost,
            port,
            names,
            _hosts: PhantomData,
        })
    }
}

impl<T: Template> Drop for RemotePort<T> {
    #[inline]
    fn drop(&mut self) {
        self.names.hide();
        // SAFETY: By the type invariant.
        unsafe { bindings::fc_remote_port_delete(self.port.as_ptr()) };
        // SAFETY: As above. This waits for the end of the port.
        unsafe { bindings::fc_remove_host(self.shost.as_ptr()) };
    }
}
