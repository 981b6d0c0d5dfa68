// SPDX-License-Identifier: GPL-2.0

//! The rings of a channel, and the packets in them.
//!
//! A ring is a control page and whole pages of data, which are mapped twice in a row, so that no
//! packet is ever split. The host can write all of it at any time: it is only accessed through
//! [`SysMem`], a packet's descriptor is copied once and the copy is checked, and the payload is
//! copied out before anybody looks at it.
//!
//! Nothing here refers to the bus driver's module.
//!
//! C source: [`drivers/hv/ring_buffer.c`](srctree/drivers/hv/ring_buffer.c)

use super::channel::Owed;
use crate::{
    alloc::KVVec,
    bindings,
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
        Full,
        Read, //
    }, //
};

/// Size of a packet's descriptor.
pub(super) const DESCRIPTOR: u32 = 16;
/// Size of what follows a packet in the ring.
pub(super) const TRAILER: u32 = 8;

/// A control page, as far as it has contents (`struct hv_ring_buffer`).
#[repr(C)]
struct Control {
    write_index: u32,
    read_index: u32,
    interrupt_mask: u32,
    pending_send_size: u32,
    reserved: [u32; 12],
    features: u32,
}

static_assert!(size_of::<Control>() == 68);
static_assert!(size_of::<bindings::hv_ring_buffer>() == PAGE_SIZE);

/// The other end writes and reads `pending_send_size`.
const FEATURE_PENDING_SEND_SIZE: u32 = 1;

/// A ring.
///
/// # Invariants
///
/// While the value exists, `control` points to a mapped control page, which is followed by `2 *
/// size` mapped bytes. `size` is a multiple of the page size and not 0.
pub(super) struct Ring {
    control: *mut Control,
    size: u32,
}

// SAFETY: A `Ring` is memory that is shared with the host anyway; all accesses are volatile or by
// `memcpy()`.
unsafe impl Send for Ring {}

impl Ring {
    /// Describes a ring of the bus driver; [`None`] if there is none.
    ///
    /// # Safety
    ///
    /// `info` must point to a `struct hv_ring_buffer_info` whose ring, if it has one, stays mapped
    /// as long as the returned value is used.
    pub(super) unsafe fn new(info: *const bindings::hv_ring_buffer_info) -> Option<Self> {
        // SAFETY: By the safety requirements `info` is valid.
        let control: *mut Control = unsafe { (*info).ring_buffer }.cast();
        // SAFETY: As above.
        let size = unsafe { (*info).ring_datasize };

        // INVARIANT: The bus driver maps the data of its rings twice behind the control page.
        (!control.is_null() && size > 0).then_some(Self { control, size })
    }

    fn control(&self) -> SysMem<'_, Control> {
        // SAFETY: By the type invariant the control page is mapped as long as `self` exists.
        unsafe { SysMem::new(self.control) }
    }

    fn data(&self) -> SysMem<'_, [u8]> {
        // CAST: The data are bytes.
        let start = self.control.wrapping_byte_add(PAGE_SIZE).cast::<u8>();
        let data = core::ptr::slice_from_raw_parts_mut(start, 2 * self.size as usize);

        // SAFETY: By the type invariant so many bytes are mapped behind the control page as long
        // as `self` exists.
        unsafe { SysMem::new(data) }
    }

    /// Bytes of data.
    #[inline]
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Asks the host for an interrupt when it has made room for so many bytes.
    pub(super) fn ask_for_room(&self, bytes: u32) {
        io_write!(self.control(), .pending_send_size, bytes);
        // The host sees this before we look for room once more.
        virt_mb(Full);
    }

    /// Takes back [`Ring::ask_for_room`].
    pub(super) fn forget_room(&self) {
        if io_read!(self.control(), .pending_send_size) != 0 {
            io_write!(self.control(), .pending_send_size, 0u32);
            virt_mb(Full);
        }
    }

    /// Bytes from one index to another one.
    fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from {
            to - from
        } else {
            to + (self.size - from)
        }
    }

    /// The writer's index, if it is one.
    fn write_index(&self) -> Result<u32> {
        let index = io_read!(self.control(), .write_index);

        if index < self.size && index % 8 == 0 {
            Ok(index)
        } else {
            Err(EIO)
        }
    }
}

/// A packet that the host sent, copied out of the ring.
///
/// The payload is filled up to a multiple of 8 bytes. It says whatever the host wants it to say.
pub enum Packet<'a> {
    /// Data for which no answer is asked.
    Data {
        /// Chosen by the host.
        id: u64,
        /// What it sent.
        payload: &'a [u8],
    },
    /// Data that has to be completed.
    Request {
        /// What completes it.
        owed: Owed,
        /// What the host sent.
        payload: &'a [u8],
    },
    /// The answer to what was sent by [`Sender::request`](super::Sender::request).
    Completion {
        /// The id of what is answered, if the host behaves: check it.
        id: u64,
        /// The host's answer.
        payload: &'a [u8],
    },
    /// A packet of another type.
    Other {
        /// The type (`enum vmbus_packet_type`).
        kind: u16,
        /// Chosen by the host.
        id: u64,
        /// What follows the descriptor and whatever this type has behind it.
        payload: &'a [u8],
    },
}

/// What a packet begins with (`struct vmpacket_descriptor`): our copy, as numbers of bytes.
struct Descriptor {
    kind: u16,
    offset: u32,
    len: u32,
    completion_requested: bool,
    id: u64,
}

impl Descriptor {
    fn parse(bytes: [u8; DESCRIPTOR as usize]) -> Self {
        let [k0, k1, o0, o1, l0, l1, f0, f1, id @ ..] = bytes;
        let flags = u16::from_le_bytes([f0, f1]);

        Self {
            kind: u16::from_le_bytes([k0, k1]),
            offset: u32::from(u16::from_le_bytes([o0, o1])) * 8,
            len: u32::from(u16::from_le_bytes([l0, l1])) * 8,
            completion_requested: u32::from(flags)
                & bindings::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED
                != 0,
            id: u64::from_le_bytes(id),
        }
    }
}

/// The guest's end of the ring from host to guest: the only reader that an open channel has.
///
/// # Invariants
///
/// `read`, `published` and `write` are below the ring's size. From `read` to `write` the host has
/// written.
pub(super) struct Reader {
    ring: Ring,
    /// Up to where we have read.
    read: u32,
    /// What the host knows of it.
    published: u32,
    /// The host's index when we last looked.
    write: u32,
    /// Where packets are copied to: a payload has at most its length.
    buffer: KVVec<u8>,
}

impl Reader {
    /// Creates the reader of a ring that nobody has read from.
    pub(super) fn new(ring: Ring, buffer: KVVec<u8>) -> Self {
        // INVARIANT: A ring's size is not 0.
        Self {
            ring,
            read: 0,
            published: 0,
            write: 0,
            buffer,
        }
    }

    /// Copies the next packet of this batch out of the ring; [`None`] at its end, where
    /// [`Reader::publish`] is due.
    ///
    /// Returns [`EIO`] if what the host has written is no packet, or is a larger one than was
    /// agreed on. What follows it cannot be found then.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'_>>> {
        let used = self.ring.distance(self.read, self.write);
        if used == 0 {
            return Ok(None);
        }
        if used < DESCRIPTOR + TRAILER {
            return Err(EIO);
        }

        let mut bytes = [0; DESCRIPTOR as usize];
        self.copy(0, &mut bytes)?;
        let packet = Descriptor::parse(bytes);
        // `len` is below 2^19: nothing overflows.
        if packet.offset < DESCRIPTOR || packet.len < packet.offset || packet.len + TRAILER > used {
            return Err(EIO);
        }

        let len = (packet.len - packet.offset) as usize;
        let mut buffer = core::mem::take(&mut self.buffer);
        let copied = match buffer.get_mut(..len) {
            Some(payload) => self.copy(packet.offset, payload),
            None => Err(EIO),
        };
        self.buffer = buffer;
        copied?;

        // INVARIANT: `len + TRAILER` is at most `used`, so this stays before `write`.
        self.read = (self.read + packet.len + TRAILER) % self.ring.size;

        let payload = self.buffer.get(..len).ok_or(EIO)?;
        let id = packet.id;
        Ok(Some(match u32::from(packet.kind) {
            bindings::vmbus_packet_type_VM_PKT_DATA_INBAND if packet.completion_requested => {
                let owed = Owed::new(id);
                Packet::Request { owed, payload }
            }
            bindings::vmbus_packet_type_VM_PKT_DATA_INBAND => Packet::Data { id, payload },
            bindings::vmbus_packet_type_VM_PKT_COMP => Packet::Completion { id, payload },
            _ => Packet::Other {
                kind: packet.kind,
                id,
                payload,
            },
        }))
    }

    /// Copies bytes out of the ring, from so many bytes behind our index.
    fn copy(&self, offset: u32, to: &mut [u8]) -> Result {
        let start = (self.read + offset) as usize;
        let end = start.checked_add(to.len()).ok_or(EIO)?;
        let from = io_project!(self.ring.data(), [try: start..end]);

        from.copy_to_slice(to);
        Ok(())
    }

    /// Gives the room of the packets that were read back to the host, and looks for new ones.
    pub(super) fn publish(&mut self) -> Result<Published> {
        let control = self.ring.control();

        // What was read has been read before the host may overwrite it.
        virt_mb(Read);
        io_write!(control, .read_index, self.read);
        // The host reads this index after it has written its own, or the size that it waits for;
        // we write first and read then. One of us sees what the other one wrote.
        virt_mb(Full);

        let pending = if io_read!(control, .features) & FEATURE_PENDING_SEND_SIZE != 0 {
            io_read!(control, .pending_send_size)
        } else {
            0
        };
        virt_mb(Read);
        let write = self.ring.write_index()?;
        // The packets are read after the index that covers them.
        virt_mb(Read);

        // A full ring keeps a byte free, so an empty one has all of it.
        let room = |read| self.ring.size - self.ring.distance(read, write);
        let published = Published {
            more: write != self.read,
            // Only what took the ring from too little room to enough is worth a signal.
            signal: pending != 0 && room(self.published) <= pending && room(self.read) > pending,
        };
        // INVARIANT: `write_index()` has checked it.
        self.write = write;
        self.published = self.read;
        Ok(published)
    }
}

/// What [`Reader::publish`] found.
pub(super) struct Published {
    /// There are packets.
    pub(super) more: bool,
    /// The host waits for the room that was made.
    pub(super) signal: bool,
}
