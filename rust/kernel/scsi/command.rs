// SPDX-License-Identifier: GPL-2.0

//! A command that the mid layer has handed to a driver.
//!
//! C header: [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h)

use super::Device;
use crate::{
    bindings,
    error::Error,
    fmt,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Range,
    ptr::NonNull, //
};

/// What became of a command below the target: the host byte of its result.
///
/// C counterpart: `enum scsi_host_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HostStatus {
    /// Nothing is wrong on this level.
    Ok = bindings::scsi_host_status_DID_OK as u8,
    /// There is no way to the device (any more).
    NoConnect = bindings::scsi_host_status_DID_NO_CONNECT as u8,
    /// The target cannot be used.
    BadTarget = bindings::scsi_host_status_DID_BAD_TARGET as u8,
    /// An error that the mid layer may try again a few times.
    Error = bindings::scsi_host_status_DID_ERROR as u8,
    /// A command of user space that is passed through, and failed.
    Passthrough = bindings::scsi_host_status_DID_PASSTHROUGH as u8,
    /// To be queued again, without counting that as another try.
    Requeue = bindings::scsi_host_status_DID_REQUEUE as u8,
}

/// Bytes that the mid layer has for a command descriptor block.
const CDB: usize = 32;

/// Bytes of a frame: what memory is counted in by the devices that [`Mapped::frames`] is for.
pub const FRAME: u64 = 4096;

/// The result of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(u32);

impl Status {
    /// The command was done.
    pub const OK: Self = Self::new(HostStatus::Ok, 0);

    /// A result of a host status and of a status byte of the target (0: good, 2: check condition).
    #[inline]
    pub const fn new(host: HostStatus, target: u8) -> Self {
        // CAST: Both are single bytes.
        Self((host as u32) << 16 | target as u32)
    }
}

impl From<HostStatus> for Status {
    #[inline]
    fn from(host: HostStatus) -> Self {
        Self::new(host, 0)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({:#x})", self.0)
    }
}

/// Where the data of a command go.
// The numbers are those of C, so that nothing is to be done for one from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both, which the mid layer does not ask for.
    Bidirectional = bindings::dma_data_direction::DMA_BIDIRECTIONAL.0 as isize,
    /// From memory to the device.
    ToDevice = bindings::dma_data_direction::DMA_TO_DEVICE.0 as isize,
    /// From the device into memory.
    FromDevice = bindings::dma_data_direction::DMA_FROM_DEVICE.0 as isize,
    /// The command has no data.
    None = bindings::dma_data_direction::DMA_NONE.0 as isize,
}

/// A command that is the driver's to complete.
///
/// A command that is dropped is completed with [`HostStatus::Error`].
///
/// # Invariants
///
/// The pointer is to a valid `struct scsi_cmnd` that the mid layer has handed to the driver, and
/// that the driver has neither completed nor handed back. Nobody else completes it: commands that
/// take long are left to the driver, see [`Template::eh_timed_out`](super::Template).
#[must_use = "a command that is dropped fails"]
pub struct Command(NonNull<bindings::scsi_cmnd>);

// SAFETY: Any thread may complete a command and look into it.
unsafe impl Send for Command {}

// SAFETY: What `&Command` gives access to does not change while the driver has the command.
unsafe impl Sync for Command {}

impl Command {
    /// Takes over a command.
    ///
    /// # Safety
    ///
    /// `cmd` must be a valid command that the mid layer has just handed to the driver.
    #[inline]
    pub(super) unsafe fn from_raw(cmd: NonNull<bindings::scsi_cmnd>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(cmd)
    }

    /// Gives the command back, neither completed nor failed.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<bindings::scsi_cmnd> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    fn as_raw(&self) -> *mut bindings::scsi_cmnd {
        self.0.as_ptr()
    }

    #[inline]
    fn request(&self) -> *mut bindings::request {
        // The mid layer's data of a request follow the request.
        self.as_raw().cast::<bindings::request>().wrapping_sub(1)
    }

    /// The device that the command is for.
    #[inline]
    pub fn device(&self) -> &Device {
        // SAFETY: The device of a command exists as long as the command does.
        unsafe { Device::from_raw((*self.as_raw()).device) }
    }

    /// The first `N` bytes of the memory that the command descriptor block begins, for devices that
    /// take as many whatever the [length](Command::cdb_len) is. What is behind it was zeroed by the
    /// mid layer.
    #[inline]
    pub fn cdb_prefix<const N: usize>(&self) -> &[u8; N] {
        const { assert!(N <= CDB) };

        // SAFETY: The command is valid, and nobody changes its block while the driver has it.
        let block: &[u8; CDB] = unsafe { &(*self.as_raw()).cmnd };
        // SAFETY: As was checked when this was compiled, the block has so many bytes.
        unsafe { &*block.as_ptr().cast::<[u8; N]>() }
    }

    /// Bytes of the command descriptor block; not more than the host has said that it takes.
    #[inline]
    pub fn cdb_len(&self) -> u16 {
        // SAFETY: The command is valid.
        unsafe { (*self.as_raw()).cmd_len }
    }

    /// The operation code.
    #[inline]
    pub fn opcode(&self) -> u8 {
        // SAFETY: The command is valid, and nobody changes its block while the driver has it.
        unsafe { (*self.as_raw()).cmnd[0] }
    }

    /// Where the data go.
    #[inline]
    pub fn direction(&self) -> Direction {
        // SAFETY: The command is valid.
        match unsafe { (*self.as_raw()).sc_data_direction } {
            bindings::dma_data_direction::DMA_TO_DEVICE => Direction::ToDevice,
            bindings::dma_data_direction::DMA_FROM_DEVICE => Direction::FromDevice,
            bindings::dma_data_direction::DMA_NONE => Direction::None,
            _ => Direction::Bidirectional,
        }
    }

    /// Bytes of data.
    ///
    /// C counterpart: `scsi_bufflen()`.
    #[inline]
    pub fn len(&self) -> u32 {
        // SAFETY: The command is valid.
        unsafe { (*self.as_raw()).sdb.length }
    }

    /// Whether there are no data.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the mid layer has no further command right now.
    ///
    /// A driver with a `commit_rqs` need not tell its device about a command that is not the last.
    #[inline]
    pub fn is_last(&self) -> bool {
        // SAFETY: The command is valid.
        // CAST: A flag of the low bits.
        unsafe { (*self.as_raw()).flags & bindings::SCMD_LAST as c_int != 0 }
    }

    /// The block layer's tag of the command: unique among those of its hardware queue.
    #[inline]
    pub fn tag(&self) -> i32 {
        // SAFETY: A command lies behind its request.
        unsafe { (*self.request()).tag }
    }

    /// The hardware queue that the command came from.
    #[inline]
    pub fn hw_queue(&self) -> usize {
        // SAFETY: A command lies behind its request.
        let hctx = unsafe { (*self.request()).mq_hctx };
        if hctx.is_null() {
            return 0;
        }
        // SAFETY: A request's hardware queue is valid.
        // CAST: It counts from 0.
        unsafe { (*hctx).queue_num as usize }
    }

    /// Stores sense data of the target, as far as there is room for them (96 bytes).
    #[inline]
    pub fn set_sense(&mut self, sense: &[u8]) {
        let len = sense.len().min(bindings::SCSI_SENSE_BUFFERSIZE as usize);

        // SAFETY: A command has a buffer of so many bytes, which is the driver's while it has the
        // command; `sense` has as many, too.
        unsafe {
            core::ptr::copy_nonoverlapping(sense.as_ptr(), (*self.as_raw()).sense_buffer, len)
        };
    }

    /// Has the device reach the data: maps them for DMA.
    ///
    /// Any context. On failure, mostly for lack of room in a bounce buffer, the command comes back.
    #[inline]
    pub fn map(self) -> Result<Mapped, (Error, Self)> {
        // SAFETY: By the type invariant the command is the driver's.
        let segments = unsafe { bindings::scsi_dma_map(self.as_raw()) };

        match c_uint::try_from(segments) {
            Ok(segments) => Ok(Mapped {
                command: self,
                segments,
            }),
            Err(_) => Err((Error::from_errno(segments), self)),
        }
    }

    /// Completes the command; `residue` bytes of its data were not transferred.
    ///
    /// Any context.
    #[inline]
    pub fn done(self, status: Status, residue: u32) {
        ManuallyDrop::new(self).end(status, residue);
    }

    /// Completes the command.
    #[inline]
    fn end(&mut self, status: Status, residue: u32) {
        let cmd = self.as_raw();

        // SAFETY: The command is the driver's. It is used for the last time here: both callers
        // are done with `self`.
        // CAST: The bits are what counts.
        unsafe {
            (*cmd).result = status.0 as c_int;
            (*cmd).resid_len = residue;
        }
        // SAFETY: As above.
        unsafe { bindings::scsi_done(cmd) };
    }
}

impl Drop for Command {
    #[inline]
    fn drop(&mut self) {
        let len = self.len();

        self.end(HostStatus::Error.into(), len);
    }
}

/// A command whose data the device can reach.
///
/// The mapping ends with it, and before the command is completed.
///
/// # Invariants
///
/// The data of `command` are mapped, as `segments` entries of its scatter list; 0 if there are
/// none.
#[must_use = "a command that is dropped fails"]
pub struct Mapped {
    command: Command,
    segments: c_uint,
}

impl Mapped {
    /// The command, whose data stay mapped.
    #[inline]
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// Ends the mapping: the device must not use the data any more. Any context.
    #[inline]
    pub fn unmap(self) -> Command {
        let this = ManuallyDrop::new(self);

        this.end();
        // INVARIANT: `this` owned the command, and is not dropped.
        Command(this.command.0)
    }

    #[inline]
    fn end(&self) {
        // SAFETY: By the type invariant the data are mapped, or there are none, and both callers
        // are done with `self`.
        unsafe { bindings::scsi_dma_unmap(self.command.as_raw()) };
    }

    #[inline]
    fn list(&self) -> *mut bindings::scatterlist {
        // SAFETY: The command is valid.
        unsafe { (*self.command.as_raw()).sdb.table.sgl }
    }

    /// Where in their first 4 KiB frame the data begin, as the device sees them.
    #[inline]
    pub fn offset(&self) -> u32 {
        if self.segments == 0 {
            return 0;
        }
        // SAFETY: By the type invariant there is a first entry, and it is mapped.
        // CAST: Below 4096.
        unsafe { ((*self.list()).dma_address % FRAME) as u32 }
    }

    /// The numbers of the [frames](FRAME) that the data lie in, in order, as the device sees them:
    /// ranges of numbers that follow each other.
    ///
    /// If the host's `VIRT_BOUNDARY` is that of a frame, only the first and the last of them can be
    /// used in part.
    #[inline]
    pub fn frames(&self) -> Frames<'_> {
        Frames {
            entry: self.list(),
            entries: self.segments,
            _mapped: PhantomData,
        }
    }
}

impl Drop for Mapped {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}

/// Iterator over ranges of frames; see [`Mapped::frames`].
///
/// # Invariants
///
/// If `entries` is not 0, `entry` is a valid, mapped entry of a scatter list, which has so many
/// from there on.
pub struct Frames<'a> {
    entry: *mut bindings::scatterlist,
    entries: c_uint,
    _mapped: PhantomData<&'a Mapped>,
}

impl Iterator for Frames<'_> {
    type Item = Range<u64>;

    #[inline]
    fn next(&mut self) -> Option<Range<u64>> {
        let left = self.entries.checked_sub(1)?;
        // SAFETY: By the type invariant this is a valid entry, and it is mapped.
        let start = unsafe { (*self.entry).dma_address };
        // SAFETY: As above.
        let len = u64::from(unsafe { bindings::sg_dma_len(self.entry) });
        // No device's addresses go so far that the sum overflows.
        let last = start.wrapping_add(len).wrapping_add(FRAME - 1);

        self.entries = left;
        if left > 0 {
            // INVARIANT: At least one follows.
            // SAFETY: As above.
            self.entry = unsafe { bindings::sg_next(self.entry) };
        }
        Some(start / FRAME..last / FRAME)
    }
}
