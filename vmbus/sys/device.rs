// SPDX-License-Identifier: GPL-2.0

//! Devices: each is made for a primary channel, and bound to a driver.

use super::kobject::{
    self,
    Channels, //
};
use crate::{
    channel::Channel,
    debugfs,
    relid, //
};
use core::{
    mem,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    container_of,
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        Mutex, //
    },
    sysfs,
    time::{
        delay::fsleep,
        Delta, //
    },
    types::Opaque,
    vmbus::Guid, //
};

/// PCI vendor id of Microsoft, which all devices of the bus have.
pub(super) const VENDOR: u16 = bindings::PCI_VENDOR_ID_MICROSOFT as u16;

/// Devices that were not released yet.
static ALIVE: Atomic<u32> = Atomic::new(0);

/// The directory `channels` of a device.
enum Directory {
    /// There is none yet.
    None,
    /// It is there, with the directory of the primary channel in it.
    Shown(Channels),
    /// There will be none any more.
    Gone,
}

/// A device of the bus.
///
/// Its first field is what drivers know of it: pointers to the one are pointers to the other. The
/// reference count is that of the `struct device` in there.
///
/// # Invariants
///
/// `raw` was initialized by [`Device::create`], and the device is on the heap.
#[pin_data]
#[repr(C)]
pub(crate) struct Device {
    raw: Opaque<bindings::hv_device>,
    channel: ARef<Channel>,
    /// The driver core knows the device, and there is a reference for that.
    registered: Atomic<bool>,
    #[pin]
    directory: Mutex<Directory>,
}

// `Device::from_raw()` and `as_raw()` rely on it.
static_assert!(mem::offset_of!(Device, raw) == 0);

// SAFETY: All fields may be used by any thread, and `release()` may run on any.
unsafe impl Send for Device {}

// SAFETY: The C structure is made to be shared; the other fields are `Sync`.
unsafe impl Sync for Device {}

// SAFETY: The reference count is that of the `struct device`, whose release function frees it.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: The reference shows that the device is valid.
        unsafe { bindings::get_device(self.as_device()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // CAST: `Device` begins with the C structure.
        let raw: *mut bindings::hv_device = obj.as_ptr().cast();

        // SAFETY: The caller gives up a reference.
        unsafe { bindings::put_device(&raw mut (*raw).device) };
    }
}

impl sysfs::Object for Device {
    unsafe fn from_kobj<'a>(kobj: *mut bindings::kobject) -> &'a Self {
        // SAFETY: By the safety requirements this is the kobject of a device of this bus.
        unsafe { Device::from_device(container_of!(kobj, bindings::device, kobj)) }
    }
}

impl Device {
    /// Creates the device of a primary channel, and sets the channel's `device_obj`.
    ///
    /// Nobody sees it before it is [registered](Self::register). May sleep. Returns [`ENOMEM`].
    ///
    /// `parent` must be valid until the last reference is gone.
    pub(crate) fn create(
        channel: ARef<Channel>,
        parent: *mut bindings::device,
    ) -> Result<ARef<Self>> {
        let device = KBox::pin_init(
            pin_init!(Self {
                raw <- pin_init::init_zeroed(),
                channel,
                registered: Atomic::new(false),
                directory <- new_mutex!(Directory::None, "Device::directory"),
            }),
            GFP_KERNEL,
        )?;
        let raw = device.as_raw();

        // SAFETY: Nobody else has a pointer to the device, and all zeroes are valid for it.
        let fields = unsafe { &mut *raw };
        fields.dev_type = device.channel.class();
        fields.dev_instance = device.channel.instance();
        fields.vendor_id = VENDOR;
        fields.device_id = device.channel.device_id();
        fields.channel = device.channel.as_raw();
        fields.device.bus = super::bus::as_raw();
        fields.device.parent = parent;
        fields.device.release = Some(release);
        fields.device.dma_parms = &raw mut fields.dma_parms;
        fields.device.dma_mask = &raw mut fields.dma_mask;

        // SAFETY: The device is zeroed but for fields that this does not touch.
        unsafe { bindings::device_initialize(&raw mut (*raw).device) };

        ALIVE.fetch_add(1, Relaxed);
        // SAFETY: The device stays in its place until `release()` frees it.
        let device = KBox::into_raw(unsafe { Pin::into_inner_unchecked(device) });

        // INVARIANT: It is initialized, and on the heap.
        // SAFETY: A box is never null, and the count is 1, which is this reference.
        let device = unsafe { ARef::from_raw(NonNull::new_unchecked(device)) };

        // SAFETY: The device is initialized, and `%pUl` is for the GUID that follows.
        to_result(unsafe {
            bindings::dev_set_name(
                device.as_device(),
                c"%pUl".as_char_ptr(),
                &raw const (*device.as_raw()).dev_instance,
            )
        })?;

        // No device of the bus has a narrower mask; where there is no DMA at all, drivers find out
        // when they map something.
        // SAFETY: The device is initialized and nobody maps anything for it yet.
        unsafe { bindings::dma_set_mask(device.as_device(), u64::MAX) };
        // SAFETY: As above.
        unsafe { bindings::dma_set_coherent_mask(device.as_device(), u64::MAX) };

        // SAFETY: The channel is valid, and no driver knows it yet.
        unsafe { (*device.channel.as_raw()).device_obj = device.as_raw() };
        Ok(device)
    }

    /// The C structure that is the beginning of this object.
    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::hv_device {
        self.raw.get()
    }

    /// The driver core's structure in there.
    #[inline]
    pub(crate) fn as_device(&self) -> *mut bindings::device {
        // SAFETY: By the type invariant the structure is valid.
        unsafe { &raw mut (*self.as_raw()).device }
    }

    /// Makes a reference of what a driver has.
    ///
    /// # Safety
    ///
    /// `raw` must be a device that this driver has created, which stays valid for `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::hv_device) -> &'a Self {
        // CAST: `Device` begins with the C structure.
        // SAFETY: By the safety requirements this is a device.
        unsafe { &*raw.cast::<Self>() }
    }

    /// Makes a reference of what the driver core has.
    ///
    /// # Safety
    ///
    /// `dev` must be a device of this bus, which stays valid for `'a`.
    #[inline]
    pub(crate) unsafe fn from_device<'a>(dev: *mut bindings::device) -> &'a Self {
        // SAFETY: By the safety requirements it is in such a device: the bus has no others.
        unsafe { Self::from_raw(container_of!(dev, bindings::hv_device, device)) }
    }

    /// The primary channel.
    #[inline]
    pub(crate) fn channel(&self) -> &ARef<Channel> {
        &self.channel
    }

    /// What drivers are matched by.
    pub(crate) fn class(&self) -> Guid {
        Guid::from_raw(self.channel.class())
    }

    /// What it is named by.
    pub(crate) fn instance(&self) -> Guid {
        Guid::from_raw(self.channel.instance())
    }

    /// Shows the device to the driver core, which may bind it to a driver at once, and its channel
    /// to user space.
    ///
    /// Process context; runs a driver's probe, so it may sleep for long. If it fails the device is
    /// as before, but can not be registered again: the caller drops it. To be called once, and
    /// [`Self::unregister`] not before this has returned.
    pub(crate) fn register(&self) -> Result {
        // SAFETY: The device is initialized and named, and was not added.
        to_result(unsafe { bindings::device_add(self.as_device()) })?;

        // The reference is dropped by `unregister()`.
        let _ = ARef::into_raw(ARef::from(self));
        self.registered.store(true, Relaxed);

        if let Err(error) = self.show_channels() {
            self.unregister();
            return Err(error);
        }
        debugfs::add_device(self);
        Ok(())
    }

    /// Unbinds the device from its driver, and removes it from the driver core.
    ///
    /// Process context; runs a driver's remove and waits for who uses a file of the device, so it
    /// may sleep for long. Does nothing if the device is not registered, or not any more: a driver
    /// may call this too, through `vmbus_device_unregister()`. The caller holds a reference.
    pub(crate) fn unregister(&self) {
        if !self.registered.xchg(false, Full) {
            return;
        }

        // No driver can be bound from here on.
        let directory = mem::replace(&mut *self.directory.lock(), Directory::Gone);

        // The driver goes while all directories are there: it may have a `ring` to hide.
        // SAFETY: The device was added.
        unsafe { bindings::device_release_driver(self.as_device()) };

        debugfs::remove_device(self);
        kobject::remove(&self.channel);
        drop(directory);

        // SAFETY: The device was added, and the flag says that nobody else removes it.
        unsafe { bindings::device_del(self.as_device()) };

        // SAFETY: This is the reference of `register()`, and the caller has another one.
        unsafe { Self::dec_ref(NonNull::from(self)) };
    }

    /// Makes the directories of the device's channels, if they are not there.
    ///
    /// A driver's probe may find the device before [`Self::register`] goes on. Returns [`ENODEV`]
    /// if the device is being unregistered. May sleep.
    pub(super) fn show_channels(&self) -> Result {
        let mut directory = self.directory.lock();

        match *directory {
            Directory::Shown(_) => Ok(()),
            Directory::Gone => Err(ENODEV),
            Directory::None => {
                let channels = Channels::new(self)?;

                channels.add(&self.channel)?;
                *directory = Directory::Shown(channels);
                Ok(())
            }
        }
    }

    /// Does something with the directory of the device's channels.
    pub(super) fn with_channels(&self, call: impl FnOnce(&Channels) -> Result) -> Result {
        match &*self.directory.lock() {
            Directory::Shown(channels) => call(channels),
            Directory::None | Directory::Gone => Err(ENODEV),
        }
    }

    /// Takes all back that a driver has set: it is not bound any more, or has failed to be.
    ///
    /// Process context, with the device's lock held.
    pub(super) fn unbound(&self) {
        let channels = relid::channels();

        for channel in Iterator::chain(channels.subs_of(&self.channel), [&self.channel]) {
            if kobject::is_ring_shown(channel) {
                let _ = kobject::hide_ring(channel);
            }
            channel.reset_hooks();
        }
    }
}

/// Frees a device without references.
extern "C" fn release(dev: *mut bindings::device) {
    // SAFETY: Only devices of this bus have this function.
    let device = ptr::from_ref(unsafe { Device::from_device(dev) }).cast_mut();

    // SAFETY: The last reference is gone, and `create()` has made this of a box.
    let device = unsafe { KBox::from_raw(device) };
    let raw = device.as_raw();

    // SAFETY: The channel is valid as long as the device. Nobody has a device to find by it.
    let device_obj = unsafe { &mut (*device.channel.as_raw()).device_obj };
    if ptr::eq(*device_obj, raw) {
        *device_obj = ptr::null_mut();
    }

    drop(Pin::from(device));
    ALIVE.fetch_sub(1, Full);
}

/// Waits until all devices are released, whose release function is in this module.
///
/// Process context; all devices must be unregistered. It waits as long as it takes.
pub(super) fn wait_for_release() {
    const STEP: Delta = Delta::from_millis(10);
    const NOTICE: u32 = 1000;

    let mut steps: u32 = 0;
    while ALIVE.load(Acquire) != 0 {
        fsleep(STEP);
        steps = steps.wrapping_add(1);
        if steps % NOTICE == 0 {
            pr_notice!("waiting for {} devices in use\n", ALIVE.load(Relaxed));
        }
    }
}
