// SPDX-License-Identifier: GPL-2.0

//! The memory of a ring, its indices, and what a packet begins with.
//!
//! A ring is a control page and whole pages of data, which are mapped twice in a row, so that no
//! packet is ever split. The host can write all of it at any time: it is only accessed through
//! [`SysMem`], and an index or a descriptor is read once, and the copy is checked and used.
//!
//! Nothing here refers to the bus driver's module.
//!
//! C source: [`drivers/hv/ring_buffer.c`](srctree/drivers/hv/ring_buffer.c)

use super::writer::Pfns;
use crate::{
    bindings,
    io::{
        io_project,
        Io,
        SysMem, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

/// Size of a packet's descriptor.
pub(super) const DESCRIPTOR: u32 = 16;
/// Size of what follows a packet in the ring: where it began, in the upper half.
pub(super) const TRAILER: u32 = 8;
/// Bytes of the largest packet: a descriptor counts words, in 16 bits.
pub(super) const MAX_PACKET: u32 = 8 * u16::MAX as u32;
/// Bytes of the largest ring, with its control page.
pub(super) const MAX_RING: usize = 1 << 30;

/// A control page, as far as it has contents that matter (`struct hv_ring_buffer`).
#[repr(C)]
pub(super) struct Control {
    /// Where the next packet will be, in bytes of data. The writer's.
    write_index: u32,
    /// Up to where packets were read. The reader's.
    read_index: u32,
    /// The reader looks by itself and wants no interrupt.
    interrupt_mask: u32,
    /// For so many bytes the writer waits.
    pending_send_size: u32,
}

static_assert!(size_of::<Control>() == 16);
static_assert!(size_of::<bindings::hv_ring_buffer>() == PAGE_SIZE);

/// How many bytes of data a ring has, and what follows from that for its indices.
///
/// # Invariants
///
/// The size is a multiple of 8, not 0, and below [`MAX_RING`].
#[derive(Clone, Copy)]
pub(super) struct Size(u32);

impl Size {
    #[inline]
    pub(super) fn new(bytes: u32) -> Option<Self> {
        // INVARIANT: As is checked here.
        (bytes > 0 && bytes % 8 == 0 && (bytes as usize) < MAX_RING).then_some(Self(bytes))
    }

    /// A size that was one before.
    ///
    /// # Safety
    ///
    /// `bytes` must come from [`Size::bytes`].
    #[inline]
    pub(super) unsafe fn new_unchecked(bytes: u32) -> Self {
        // INVARIANT: By the safety requirements.
        Self(bytes)
    }

    /// Bytes of data.
    #[inline]
    pub(super) fn bytes(self) -> u32 {
        self.0
    }

    /// `index`, if there can be a packet. Whatever the host says goes through this.
    #[inline]
    pub(super) fn check(self, index: u32) -> Option<u32> {
        (index < self.0 && index % 8 == 0).then_some(index)
    }

    /// Bytes from one index to another one; both were checked.
    #[inline]
    pub(super) fn distance(self, from: u32, to: u32) -> u32 {
        let bytes = to.wrapping_sub(from);

        if to >= from {
            bytes
        } else {
            bytes.wrapping_add(self.0)
        }
    }

    /// Bytes that can be written; both indices were checked.
    ///
    /// A full ring could not be told from an empty one: what is written is less than this.
    #[inline]
    pub(super) fn room(self, read: u32, write: u32) -> u32 {
        self.0.wrapping_sub(self.distance(read, write))
    }

    /// The index so many bytes, at most the size, behind another one, which was checked.
    #[inline]
    pub(super) fn behind(self, index: u32, bytes: u32) -> u32 {
        let sum = index.wrapping_add(bytes);

        if sum >= self.0 {
            sum.wrapping_sub(self.0)
        } else {
            sum
        }
    }
}

/// A ring.
///
/// # Invariants
///
/// As long as the value is used `control` points to a mapped control page, which is followed by
/// `2 * size` mapped bytes.
pub(super) struct Ring {
    control: *mut Control,
    size: Size,
}

// SAFETY: A `Ring` is memory that is shared with the host anyway; all accesses are volatile or by
// `memcpy()`.
unsafe impl Send for Ring {}

// SAFETY: As above.
unsafe impl Sync for Ring {}

impl Ring {
    /// A ring with so many bytes of data.
    ///
    /// # Safety
    ///
    /// As long as the returned value is used `control` must point to a mapped control page, which
    /// is followed by twice as many mapped bytes.
    #[inline]
    pub(super) unsafe fn new(control: *mut Control, size: Size) -> Self {
        // INVARIANT: By the safety requirements.
        Self { control, size }
    }

    /// The ring that the bus driver has made for a channel; [`None`] if there is none.
    ///
    /// # Safety
    ///
    /// `info` must be valid, and its ring, if it has one, must stay mapped as long as the returned
    /// value is used.
    #[inline]
    pub(super) unsafe fn of_channel(info: *const bindings::hv_ring_buffer_info) -> Option<Self> {
        // SAFETY: By the safety requirements.
        let control: *mut Control = unsafe { (*info).ring_buffer }.cast();
        // SAFETY: By the safety requirements.
        let size = Size::new(unsafe { (*info).ring_datasize })?;

        if control.is_null() {
            return None;
        }
        // SAFETY: The bus driver maps a ring's data twice behind its control page; they stay mapped
        // by the safety requirements.
        Some(unsafe { Self::new(control, size) })
    }

    /// The same ring once more.
    ///
    /// # Safety
    ///
    /// The ring must stay mapped as long as the returned value is used.
    #[inline]
    pub(super) unsafe fn again(&self) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { Self::new(self.control, self.size) }
    }

    #[inline]
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Where the control page is.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut Control {
        self.control
    }

    #[inline]
    fn control(&self) -> SysMem<'_, Control> {
        // SAFETY: By the type invariant the control page is mapped.
        unsafe { SysMem::new(self.control) }
    }

    /// Where the data begin, for their first time.
    #[inline]
    fn data(&self) -> *mut u8 {
        self.control.wrapping_byte_add(PAGE_SIZE).cast()
    }

    /// The word so many bytes behind the start of the data.
    ///
    /// # Safety
    ///
    /// `at` must be a multiple of 8, and less than twice the ring's size.
    #[inline]
    pub(super) unsafe fn word(&self, at: u32) -> SysMem<'_, u64> {
        let word = self.data().wrapping_add(at as usize).cast();

        // SAFETY: By the type invariant twice the ring's size, a multiple of 8, is mapped, and by
        // the safety requirements the word lies in that. Pages are aligned, and so is the word.
        unsafe { SysMem::new(word) }
    }

    /// Writes `count` numbers, each as a word, from so many bytes behind the start of the data.
    ///
    /// Returns whether there were as many.
    ///
    /// # Safety
    ///
    /// `at` must be a multiple of 8, `count` not 0, and the end of the words at most twice the
    /// ring's size.
    #[inline]
    pub(super) unsafe fn fill<P: Pfns>(
        &self,
        at: u32,
        count: u32,
        runs: impl IntoIterator<Item = P>,
    ) -> bool {
        let mut place = self.data().wrapping_add(at as usize).cast::<u64>();
        let end = place.wrapping_add(count as usize);

        for run in runs {
            // Many runs are of one: it does not pay to make more than this of them.
            for word in run.into_range() {
                // SAFETY: As in `word()`, by the safety requirements.
                unsafe { SysMem::new(place) }.write_val(word);
                place = place.wrapping_add(1);
                if place == end {
                    return true;
                }
            }
        }
        false
    }

    /// Bytes from so many bytes behind the start of the data.
    ///
    /// # Safety
    ///
    /// `at + len` must be at most twice the ring's size.
    #[inline]
    unsafe fn bytes(&self, at: u32, len: usize) -> SysMem<'_, [u8]> {
        let start = self.data().wrapping_add(at as usize);

        // SAFETY: By the type invariant twice the ring's size is mapped, and by the safety
        // requirements the bytes lie in that.
        unsafe { SysMem::new(core::ptr::slice_from_raw_parts_mut(start, len)) }
    }

    /// Copies bytes into the ring.
    ///
    /// # Safety
    ///
    /// `at + from.len()` must be at most twice the ring's size.
    #[inline]
    pub(super) unsafe fn copy_in(&self, at: u32, from: &[u8]) {
        // SAFETY: By the safety requirements.
        let to = unsafe { self.bytes(at, from.len()) };

        to.copy_from_slice(from);
    }

    /// Copies bytes out of the ring.
    ///
    /// # Safety
    ///
    /// `at + to.len()` must be at most twice the ring's size.
    #[inline]
    pub(super) unsafe fn copy_out(&self, at: u32, to: &mut [u8]) {
        // SAFETY: By the safety requirements.
        let from = unsafe { self.bytes(at, to.len()) };

        from.copy_to_slice(to);
    }

    /// The writer's index, if it is one.
    #[inline]
    pub(super) fn write_index(&self) -> Option<u32> {
        self.size
            .check(io_project!(self.control(), .write_index).read_val())
    }

    #[inline]
    pub(super) fn set_write_index(&self, index: u32) {
        io_project!(self.control(), .write_index).write_val(index);
    }

    /// The reader's index, if it is one.
    #[inline]
    pub(super) fn read_index(&self) -> Option<u32> {
        self.size
            .check(io_project!(self.control(), .read_index).read_val())
    }

    #[inline]
    pub(super) fn set_read_index(&self, index: u32) {
        io_project!(self.control(), .read_index).write_val(index);
    }

    /// How much could be written, if the indices are as the host says: nothing to rely on, but
    /// never more than the size.
    #[inline]
    pub(super) fn hint_room(&self) -> u32 {
        let read = io_project!(self.control(), .read_index).read_val();
        let write = io_project!(self.control(), .write_index).read_val();

        self.size.room(read, write).min(self.size.bytes())
    }

    /// Whether the reader wants no interrupt.
    #[inline]
    pub(super) fn is_masked(&self) -> bool {
        io_project!(self.control(), .interrupt_mask).read_val() != 0
    }

    #[inline]
    pub(super) fn mask(&self, masked: bool) {
        io_project!(self.control(), .interrupt_mask).write_val(masked.into());
    }

    /// For how many bytes the writer waits; 0 if it does not.
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        io_project!(self.control(), .pending_send_size).read_val()
    }

    #[inline]
    pub(super) fn set_pending(&self, bytes: u32) {
        io_project!(self.control(), .pending_send_size).write_val(bytes);
    }
}

/// What a packet begins with (`struct vmpacket_descriptor`), as numbers of bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Descriptor {
    /// One of `enum vmbus_packet_type`.
    pub(super) kind: u16,
    pub(super) flags: u16,
    /// Where the payload begins.
    pub(super) offset: u32,
    /// Of all of the packet, with this.
    pub(super) len: u32,
    pub(super) id: u64,
}

impl Descriptor {
    /// From the first two words of a packet.
    #[inline]
    pub(super) fn parse([first, id]: [u64; 2]) -> Self {
        let first = u64::from_le(first);

        // CAST: Each takes 16 bits of the word.
        Self {
            kind: first as u16,
            offset: u32::from((first >> 16) as u16) * 8,
            len: u32::from((first >> 32) as u16) * 8,
            flags: (first >> 48) as u16,
            id: u64::from_le(id),
        }
    }

    /// The first two words of a packet. The lengths are multiples of 8, and at most
    /// [`MAX_PACKET`].
    #[inline]
    pub(super) fn to_words(self) -> [u64; 2] {
        let first = u64::from(self.kind)
            | u64::from(self.offset / 8) << 16
            | u64::from(self.len / 8) << 32
            | u64::from(self.flags) << 48;

        [first.to_le(), self.id.to_le()]
    }

    /// Whether the packet ends where a packet can, `available` bytes being there.
    ///
    /// If it does not nobody can say where the next one begins.
    #[inline]
    pub(super) fn fits(&self, available: u32) -> bool {
        self.len >= DESCRIPTOR && self.len.wrapping_add(TRAILER) <= available
    }

    /// Whether the payload begins within the packet.
    #[inline]
    pub(super) fn is_sound(&self) -> bool {
        (DESCRIPTOR..=self.len).contains(&self.offset)
    }

    /// Whether the sender wants a completion.
    #[inline]
    pub(super) fn wants_completion(&self) -> bool {
        u32::from(self.flags) & bindings::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED != 0
    }
}
