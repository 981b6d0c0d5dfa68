// SPDX-License-Identifier: GPL-2.0

//! The bus type: what the driver core calls.

use super::{
    attributes,
    device::{
        self,
        Device, //
    },
    driver::{
        self,
        Driver, //
    }, //
};
use crate::power;
use kernel::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    },
    types::Opaque, //
};

/// A bus type that does not change.
struct BusType(bindings::bus_type);

// SAFETY: Nobody writes to it.
unsafe impl Sync for BusType {}

static BUS: BusType = BusType(bindings::bus_type {
    name: as_char_ptr_in_const_context(c"vmbus"),
    bus_groups: attributes::BUS_GROUPS.as_raw(),
    dev_groups: attributes::DEVICE_GROUPS.as_raw(),
    drv_groups: attributes::DRIVER_GROUPS.as_raw(),
    match_: Some(match_callback),
    uevent: Some(uevent_callback),
    probe: Some(probe_callback),
    remove: Some(remove_callback),
    shutdown: Some(shutdown_callback),
    dma_configure: Some(dma_configure_callback),
    pm: power::DEVICE_PM.as_raw(),
    driver_override: true,
    ..pin_init::zeroed()
});

static REGISTERED: Atomic<bool> = Atomic::new(false);

/// The C structure of the bus.
pub(super) fn as_raw() -> *const bindings::bus_type {
    &raw const BUS.0
}

/// Whether drivers can be registered.
pub(super) fn is_registered() -> bool {
    REGISTERED.load(Acquire)
}

/// The bus, registered with the driver core; there can be one.
///
/// # Invariants
///
/// [`BUS`] is registered, and so is the notifier for it.
pub(crate) struct Registration {
    // C has a pointer to it.
    notifier: KBox<Opaque<bindings::notifier_block>>,
}

// SAFETY: The notifier is only used by C, which locks it.
unsafe impl Send for Registration {}

// SAFETY: As above.
unsafe impl Sync for Registration {}

impl Registration {
    /// Registers the bus. Process context, may sleep.
    ///
    /// Dropping the registration waits for the last device to be released, however long that takes:
    /// it is not the host that keeps a device, but who has a reference to it in the guest, and the
    /// function that releases it is code of this module, which must not go before. Who waits says so
    /// every ten seconds.
    pub(crate) fn new() -> Result<Self> {
        let notifier = KBox::new(
            Opaque::new(bindings::notifier_block {
                notifier_call: Some(notifier_callback),
                ..pin_init::zeroed()
            }),
            GFP_KERNEL,
        )?;

        driver::init();

        // SAFETY: The bus is static and complete.
        to_result(unsafe { bindings::bus_register(as_raw()) })?;

        // SAFETY: The bus is registered; the notifier stays where it is until it is unregistered.
        let added = to_result(unsafe { bindings::bus_register_notifier(as_raw(), notifier.get()) });
        if let Err(error) = added {
            // SAFETY: It was registered above, and has no devices or drivers.
            unsafe { bindings::bus_unregister(as_raw()) };
            return Err(error);
        }

        REGISTERED.store(true, Release);
        // INVARIANT: Both are registered.
        Ok(Self { notifier })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Drivers refer to symbols of this module, so there is none any more.
        REGISTERED.store(false, Release);
        device::wait_for_release();

        // SAFETY: By the type invariant it is registered.
        unsafe { bindings::bus_unregister_notifier(as_raw(), self.notifier.get()) };

        // SAFETY: By the type invariant it is registered; all devices are gone.
        unsafe { bindings::bus_unregister(as_raw()) };

        driver::forget();
    }
}

extern "C" fn match_callback(
    dev: *mut bindings::device,
    driver: *const bindings::device_driver,
) -> c_int {
    // SAFETY: The driver core only calls this for devices of this bus.
    let device = unsafe { Device::from_device(dev) };

    // SAFETY: As above, for drivers.
    let driver = unsafe { Driver::from_driver(driver) };

    driver.matches(device).into()
}

extern "C" fn uevent_callback(
    dev: *const bindings::device,
    env: *mut bindings::kobj_uevent_env,
) -> c_int {
    // SAFETY: The driver core only calls this for devices of this bus.
    let device = unsafe { Device::from_device(dev.cast_mut()) };
    let class = device.channel().class();

    // SAFETY: The environment is valid; the format wants a length, of type `int`, and so many
    // bytes.
    unsafe {
        bindings::add_uevent_var(
            env,
            c"MODALIAS=vmbus:%*phN".as_char_ptr(),
            class.b.len() as c_int,
            class.b.as_ptr(),
        )
    }
}

extern "C" fn probe_callback(dev: *mut bindings::device) -> c_int {
    // SAFETY: The driver core only calls this for devices of this bus.
    let device = unsafe { Device::from_device(dev) };

    from_result(|| {
        Driver::of(device).ok_or(ENODEV)?.probe(device)?;
        Ok(0)
    })
}

extern "C" fn remove_callback(dev: *mut bindings::device) {
    // SAFETY: The driver core only calls this for devices of this bus.
    let device = unsafe { Device::from_device(dev) };

    if let Some(driver) = Driver::of(device) {
        driver.remove(device);
    }
}

extern "C" fn shutdown_callback(dev: *mut bindings::device) {
    // SAFETY: The driver core only calls this for devices of this bus.
    let device = unsafe { Device::from_device(dev) };

    if let Some(driver) = Driver::of(device) {
        driver.shutdown(device);
    }
}

/// Gives a device the coherence of its parent, which is the only one that firmware describes.
/// This matters on arm64; on x86 everything is coherent.
extern "C" fn dma_configure_callback(dev: *mut bindings::device) -> c_int {
    // SAFETY: The device and its parent are valid: it was added with one.
    let attr = unsafe { bindings::device_get_dma_attr((*dev).parent) };

    // SAFETY: The device is valid, and no driver is bound to it yet.
    unsafe { bindings::hv_setup_dma_ops(dev, attr == bindings::dev_dma_attr_DEV_DMA_COHERENT) };
    0
}

/// Hears of devices that are not bound any more, when the driver has released all that it had:
/// `remove` comes before that.
extern "C" fn notifier_callback(
    _notifier: *mut bindings::notifier_block,
    event: c_ulong,
    dev: *mut c_void,
) -> c_int {
    const UNBOUND: c_ulong = bindings::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER as c_ulong;
    const NOT_BOUND: c_ulong = bindings::bus_notifier_event_BUS_NOTIFY_DRIVER_NOT_BOUND as c_ulong;

    if matches!(event, UNBOUND | NOT_BOUND) {
        // SAFETY: The notifier is registered for this bus, whose events are about its devices.
        unsafe { Device::from_device(dev.cast()) }.unbound();
    }
    bindings::NOTIFY_DONE as c_int
}
