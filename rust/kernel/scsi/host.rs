// SPDX-License-Identifier: GPL-2.0

//! A host: what the mid layer sends commands through.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    Device,
    DeviceRef, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::{
        aref::AlwaysRefCounted,
        lock::mutex::MutexBackend,
        lock::Lock, //
    },
    types::Opaque, //
};
use core::ptr::NonNull;

/// A host, whatever drives it.
///
/// # Invariants
///
/// The `struct Scsi_Host` is valid.
#[repr(transparent)]
pub struct Host(Opaque<bindings::Scsi_Host>);

// SAFETY: The mid layer's functions for hosts may be called by any thread.
unsafe impl Send for Host {}

// SAFETY: They may be called concurrently.
unsafe impl Sync for Host {}

// SAFETY: Hosts are always reference-counted, by their device.
unsafe impl AlwaysRefCounted for Host {
    fn inc_ref(&self) {
        // SAFETY: The host, and the device in it, is valid.
        unsafe { bindings::get_device(&raw mut (*self.as_raw()).shost_gendev) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        let host = obj.as_ptr().cast::<bindings::Scsi_Host>();

        // SAFETY: The caller owns a reference. The mid layer's `scsi_host_put()` does just this.
        unsafe { bindings::put_device(&raw mut (*host).shost_gendev) };
    }
}

impl Host {
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::Scsi_Host {
        self.0.get()
    }

    /// The number of the host.
    #[inline]
    pub fn host_no(&self) -> u32 {
        // SAFETY: The host is valid, and its number never changes.
        unsafe { (*self.as_raw()).host_no }
    }

    /// How many commands each hardware queue may have under way.
    #[inline]
    pub fn can_queue(&self) -> u32 {
        // SAFETY: The host is valid, and this does not change once it is registered.
        let depth = unsafe { (*self.as_raw()).can_queue };

        u32::try_from(depth).unwrap_or(0)
    }

    /// Looks for devices at all addresses that the host can have. Process context; sleeps.
    #[inline]
    pub fn scan(&self) {
        // SAFETY: The host is valid. One that is not registered, or not any more, is not scanned.
        unsafe { bindings::scsi_scan_host(self.as_raw()) };
    }

    /// Adds a device whose address is known. Process context; sleeps.
    #[inline]
    pub fn add_device(&self, channel: u32, id: u32, lun: u64) -> Result {
        // SAFETY: As in `scan()`.
        to_result(unsafe { bindings::scsi_add_device(self.as_raw(), channel, id, lun) })
    }

    /// Looks a device up. Process context.
    #[inline]
    pub fn lookup(&self, channel: u32, id: u32, lun: u64) -> Option<DeviceRef> {
        // SAFETY: The host is valid.
        let sdev = unsafe { bindings::scsi_device_lookup(self.as_raw(), channel, id, lun) };

        // SAFETY: The mid layer has taken a reference for us.
        NonNull::new(sdev).map(|sdev| unsafe { DeviceRef::from_raw(sdev) })
    }

    /// Calls a function for each device, while the host is not scanned by others.
    ///
    /// Process context; sleeps. Devices may be removed meanwhile.
    #[inline]
    pub fn for_each_device(&self, mut visit: impl FnMut(&Device)) {
        // SAFETY: The host is valid, and its mutex is initialized.
        let scan_mutex =
            unsafe { Lock::<(), MutexBackend>::from_raw(&raw mut (*self.as_raw()).scan_mutex) };
        let _guard = scan_mutex.lock();
        let mut sdev = core::ptr::null_mut();

        loop {
            // SAFETY: The host is valid, and `sdev` is NULL or the last one that this returned; it
            // puts the reference to that one and takes one to the next.
            sdev = unsafe { bindings::__scsi_iterate_devices(self.as_raw(), sdev) };
            if sdev.is_null() {
                return;
            }
            // SAFETY: There is a reference to it until the next turn.
            visit(unsafe { Device::from_raw(sdev) });
        }
    }
}
