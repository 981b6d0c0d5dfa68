// SPDX-License-Identifier: GPL-2.0

//! A host from its allocation to its removal.

use super::callbacks::{
    Callbacks,
    Private, //
};
#[cfg(CONFIG_SCSI_FC_ATTRS)]
use super::fc;
use super::{
    Host,
    Template, //
};
use crate::{
    bindings,
    device,
    devres::Devres,
    error::to_result,
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::size_of,
    ops::Deref,
    ptr::NonNull, //
};

/// A host that is not registered yet: its limits can still be set.
///
/// # Invariants
///
/// The host was allocated for `T`, and its [`Private`] is initialized.
pub struct NewHost<T: Template> {
    host: ARef<Host>,
    #[cfg(CONFIG_SCSI_FC_ATTRS)]
    fc: Option<(fc::Transport<T>, Arc<fc::Names>)>,
    _template: PhantomData<fn() -> T>,
}

impl<T: Template> NewHost<T> {
    /// Allocates a host. Process context, may sleep.
    #[inline]
    pub fn new() -> Result<Self> {
        const {
            assert!(align_of::<Private<T>>() <= align_of::<c_ulong>());
        }
        let size = c_int::try_from(size_of::<Private<T>>())?;

        // SAFETY: The template is valid, and promoted to a `'static` one.
        let shost = unsafe { bindings::scsi_host_alloc(&Callbacks::<T>::TEMPLATE, size) };
        let shost = NonNull::new(shost).ok_or(ENOMEM)?;
        // SAFETY: The host is valid, we own its first reference, and `Host` wraps it transparently.
        let host = unsafe { ARef::<Host>::from_raw(shost.cast()) };
        let shost = shost.as_ptr();

        // SAFETY: The host has room for it.
        let private = unsafe { Private::<T>::of(shost) };
        // SAFETY: As above; the block is ours, and nobody has it yet.
        let template = unsafe { &raw mut (*private).template };
        // SAFETY: As above.
        unsafe { template.write(Callbacks::<T>::TEMPLATE) };
        // SAFETY: It was just initialized.
        unsafe {
            bindings::scsi_host_template::set_no_write_same_raw(template, T::NO_WRITE_SAME.into())
        };
        // SAFETY: As above.
        unsafe {
            bindings::scsi_host_template::set_track_queue_depth_raw(
                template,
                T::TRACK_QUEUE_DEPTH.into(),
            )
        };
        // SAFETY: As above. From now on the host uses the copy, which lives as long as it does.
        unsafe {
            (*shost).hostt = template;
            bindings::Scsi_Host::set_no_write_same_raw(shost, T::NO_WRITE_SAME.into());
        }
        // SAFETY: The block is ours and has room for it.
        unsafe { (&raw mut (*private).fast).write(core::ptr::null()) };
        // SAFETY: As above. It stays where it is, and needs no destructor: it is empty again when
        // the host goes.
        unsafe { pin_init::raw_init(&raw mut (*private).data, new_spinlock!(None)) };

        // INVARIANT: All of it is initialized.
        Ok(Self {
            host,
            #[cfg(CONFIG_SCSI_FC_ATTRS)]
            fc: None,
            _template: PhantomData,
        })
    }

    #[inline]
    fn fields(&mut self) -> *mut bindings::Scsi_Host {
        self.host.as_raw()
    }

    /// Sets how many commands each hardware queue may have under way: at least one.
    #[inline]
    pub fn set_can_queue(&mut self, commands: u32) {
        let commands = c_int::try_from(commands).unwrap_or(c_int::MAX).max(1);

        // SAFETY: Nobody else uses the host yet.
        unsafe { (*self.fields()).can_queue = commands };
    }

    /// Sets how many channels, targets on each, and logical units of each there can be.
    #[inline]
    pub fn set_addresses(&mut self, channels: u32, targets: u32, luns: u64) {
        let host = self.fields();

        // SAFETY: Nobody else uses the host yet.
        unsafe {
            (*host).max_channel = channels.saturating_sub(1);
            (*host).max_id = targets;
            (*host).max_lun = luns;
        }
    }

    /// Sets the length of the longest command descriptor block (bytes).
    #[inline]
    pub fn set_max_cmd_len(&mut self, len: u16) {
        // SAFETY: Nobody else uses the host yet.
        unsafe { (*self.fields()).max_cmd_len = len };
    }

    /// Sets the most data that a command may have: sectors of 512 bytes, and pieces of memory.
    #[inline]
    pub fn set_transfer_limits(&mut self, sectors: u32, segments: u16) {
        let host = self.fields();

        // SAFETY: Nobody else uses the host yet.
        unsafe {
            (*host).max_sectors = sectors;
            (*host).sg_tablesize = segments;
        }
    }

    /// Sets the number of hardware queues.
    #[inline]
    pub fn set_nr_hw_queues(&mut self, queues: u32) {
        // SAFETY: Nobody else uses the host yet.
        unsafe { (*self.fields()).nr_hw_queues = queues.max(1) };
    }

    /// Makes the host an adapter of Fibre Channel with these names, and with one remote port.
    /// Process context, may sleep.
    #[cfg(CONFIG_SCSI_FC_ATTRS)]
    #[inline]
    pub fn set_fc(&mut self, names: Arc<fc::Names>) -> Result {
        let transport = fc::Transport::new()?;

        // SAFETY: Nobody else uses the host yet. The transport is released when it is removed.
        unsafe { (*self.fields()).transportt = transport.as_raw() };
        self.fc = Some((transport, names));
        Ok(())
    }

    /// Registers the host below a device, which does its DMA.
    ///
    /// From here on `data` gets commands, as soon as devices are looked for.
    /// Process context; sleeps.
    #[inline]
    pub fn register(
        self,
        dev: &device::Device<device::Bound>,
        data: Arc<T>,
    ) -> Result<Registration<T>> {
        let shost = self.host.as_raw();
        // SAFETY: By the type invariant it is initialized.
        let private = unsafe { Private::<T>::of(shost) };

        // Bounce buffers must not make gaps where there were none.
        //
        // SAFETY: The device is bound to the driver that calls this, and not used for DMA yet.
        // CAST: A power of two less one; larger than 32 bits it makes no difference.
        unsafe { bindings::dma_set_min_align_mask(dev.as_raw(), (T::VIRT_BOUNDARY - 1) as c_uint) };

        // SAFETY: Nobody else uses the host yet. What it points to lives as long as `data`.
        unsafe { (*private).fast = &*data };
        // SAFETY: By the type invariant it is initialized.
        unsafe { *(*private).data.lock() = Some(data) };

        // SAFETY: The host is valid and was not registered before; so is the device.
        let added = to_result(unsafe {
            bindings::scsi_add_host_with_dma(shost, dev.as_raw(), dev.as_raw())
        });
        if let Err(error) = added {
            // SAFETY: As above.
            let data = unsafe { (*private).data.lock().take() };
            drop(data);
            return Err(error);
        }

        // A registration that is leaked ends when the device is unbound.
        let host = self.host.clone();
        let registered = Registered {
            #[cfg(CONFIG_SCSI_FC_ATTRS)]
            port: None,
            host: self,
        };
        #[cfg(CONFIG_SCSI_FC_ATTRS)]
        let registered = registered.add_port()?;

        let registered = Devres::new(dev, Ok::<_, Error>(registered))?;
        Ok(Registration {
            host,
            _registered: registered,
        })
    }
}

impl<T: Template> Deref for NewHost<T> {
    type Target = Host;

    #[inline]
    fn deref(&self) -> &Host {
        &self.host
    }
}

/// Removes a registered host when it is dropped.
struct Registered<T: Template> {
    #[cfg(CONFIG_SCSI_FC_ATTRS)]
    port: Option<fc::RemotePort<T>>,
    host: NewHost<T>,
}

#[cfg(CONFIG_SCSI_FC_ATTRS)]
impl<T: Template> Registered<T> {
    /// Adds the remote port of a host of Fibre Channel.
    #[inline]
    fn add_port(mut self) -> Result<Self> {
        if let Some((_, names)) = &self.host.fc {
            // SAFETY: A host is never NULL.
            let shost = unsafe { NonNull::new_unchecked(self.host.host.as_raw()) };

            // SAFETY: The host is registered with a transport, and the port goes first.
            self.port = Some(unsafe { fc::RemotePort::new(shost, names.clone()) }?);
        }
        Ok(self)
    }
}

impl<T: Template> Drop for Registered<T> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(CONFIG_SCSI_FC_ATTRS)]
        drop(self.port.take());

        let shost = self.host.fields();
        // SAFETY: The host is registered. When this returns, its commands are done and there will
        // be no more.
        unsafe { bindings::scsi_remove_host(shost) };

        // SAFETY: It is initialized.
        let private = unsafe { Private::<T>::of(shost) };
        // SAFETY: As above. Nobody uses `fast` any more.
        let data = unsafe { (*private).data.lock().take() };
        drop(data);
    }
}

/// A registered host.
///
/// Dropping it removes the host with its devices. That sleeps, and waits until all commands are
/// done: their owners, the driver, must see to that.
pub struct Registration<T: Template> {
    host: ARef<Host>,
    _registered: Devres<Registered<T>>,
}

impl<T: Template> Deref for Registration<T> {
    type Target = Host;

    #[inline]
    fn deref(&self) -> &Host {
        &self.host
    }
}
