// SPDX-License-Identifier: GPL-2.0

//! The rings of a channel: one for each direction, in memory that the host reads and writes too.
//!
//! A ring is a control page and whole pages of data, mapped twice in a row behind it, so that no
//! packet is ever split. All of it is accessed through [`SysMem`]: what the host wrote is read
//! once, and the copy is what is checked and used.
//!
//! Who uses what, and in which context:
//!
//! - [`send()`] writes packets under the ring's lock, in any context but NMI.
//! - [`Reader`] reads them; a channel has one at a time, which is its driver's affair.
//! - [`Memory`] is where the rings are, and belongs to whoever opens and closes the channel.
//!
//! C source: [`drivers/hv/ring_buffer.c`](srctree/drivers/hv/ring_buffer.c)

// What initializes a channel finds it here.
pub(crate) use crate::abi::ring::pre_init;

mod memory;
mod reader;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;
mod writer;

pub(crate) use memory::Memory;
pub(crate) use reader::{
    Cursor,
    Reader,
    Received, //
};
pub(crate) use writer::{
    send,
    Packet, //
};

use kernel::{
    io::{
        io_project,
        io_read,
        io_write,
        Io,
        SysMem, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::barrier::{
        virt_mb,
        Full, //
    }, //
};

/// Size of what a packet begins with (`struct vmpacket_descriptor`).
pub(crate) const DESCRIPTOR: u32 = 16;
/// Size of what follows a packet in the ring: where it begins, in the upper half.
const TRAILER: u32 = 8;
/// A descriptor counts 8 bytes, in 16 bits.
const MAX_PACKET: u32 = 8 * u16::MAX as u32;
/// Bytes of data in the largest ring that is ever made.
const MAX_SIZE: usize = 1 << 30;

/// A control page, as far as it has contents (`struct hv_ring_buffer`).
#[repr(C)]
#[derive(FromBytes, IntoBytes)]
struct Control {
    /// Where the next packet will be, in bytes of data. The writer's.
    write_index: u32,
    /// Up to where packets were read. The reader's.
    read_index: u32,
    /// The reader looks anyway and wants no interrupt.
    interrupt_mask: u32,
    /// For so many bytes the writer waits.
    pending_send_size: u32,
    reserved: [u32; 12],
    features: u32,
}

static_assert!(size_of::<Control>() == 68);

/// Both ends know `pending_send_size`.
const FEATURE_PENDING_SEND_SIZE: u32 = 1;

/// A ring, while it is mapped.
///
/// # Invariants
///
/// `size` is a multiple of 8, not 0, and at most [`MAX_SIZE`]. `data` has twice as many bytes.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'a> {
    control: SysMem<'a, Control>,
    data: SysMem<'a, [u8]>,
    size: u32,
}

impl<'a> Ring<'a> {
    /// A ring in memory that begins with a control page.
    ///
    /// Returns [`EINVAL`] if the memory cannot be a ring.
    #[inline(never)]
    pub(crate) fn new(memory: SysMem<'a, [u8]>) -> Result<Self> {
        let len = memory.len();
        let size = len.checked_sub(PAGE_SIZE).ok_or(EINVAL)? / 2;

        if size == 0 || size % 8 != 0 || size > MAX_SIZE {
            return Err(EINVAL);
        }
        // INVARIANT: This was just checked. CAST: `MAX_SIZE` fits.
        Ok(Self {
            control: memory.try_cast()?,
            data: io_project!(memory, [try: PAGE_SIZE..PAGE_SIZE + 2 * size]),
            size: size as u32,
        })
    }

    /// Makes it an empty ring in whose other end nobody has looked yet.
    pub(crate) fn reset(&self) -> Result {
        let control = self.control;

        for word in 0..12 {
            io_write!(control, .reserved[try: word], 0u32);
        }
        io_write!(control, .write_index, 0u32);
        io_write!(control, .read_index, 0u32);
        io_write!(control, .interrupt_mask, 0u32);
        io_write!(control, .pending_send_size, 0u32);
        io_write!(control, .features, FEATURE_PENDING_SEND_SIZE);
        Ok(())
    }

    /// Overwrites all of it with zeroes.
    fn clear(&self) -> Result {
        const ZEROES: [u8; 512] = [0; 512];

        for at in (0..self.size).step_by(ZEROES.len()) {
            self.copy_in(at, &ZEROES)?;
        }
        self.reset()
    }

    /// Bytes from one index to another; both are below the size.
    #[inline]
    fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from {
            to - from
        } else {
            to.wrapping_add(self.size.wrapping_sub(from))
        }
    }

    /// The index so many bytes behind another one; both numbers are at most the size.
    #[inline]
    fn behind(&self, index: u32, bytes: u32) -> u32 {
        let sum = index.wrapping_add(bytes);

        if sum >= self.size {
            sum.wrapping_sub(self.size)
        } else {
            sum
        }
    }

    /// `index`, if there can be a packet.
    #[inline]
    fn check(&self, index: u32) -> Option<u32> {
        (index < self.size && index % 8 == 0).then_some(index)
    }

    /// The writer's index, if it is one.
    #[inline]
    pub(crate) fn write_index(&self) -> Option<u32> {
        self.check(io_read!(self.control, .write_index))
    }

    /// The reader's index, if it is one.
    #[inline]
    fn read_index(&self) -> Option<u32> {
        self.check(io_read!(self.control, .read_index))
    }

    /// Copies bytes out of the ring.
    #[inline]
    fn copy_out(&self, from: u32, to: &mut [u8]) -> Result {
        let from = from as usize;
        let end = from.checked_add(to.len()).ok_or(ERANGE)?;

        io_project!(self.data, [try: from..end]).copy_to_slice(to);
        Ok(())
    }

    /// Copies bytes into the ring.
    #[inline]
    fn copy_in(&self, to: u32, from: &[u8]) -> Result {
        let to = to as usize;
        let end = to.checked_add(from.len()).ok_or(ERANGE)?;

        io_project!(self.data, [try: to..end]).copy_from_slice(from);
        Ok(())
    }

    /// Says that interrupts are not wanted while packets are read. For the reader.
    #[inline]
    pub(crate) fn mask(&self) {
        io_write!(self.control, .interrupt_mask, 1u32);
        // The host knows before anything is read.
        virt_mb(Full);
    }

    /// A look at the ring for people. What the host spoilt is shown as it is.
    pub(crate) fn inspect(&self) -> Figures {
        let read = io_read!(self.control, .read_index);
        let write = io_read!(self.control, .write_index);
        let used = match (self.check(read), self.check(write)) {
            (Some(read), Some(write)) => self.distance(read, write),
            _ => 0,
        };

        Figures {
            read_index: read,
            write_index: write,
            interrupt_mask: io_read!(self.control, .interrupt_mask),
            readable: used,
            writable: self.size.wrapping_sub(used),
        }
    }
}

/// What user space sees of a ring (`struct hv_ring_buffer_debug_info`).
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) read_index: u32,
    pub(crate) write_index: u32,
    pub(crate) interrupt_mask: u32,
    /// Bytes that the reader has not read.
    pub(crate) readable: u32,
    /// Bytes that are not in use, of which the last one never is.
    pub(crate) writable: u32,
}
