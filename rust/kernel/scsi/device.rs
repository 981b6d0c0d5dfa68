// SPDX-License-Identifier: GPL-2.0

//! A logical unit, as the mid layer knows it.
//!
//! C header: [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h)

use super::HostStatus;
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    time::Jiffies,
    types::Opaque, //
};
use core::{
    ops::Deref,
    ptr::NonNull, //
};

/// A logical unit of a host.
///
/// # Invariants
///
/// The `struct scsi_device` is valid.
#[repr(transparent)]
pub struct Device(Opaque<bindings::scsi_device>);

// SAFETY: The mid layer's functions for devices may be called by any thread.
unsafe impl Send for Device {}

// SAFETY: They may be called concurrently.
unsafe impl Sync for Device {}

impl Device {
    /// # Safety
    ///
    /// `sdev` must be valid, and stay so for the duration of `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(sdev: *mut bindings::scsi_device) -> &'a Self {
        // SAFETY: `Self` is a transparent wrapper; the rest is in the safety requirements.
        unsafe { &*sdev.cast() }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::scsi_device {
        self.0.get()
    }

    /// The number of the host's channel.
    #[inline]
    pub fn channel(&self) -> u32 {
        // SAFETY: The device is valid, and its address never changes.
        unsafe { (*self.as_raw()).channel }
    }

    /// The number of the target on its channel.
    #[inline]
    pub fn id(&self) -> u32 {
        // SAFETY: As in `channel()`.
        unsafe { (*self.as_raw()).id }
    }

    /// The number of the logical unit on its target.
    #[inline]
    pub fn lun(&self) -> u64 {
        // SAFETY: As in `channel()`.
        unsafe { (*self.as_raw()).lun }
    }

    /// Whether the device takes tagged commands.
    #[inline]
    pub fn tagged_supported(&self) -> bool {
        // SAFETY: The device is valid.
        unsafe { bindings::scsi_device::tagged_supported_raw(self.as_raw()) != 0 }
    }

    /// The vendor, as the device has said in its answer to INQUIRY: 8 characters.
    pub fn vendor(&self) -> &[u8] {
        // SAFETY: The device is valid; this is set before the driver gets to see the device.
        let vendor = unsafe { &(*self.as_raw()).vendor };

        vendor.get(..8).unwrap_or(vendor)
    }

    /// Asks the device whether it is ready.
    ///
    /// Fails with `ENODEV` if there is no way to it (any more), and with `EIO` if it is not ready or
    /// does not say. Process context; sleeps. `timeout` is of one try, of which there are `retries`
    /// more.
    #[inline]
    pub fn test_unit_ready(&self, timeout: Jiffies, retries: u32) -> Result {
        const NO_CONNECT: u8 = HostStatus::NoConnect as u8;
        let timeout = c_int::try_from(timeout).unwrap_or(c_int::MAX);
        let retries = c_int::try_from(retries).unwrap_or(c_int::MAX);

        // SAFETY: The device is valid. The mid layer brings its own sense header.
        let result = unsafe {
            bindings::scsi_test_unit_ready(self.as_raw(), timeout, retries, core::ptr::null_mut())
        };
        // CAST: The host's status is one byte of a result.
        match (result >> 16) as u8 {
            _ if result == 0 => Ok(()),
            NO_CONNECT => Err(ENODEV),
            _ => Err(EIO),
        }
    }

    /// Has the mid layer, and the driver above it, look at the device's parameters again.
    ///
    /// Process context; sleeps.
    #[inline]
    pub fn rescan(&self) -> Result {
        // SAFETY: The device is valid.
        to_result(unsafe { bindings::scsi_rescan_device(self.as_raw()) })
    }

    /// Removes the device. Process context; sleeps.
    #[inline]
    pub fn remove(&self) {
        // SAFETY: The device is valid, and stays so: the caller has a reference.
        unsafe { bindings::scsi_remove_device(self.as_raw()) };
    }

    /// Sets how many commands the device may have under way, and returns how many it may.
    ///
    /// To be called from `change_queue_depth`.
    #[inline]
    pub fn set_queue_depth(&self, depth: u32) -> u32 {
        let depth = c_int::try_from(depth).unwrap_or(c_int::MAX);

        // SAFETY: The device is valid.
        let depth = unsafe { bindings::scsi_change_queue_depth(self.as_raw(), depth) };
        u32::try_from(depth).unwrap_or(0)
    }
}

/// A counted reference to a device, from a lookup.
///
/// # Invariants
///
/// The pointer is to a valid device, of which this owns a reference.
pub struct DeviceRef(NonNull<bindings::scsi_device>);

// SAFETY: A reference may be dropped by any thread, in process context.
unsafe impl Send for DeviceRef {}

// SAFETY: `Device` is `Sync`.
unsafe impl Sync for DeviceRef {}

impl DeviceRef {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `sdev` must be valid, and the caller must own a reference to it, which it gives away.
    #[inline]
    pub(super) unsafe fn from_raw(sdev: NonNull<bindings::scsi_device>) -> Self {
        Self(sdev)
    }
}

impl Deref for DeviceRef {
    type Target = Device;

    #[inline]
    fn deref(&self) -> &Device {
        // SAFETY: By the type invariant the device is valid as long as `self` is.
        unsafe { Device::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for DeviceRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant this reference is ours.
        unsafe { bindings::scsi_device_put(self.0.as_ptr()) };
    }
}

kernel::impl_flags!(
    /// What is special about a device.
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Flags(u64);

    /// What can be special about a device.
    ///
    /// C header: [`include/scsi/scsi_devinfo.h`](srctree/include/scsi/scsi_devinfo.h)
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum Flag {
        /// REPORT LUNS works although the device says it conforms to SCSI-2 only.
        ReportLun2 = bindings::BLIST_REPORTLUN2,
        /// There are pages of vital product data although the device conforms to SPC-2 only.
        TryVpdPages = bindings::BLIST_TRY_VPD_PAGES,
    }
);

/// What a device says it conforms to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// SPC-3.
    Spc3 = bindings::SCSI_SPC_3 as u8,
}

/// A device that the mid layer is about to use: a driver may say what it knows about it.
pub struct Setup<'a>(&'a Device);

impl<'a> Setup<'a> {
    /// # Safety
    ///
    /// The mid layer must be in one of the callbacks that set a device up; nobody else uses it yet.
    #[inline]
    pub(super) unsafe fn new(dev: &'a Device) -> Self {
        Self(dev)
    }

    /// Says what is special about the device. For `sdev_init`.
    #[inline]
    pub fn set_flags(&mut self, flags: Flags) {
        // SAFETY: The device is valid and nobody else uses it.
        unsafe { (*self.as_raw()).sdev_bflags = flags.into() };
    }

    /// Sets how long a command may take before `eh_timed_out` is called. For `sdev_configure`.
    #[inline]
    pub fn set_timeout(&mut self, timeout: Jiffies) {
        let timeout = c_uint::try_from(timeout).unwrap_or(c_uint::MAX);

        // SAFETY: The device is valid and has its queue.
        unsafe { bindings::blk_queue_rq_timeout((*self.as_raw()).request_queue, timeout) };
    }

    /// Whether the device must not be asked for the commands that it knows.
    #[inline]
    pub fn set_no_report_opcodes(&mut self, no: bool) {
        // SAFETY: The device is valid and nobody else uses it.
        unsafe { bindings::scsi_device::set_no_report_opcodes_raw(self.as_raw(), no.into()) };
    }

    /// Whether the device must not get WRITE SAME.
    #[inline]
    pub fn set_no_write_same(&mut self, no: bool) {
        // SAFETY: The device is valid and nobody else uses it.
        unsafe { bindings::scsi_device::set_no_write_same_raw(self.as_raw(), no.into()) };
    }

    /// Corrects what the device says it conforms to.
    #[inline]
    pub fn set_level(&mut self, level: Level) {
        // SAFETY: The device is valid and nobody else uses it.
        unsafe { (*self.as_raw()).scsi_level = level as c_char };
    }
}

impl Deref for Setup<'_> {
    type Target = Device;

    #[inline]
    fn deref(&self) -> &Device {
        self.0
    }
}
