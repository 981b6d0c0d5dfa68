// SPDX-License-Identifier: GPL-2.0

//! Drivers: which one is right for a device, and what the bus calls of it.

use super::{
    bus,
    device::Device, //
};
use kernel::{
    bindings,
    container_of,
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        global_lock, //
    },
    types::Opaque,
    vmbus::Guid, //
};

/// A class of devices that user space has given to a driver.
struct DynamicId {
    driver: *const Driver,
    class: Guid,
}

// SAFETY: The pointer is compared only.
unsafe impl Send for DynamicId {}

global_lock! {
    // SAFETY: `init()` is called before the bus, which is the only user, is registered.
    unsafe(uninit) static DYNAMIC_IDS: Mutex<KVec<DynamicId>> = KVec::new();
}

/// Prepares what is static here. May be called again.
pub(super) fn init() {
    static DONE: Atomic<bool> = Atomic::new(false);

    if !DONE.xchg(true, Full) {
        // SAFETY: The flag says that this is the first call.
        unsafe { DYNAMIC_IDS.init() };
    }
}

/// Frees what [`init`] prepared, when there are no drivers any more.
pub(super) fn forget() {
    *DYNAMIC_IDS.lock() = KVec::new();
}

/// Why a driver is right for a device.
#[derive(Clone, Copy)]
enum Reason {
    /// An entry of the driver's own table.
    Table(*const bindings::hv_vmbus_device_id),
    /// User space has given it the class.
    Dynamic(Guid),
    /// User space wants this driver for the device.
    Override,
}

/// A driver.
///
/// # Invariants
///
/// The structure is a driver's, which was registered with this bus and is so until the reference
/// ends. The fields that are used here do not change meanwhile.
#[repr(transparent)]
pub(crate) struct Driver(Opaque<bindings::hv_driver>);

impl Driver {
    /// Makes a reference of what the driver core has.
    ///
    /// # Safety
    ///
    /// `driver` must be a driver of this bus, which stays registered for `'a`.
    pub(super) unsafe fn from_driver<'a>(driver: *const bindings::device_driver) -> &'a Self {
        // SAFETY: By the safety requirements it is in a `struct hv_driver`.
        let raw = unsafe { container_of!(driver, bindings::hv_driver, driver) };

        // CAST: `Driver` is a transparent wrapper.
        // SAFETY: As above.
        unsafe { &*raw.cast::<Self>() }
    }

    /// Returns the driver that a device is bound to, or about to be.
    ///
    /// Called by the driver core's callbacks for the device only, which hold its lock.
    pub(super) fn of(device: &Device) -> Option<&Self> {
        // SAFETY: The device is valid, and its lock is held.
        let driver = unsafe { (*device.as_device()).driver };

        // SAFETY: A driver is not unregistered before its devices are unbound, which takes the
        // device's lock.
        (!driver.is_null()).then(|| unsafe { Self::from_driver(driver) })
    }

    fn raw(&self) -> &bindings::hv_driver {
        // SAFETY: By the type invariant; what is used of it does not change.
        unsafe { &*self.0.get() }
    }

    fn name(&self) -> &CStr {
        // SAFETY: A registered driver has a name.
        unsafe { CStr::from_char_ptr(self.raw().name) }
    }

    /// The driver's table, without the zeroed entry at its end.
    fn table(&self) -> impl Iterator<Item = &bindings::hv_vmbus_device_id> {
        let mut next = self.raw().id_table;

        core::iter::from_fn(move || {
            // SAFETY: It is null, the first entry, or follows one that was not the last.
            let entry = unsafe { next.as_ref() }?;
            if entry.guid.b == [0; 16] {
                return None;
            }
            next = next.wrapping_add(1);
            Some(entry)
        })
    }

    /// Why this driver is right for the device, if it is. What user space wants comes first.
    fn reason(&self, device: &Device) -> Option<Reason> {
        // SAFETY: Both are valid.
        let wanted = unsafe {
            bindings::device_match_driver_override(device.as_device(), &raw const self.raw().driver)
        };
        if wanted == 0 {
            return None;
        }

        let class = device.class();
        if DYNAMIC_IDS.lock().iter().any(|id| id.is(self, class)) {
            return Some(Reason::Dynamic(class));
        }
        self.table()
            .find(|entry| Guid::from_raw(entry.guid) == class)
            .map(|entry| Reason::Table(entry))
            .or((wanted > 0).then_some(Reason::Override))
    }

    /// Whether a device may be bound to this driver. May sleep.
    ///
    /// An end of a Hyper-V socket has a class of its own, and is for the driver of sockets.
    pub(super) fn matches(&self, device: &Device) -> bool {
        if device.channel().is_hvsock() {
            self.raw().hvsock
        } else {
            self.reason(device).is_some()
        }
    }

    /// Lets the driver have a device that it matches.
    ///
    /// Process context, with the device's lock held. Returns [`ENODEV`] if the driver does not
    /// match any more, as user space may have changed its mind, or if the device is about to go.
    pub(super) fn probe(&self, device: &Device) -> Result {
        let Some(probe) = self.raw().probe else {
            pr_err!("probe not set for driver {}\n", self.name());
            return Err(ENODEV);
        };

        // Drivers, and programs that see what they make, may look for the channel's directory.
        device.show_channels()?;

        // An id of user space may be taken back at any time, so the driver gets a copy.
        let mut copy: bindings::hv_vmbus_device_id = pin_init::zeroed();
        let id = match self.reason(device) {
            Some(Reason::Table(entry)) => entry,
            Some(Reason::Dynamic(class)) => {
                copy.guid = class.into_raw();
                &raw const copy
            }
            Some(Reason::Override) => &raw const copy,
            None if device.channel().is_hvsock() => core::ptr::null(),
            None => return Err(ENODEV),
        };

        // SAFETY: The driver core has chosen the driver for this device; the id is one of the
        // driver's own, or valid during the call.
        to_result(unsafe { probe(device.as_raw(), id) }).inspect_err(|error| {
            pr_err!(
                "probe failed for device {} ({})\n",
                device.instance(),
                error.to_errno()
            )
        })
    }

    /// Takes a device from the driver.
    ///
    /// Process context, with the device's lock held.
    pub(super) fn remove(&self, device: &Device) {
        if let Some(remove) = self.raw().remove {
            // SAFETY: The device is bound to this driver.
            unsafe { remove(device.as_raw()) };
        }
    }

    /// Tells the driver that the machine goes down.
    ///
    /// Process context, with the device's lock held.
    pub(super) fn shutdown(&self, device: &Device) {
        if let Some(shutdown) = self.raw().shutdown {
            // SAFETY: The device is bound to this driver.
            unsafe { shutdown(device.as_raw()) };
        }
    }

    /// Adds a class of devices, and binds the devices of it that have no driver.
    ///
    /// Process context; runs the driver's probe. Returns [`EEXIST`] if the driver has the class
    /// from here already.
    pub(super) fn add_id(&self, class: Guid) -> Result {
        {
            let mut ids = DYNAMIC_IDS.lock();

            if ids.iter().any(|id| id.is(self, class)) {
                return Err(EEXIST);
            }
            ids.push(
                DynamicId {
                    driver: self,
                    class,
                },
                GFP_KERNEL,
            )?;
        }

        // SAFETY: The driver is registered.
        to_result(unsafe { bindings::driver_attach(&raw const self.raw().driver) })
    }

    /// Removes a class of devices. Devices that are bound stay so.
    ///
    /// Process context. Returns [`ENODEV`] if the driver has none such from [`Self::add_id`].
    pub(super) fn remove_id(&self, class: Guid) -> Result {
        let mut ids = DYNAMIC_IDS.lock();
        let index = ids.iter().position(|id| id.is(self, class)).ok_or(ENODEV)?;

        ids.remove(index).map(drop).map_err(|_| ENODEV)
    }
}

impl DynamicId {
    fn is(&self, driver: &Driver, class: Guid) -> bool {
        core::ptr::eq(self.driver, driver) && self.class == class
    }
}

/// Registers a driver with the bus: exported as `__vmbus_driver_register()`.
///
/// Process context; runs the driver's probe for devices that are there. Returns [`ENODEV`] if there
/// is no bus.
///
/// # Safety
///
/// `raw` must be a driver with a name, which stays valid until [`unregister`] returns, and is not
/// registered.
pub(crate) unsafe fn register(
    raw: *mut bindings::hv_driver,
    owner: *mut bindings::module,
    module_name: *const c_char,
) -> Result {
    if !bus::is_registered() {
        return Err(ENODEV);
    }

    // SAFETY: By the safety requirements nobody else uses the structure yet.
    let driver = unsafe { &mut *raw };
    driver.driver.name = driver.name;
    driver.driver.owner = owner;
    driver.driver.mod_name = module_name;
    driver.driver.bus = bus::as_raw();

    // SAFETY: By the safety requirements.
    pr_info!("registering driver {}\n", unsafe {
        CStr::from_char_ptr(driver.name)
    });

    // SAFETY: By the safety requirements; the bus is registered.
    to_result(unsafe { bindings::driver_register(&raw mut (*raw).driver) })
}

/// Undoes [`register`]; exported as `vmbus_driver_unregister()`.
///
/// Process context; runs the driver's remove for its devices.
///
/// # Safety
///
/// `raw` must be a registered driver.
pub(crate) unsafe fn unregister(raw: *mut bindings::hv_driver) {
    if !bus::is_registered() {
        return;
    }

    // CAST: `Driver` is a transparent wrapper.
    let driver: *const Driver = raw.cast_const().cast();

    // SAFETY: By the safety requirements.
    pr_info!("unregistering driver {}\n", unsafe { (*driver).name() });

    // SAFETY: By the safety requirements.
    unsafe { bindings::driver_unregister(&raw mut (*raw).driver) };

    // Nobody can add one any more.
    DYNAMIC_IDS
        .lock()
        .retain(|id| !core::ptr::eq(id.driver, driver));
}
