// SPDX-License-Identifier: GPL-2.0

//! What the mid layer calls, and the data that a host keeps for that.

use super::{
    Busy,
    Command,
    Device,
    Setup,
    Template,
    TimeoutAction, //
};
use crate::{
    bindings,
    error::from_result,
    module::this_module,
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::{
        Arc,
        SpinLock, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// What lies behind the mid layer's part of a host.
pub(super) struct Private<T: Template> {
    // A copy: bit fields cannot be set at compile time.
    pub(super) template: bindings::scsi_host_template,
    /// For callbacks that are over when the host is removed. Any context.
    pub(super) fast: *const T,
    /// For the others. Process context.
    pub(super) data: SpinLock<Option<Arc<T>>>,
}

impl<T: Template> Private<T> {
    /// # Safety
    ///
    /// `shost` must be a valid host that [`NewHost::new`](super::NewHost::new) has made for `T`.
    #[inline]
    pub(super) unsafe fn of(shost: *mut bindings::Scsi_Host) -> *mut Self {
        // SAFETY: By the safety requirements.
        unsafe { (&raw mut (*shost).hostdata).cast() }
    }

    /// The data, for a callback that removing the host waits for.
    ///
    /// # Safety
    ///
    /// As of [`Private::of`]; and the host must be registered until the end of `'a`.
    #[inline]
    unsafe fn fast<'a>(shost: *mut bindings::Scsi_Host) -> &'a T {
        // SAFETY: By the safety requirements. It was set when the host was registered, and `data`
        // keeps it alive until it is removed.
        unsafe { &*(*Self::of(shost)).fast }
    }

    /// The data, for a callback that may come when the host is being removed.
    ///
    /// # Safety
    ///
    /// As of [`Private::of`].
    #[inline]
    unsafe fn data(shost: *mut bindings::Scsi_Host) -> Result<Arc<T>> {
        // SAFETY: By the safety requirements. The lock is initialized, and stays so.
        let data = unsafe { &(*Self::of(shost)).data };

        data.lock().clone().ok_or(ENODEV)
    }
}

/// The functions of a template.
pub(super) struct Callbacks<T: Template>(PhantomData<T>);

impl<T: Template> Callbacks<T> {
    pub(super) const TEMPLATE: bindings::scsi_host_template = bindings::scsi_host_template {
        module: this_module::<T::OwnerModule>().as_ptr(),
        name: as_char_ptr_in_const_context(T::NAME),
        proc_name: as_char_ptr_in_const_context(T::PROC_NAME),
        queuecommand: Some(Self::queuecommand),
        commit_rqs: if T::HAS_COMMIT_RQS {
            Some(Self::commit_rqs)
        } else {
            None
        },
        eh_timed_out: if T::HAS_EH_TIMED_OUT {
            Some(Self::eh_timed_out)
        } else {
            None
        },
        eh_host_reset_handler: if T::HAS_EH_HOST_RESET {
            Some(Self::eh_host_reset)
        } else {
            None
        },
        sdev_init: if T::HAS_SDEV_INIT {
            Some(Self::sdev_init)
        } else {
            None
        },
        sdev_configure: if T::HAS_SDEV_CONFIGURE {
            Some(Self::sdev_configure)
        } else {
            None
        },
        change_queue_depth: if T::HAS_CHANGE_QUEUE_DEPTH {
            Some(Self::change_queue_depth)
        } else {
            None
        },
        bios_param: if T::HAS_BIOS_PARAM {
            Some(Self::bios_param)
        } else {
            None
        },
        // Each host says its own.
        can_queue: 1,
        // Hosts have no address of their own.
        this_id: -1,
        cmd_per_lun: T::CMD_PER_LUN,
        // CAST: Of the same size.
        virt_boundary_mask: {
            assert!(T::VIRT_BOUNDARY.is_power_of_two());
            (T::VIRT_BOUNDARY - 1) as c_ulong
        },
        ..pin_init::zeroed()
    };

    unsafe extern "C" fn queuecommand(
        shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
    ) -> bindings::scsi_qc_status {
        // SAFETY: Commands come from registered hosts only, and removing one waits for them.
        let data = unsafe { Private::<T>::fast(shost) };
        let Some(cmd) = NonNull::new(cmd) else {
            return bindings::scsi_qc_status::SCSI_MLQUEUE_HOST_BUSY;
        };
        // SAFETY: The mid layer hands it to the driver just now.
        let command = unsafe { Command::from_raw(cmd) };

        match data.queuecommand(command) {
            Ok(()) => bindings::scsi_qc_status(0),
            Err((busy, command)) => {
                // By the return value it is the mid layer's again.
                let _ = command.into_raw();
                match busy {
                    Busy::Device => bindings::scsi_qc_status::SCSI_MLQUEUE_DEVICE_BUSY,
                    Busy::Host => bindings::scsi_qc_status::SCSI_MLQUEUE_HOST_BUSY,
                }
            }
        }
    }

    unsafe extern "C" fn commit_rqs(shost: *mut bindings::Scsi_Host, hw_queue: u16) {
        // SAFETY: The block layer has commands under way; as in `queuecommand()`.
        let data = unsafe { Private::<T>::fast(shost) };

        data.commit_rqs(hw_queue.into());
    }

    unsafe extern "C" fn eh_timed_out(
        cmd: *mut bindings::scsi_cmnd,
    ) -> bindings::scsi_timeout_action {
        // SAFETY: The mid layer gives us a valid command, under way on our host.
        let data = unsafe { Private::<T>::fast((*(*cmd).device).host) };

        match data.eh_timed_out() {
            TimeoutAction::ResetTimer => bindings::scsi_timeout_action::SCSI_EH_RESET_TIMER,
        }
    }

    unsafe extern "C" fn eh_host_reset(cmd: *mut bindings::scsi_cmnd) -> c_int {
        // SAFETY: The mid layer gives us a valid command of a device of our host, which is not
        // always one that is under way.
        let data = unsafe { Private::<T>::data((*(*cmd).device).host) };

        // CAST: Small numbers.
        match data.and_then(|data| data.eh_host_reset()) {
            Ok(()) => bindings::scsi_disposition_SUCCESS as c_int,
            Err(_) => bindings::scsi_disposition_FAILED as c_int,
        }
    }

    unsafe extern "C" fn sdev_init(sdev: *mut bindings::scsi_device) -> c_int {
        // SAFETY: The mid layer gives us a valid device of our host.
        let data = unsafe { Private::<T>::data((*sdev).host) };
        // SAFETY: As above. Nobody else uses the device yet.
        let mut setup = unsafe { Setup::new(Device::from_raw(sdev)) };

        from_result(|| {
            data?.sdev_init(&mut setup)?;
            Ok(0)
        })
    }

    unsafe extern "C" fn sdev_configure(
        sdev: *mut bindings::scsi_device,
        _limits: *mut bindings::queue_limits,
    ) -> c_int {
        // SAFETY: The mid layer gives us a valid device of our host.
        let data = unsafe { Private::<T>::data((*sdev).host) };
        // SAFETY: As above. The mid layer keeps others away meanwhile.
        let mut setup = unsafe { Setup::new(Device::from_raw(sdev)) };

        from_result(|| {
            data?.sdev_configure(&mut setup)?;
            Ok(0)
        })
    }

    unsafe extern "C" fn change_queue_depth(
        sdev: *mut bindings::scsi_device,
        depth: c_int,
    ) -> c_int {
        // SAFETY: The mid layer gives us a valid device of our host. It calls for a file of the
        // device, or for a command that it completes; removing the host waits for both.
        let data = unsafe { Private::<T>::fast((*sdev).host) };
        // SAFETY: As above.
        let dev = unsafe { Device::from_raw(sdev) };

        from_result(|| {
            let depth = u32::try_from(depth).map_err(|_| EINVAL)?;
            let depth = data.change_queue_depth(dev, depth)?;

            Ok(c_int::try_from(depth)?)
        })
    }

    unsafe extern "C" fn bios_param(
        _sdev: *mut bindings::scsi_device,
        _disk: *mut bindings::gendisk,
        capacity: bindings::sector_t,
        info: *mut c_int,
    ) -> c_int {
        let geometry = T::bios_param(capacity);

        for (at, figure) in [geometry.heads, geometry.sectors, geometry.cylinders]
            .into_iter()
            .enumerate()
        {
            // SAFETY: The mid layer gives us an array of at least three.
            // CAST: Programs read it without a sign.
            unsafe { *info.add(at) = figure as c_int };
        }
        0
    }
}
