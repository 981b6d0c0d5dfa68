// SPDX-License-Identifier: GPL-2.0

//! What a driver of hosts has to say and to do.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    Command,
    Device,
    Setup, //
};
use crate::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*, //
};

/// Why a command cannot be taken now: until when the mid layer is to hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Until one of this device's commands is done: there must be one under way.
    Device,
    /// Until one of the host's commands is done, or a short time has passed.
    Host,
}

/// What is done about a command that takes longer than the device's timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutAction {
    /// It may take as long again.
    ResetTimer,
}

/// The geometry that programs of the past ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Heads.
    pub heads: u32,
    /// Sectors of a track.
    pub sectors: u32,
    /// Cylinders.
    pub cylinders: u32,
}

/// A kind of hosts, and what their callbacks work on.
///
/// C counterpart: `struct scsi_host_template`.
#[vtable]
pub trait Template: Send + Sync + Sized + 'static {
    /// What the kernel's log calls the host.
    const NAME: &'static CStr;

    /// The attribute `proc_name`.
    const PROC_NAME: &'static CStr;

    /// Commands under way for each device.
    const CMD_PER_LUN: i16;

    /// Between the first and the last byte of a command's data, memory has no gap that is smaller
    /// than this, and none within it: a power of two (bytes).
    const VIRT_BOUNDARY: usize;

    /// Devices take no WRITE SAME unless [`Setup::set_no_write_same`] says otherwise.
    const NO_WRITE_SAME: bool = false;

    /// The mid layer lowers a device's queue depth while the device says that it is full.
    const TRACK_QUEUE_DEPTH: bool = false;

    /// Takes a command, or hands it back because there is no room now.
    ///
    /// The command is the driver's until it is completed, which may happen before this returns.
    /// Called by several processors at once, with the RCU read lock held; must not sleep.
    fn queuecommand(&self, command: Command) -> Result<(), (Busy, Command)>;

    /// Tells the device about the commands that it was not told about because others seemed to
    /// follow; see [`Command::is_last`]. Context as `queuecommand`.
    fn commit_rqs(&self, hw_queue: usize) {
        let _ = hw_queue;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A command takes longer than its device's timeout. Must not sleep.
    ///
    /// It stays the driver's: the mid layer only asks whether to wait.
    fn eh_timed_out(&self) -> TimeoutAction {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Resets the host, and returns when it has no command under way any more.
    ///
    /// Process context; sleeps. No commands come from the mid layer meanwhile.
    fn eh_host_reset(&self) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A device was found, about which the mid layer knows nothing yet.
    ///
    /// Process context, may sleep.
    fn sdev_init(&self, dev: &mut Setup<'_>) -> Result {
        let _ = dev;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A device has said what it is, and is about to be used.
    ///
    /// Process context, may sleep.
    fn sdev_configure(&self, dev: &mut Setup<'_>) -> Result {
        let _ = dev;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// User space, or the mid layer, wants another queue depth of a device. Returns what it is now.
    ///
    /// Must not sleep. See [`Device::set_queue_depth`].
    fn change_queue_depth(&self, dev: &Device, depth: u32) -> Result<u32> {
        let _ = (dev, depth);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes up a geometry for a disk of so many sectors of 512 bytes.
    fn bios_param(sectors: u64) -> Geometry {
        let _ = sectors;
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
