// SPDX-License-Identifier: GPL-2.0

//! Power management of devices.
//!
//! C header: [`include/linux/pm.h`](srctree/include/linux/pm.h)

use crate::{
    bindings,
    device::Device,
    error::from_result,
    prelude::*, //
};

/// Callbacks of a bus or a driver for hibernation, while device interrupts are off.
///
/// All of them are called in process context and may sleep. Interrupts of devices are disabled
/// unless they were requested with `IRQF_NO_SUSPEND`, and everything that freezes is frozen.
///
/// A device may have no driver when a bus gets such a call.
///
/// # Examples
///
/// ```
/// use kernel::{
///     device::Device,
///     pm,
///     prelude::*, //
/// };
///
/// struct MyPm;
///
/// #[vtable]
/// impl pm::Hibernate for MyPm {
///     fn quiesce(dev: &Device) -> Result {
///         dev_dbg!(dev, "stopping\n");
///         Ok(())
///     }
///
///     fn restart(dev: &Device) -> Result {
///         dev_dbg!(dev, "going on\n");
///         Ok(())
///     }
/// }
///
/// static MY_PM: pm::Ops = pm::Ops::hibernate_noirq::<MyPm>();
/// # assert!(!MY_PM.as_raw().is_null());
/// ```
#[vtable]
pub trait Hibernate {
    /// Stops the device, before the image is made and before the machine is switched off.
    ///
    /// An error ends hibernation; the device that returned it is not restarted.
    fn quiesce(dev: &Device) -> Result;

    /// Starts the device again, after the image was made and after it was loaded.
    fn restart(dev: &Device) -> Result;

    /// A transition of the whole system is over, and every device has been started again.
    ///
    /// Other than the rest this is called after every kind of suspend, with interrupts.
    fn complete(_dev: &Device) {
        build_error!(crate::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The power management operations of a bus or of a driver: `struct dev_pm_ops`.
#[repr(transparent)]
pub struct Ops(bindings::dev_pm_ops);

impl Ops {
    /// Operations that take part in hibernation only, in its phase without device interrupts.
    ///
    /// Suspend to RAM and to idle leave the device as it is, so that it can wake the system.
    pub const fn hibernate_noirq<T: Hibernate>() -> Self {
        let mut ops: bindings::dev_pm_ops = pin_init::zeroed();

        ops.freeze_noirq = Some(quiesce_callback::<T>);
        ops.thaw_noirq = Some(restart_callback::<T>);
        ops.poweroff_noirq = Some(quiesce_callback::<T>);
        ops.restore_noirq = Some(restart_callback::<T>);
        if T::HAS_COMPLETE {
            ops.complete = Some(complete_callback::<T>);
        }
        Self(ops)
    }

    /// The C structure, for a bus or a driver that is registered.
    pub const fn as_raw(&self) -> *const bindings::dev_pm_ops {
        &self.0
    }
}

unsafe extern "C" fn quiesce_callback<T: Hibernate>(dev: *mut bindings::device) -> c_int {
    from_result(|| {
        // SAFETY: Power management calls this with a device that is valid during the call.
        T::quiesce(unsafe { Device::from_raw(dev) })?;
        Ok(0)
    })
}

unsafe extern "C" fn restart_callback<T: Hibernate>(dev: *mut bindings::device) -> c_int {
    from_result(|| {
        // SAFETY: Power management calls this with a device that is valid during the call.
        T::restart(unsafe { Device::from_raw(dev) })?;
        Ok(0)
    })
}

unsafe extern "C" fn complete_callback<T: Hibernate>(dev: *mut bindings::device) {
    // SAFETY: Power management calls this with a device that is valid during the call.
    T::complete(unsafe { Device::from_raw(dev) });
}
