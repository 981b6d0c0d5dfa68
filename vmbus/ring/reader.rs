// SPDX-License-Identifier: GPL-2.0

//! Reading packets from the ring that the host writes.
//!
//! The host can write whatever it likes, whenever it likes. Its index is taken once for all
//! packets up to it, and must be an index; a packet's descriptor is copied once, and must describe
//! a packet that ends before that index. What does not is dropped, so that reading goes on, or
//! ends, but is never repeated:
//!
//! - a packet that is too large for its reader, or whose payload lies outside: that packet;
//! - a packet of an impossible length: all up to the host's index, since none can be found;
//! - an impossible index: the ring, until the channel is opened again.

use super::{
    Ring,
    DESCRIPTOR,
    FEATURE_PENDING_SEND_SIZE,
    TRAILER, //
};
use kernel::{
    io::{
        io_read,
        io_write,
        Io,
        SysMem, //
    },
    prelude::*,
    sync::barrier::{
        virt_mb,
        Full,
        Read, //
    }, //
};

/// Where a channel's reader is, apart from `priv_read_index` of the C structure.
///
/// Only a reader writes to it, so its values are not the host's.
#[repr(C)]
#[derive(Default, FromBytes, IntoBytes)]
pub(crate) struct Cursor {
    /// Up to where there are packets: the host's index when it was last looked at.
    end: u32,
    /// What the host was told of `priv_read_index`.
    published: u32,
    /// Length of the packet that a driver is looking at, with its trailer, or 0.
    current: u32,
    /// The size of the buffer into which the next packet did not fit, or 0.
    too_small: u32,
    /// What of the host was refused.
    refused: u32,
}

/// What a packet begins with (`struct vmpacket_descriptor`), in bytes: a copy, and checked.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor {
    kind: u16,
    flags: u16,
    offset: u32,
    len: u32,
    id: u64,
}

impl Cursor {
    /// Begins with an empty ring.
    pub(crate) fn reset(cursor: SysMem<'_, Self>) {
        io_write!(cursor, .end, 0u32);
        io_write!(cursor, .published, 0u32);
        io_write!(cursor, .current, 0u32);
        io_write!(cursor, .too_small, 0u32);
        io_write!(cursor, .refused, 0u32);
    }
}

impl Descriptor {
    #[inline]
    fn parse(bytes: [u8; DESCRIPTOR as usize]) -> Self {
        let [k0, k1, o0, o1, l0, l1, f0, f1, id @ ..] = bytes;

        Self {
            kind: u16::from_le_bytes([k0, k1]),
            offset: u32::from(u16::from_le_bytes([o0, o1])) * 8,
            len: u32::from(u16::from_le_bytes([l0, l1])) * 8,
            flags: u16::from_le_bytes([f0, f1]),
            id: u64::from_le_bytes(id),
        }
    }

    /// As the host should have written it.
    #[inline]
    fn as_bytes(self) -> [u8; DESCRIPTOR as usize] {
        let [k0, k1] = self.kind.to_le_bytes();
        // CAST: That is where they come from.
        let [o0, o1] = ((self.offset / 8) as u16).to_le_bytes();
        let [l0, l1] = ((self.len / 8) as u16).to_le_bytes();
        let [f0, f1] = self.flags.to_le_bytes();
        let [i0, i1, i2, i3, i4, i5, i6, i7] = self.id.to_le_bytes();

        [
            k0, k1, o0, o1, l0, l1, f0, f1, i0, i1, i2, i3, i4, i5, i6, i7,
        ]
    }

    /// In the ring.
    #[inline]
    fn extent(&self) -> u32 {
        self.len.wrapping_add(TRAILER)
    }
}

/// A packet that was copied out of the ring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Received {
    /// Bytes of what was asked for: the payload, or everything. 0 if there was no packet.
    pub(crate) len: u32,
    /// The host's id, or the id that it answers.
    pub(crate) id: u64,
    /// It did not fit into the buffer and is still there.
    pub(crate) too_large: bool,
}

impl Received {
    /// There was no packet.
    pub(crate) const NOTHING: Self = Self {
        len: 0,
        id: 0,
        too_large: false,
    };
}

/// What is to be done when a reader is through, by those who know the channel.
#[must_use]
pub(crate) struct Outcome {
    /// The host waits for the room that was made.
    pub(crate) signal: bool,
    /// The host's index is none: the ring must not be looked at any more, by nobody.
    pub(crate) spoilt: bool,
    /// The first time that something of the host was refused.
    pub(crate) report: bool,
}

/// The reader of a channel, during a call of its driver.
pub(crate) struct Reader<'a> {
    ring: Ring<'a>,
    cursor: SysMem<'a, Cursor>,
    /// `priv_read_index`, which drivers may look at.
    read: SysMem<'a, u32>,
    /// The host's index was looked at by this call: it is not to follow it forever.
    fresh: bool,
    /// Packets were dropped by this call.
    dropped: bool,
    outcome: Outcome,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(ring: Ring<'a>, cursor: SysMem<'a, Cursor>, read: SysMem<'a, u32>) -> Self {
        Self {
            ring,
            cursor,
            read,
            fresh: false,
            dropped: false,
            outcome: Outcome {
                signal: false,
                spoilt: false,
                report: false,
            },
        }
    }

    /// Ends the call.
    #[inline]
    pub(crate) fn finish(self) -> Outcome {
        self.outcome
    }

    /// Counts what was refused.
    #[cold]
    fn refuse(&mut self) {
        let refused = io_read!(self.cursor, .refused);

        io_write!(self.cursor, .refused, refused.saturating_add(1));
        self.outcome.report |= refused == 0;
    }

    /// Goes on behind so many bytes, which have been checked to be there.
    #[inline]
    fn advance(&mut self, bytes: u32) {
        let read = self.read.read_val();

        self.read.write_val(self.ring.behind(read, bytes));
        io_write!(self.cursor, .current, 0u32);
        io_write!(self.cursor, .too_small, 0u32);
    }

    /// Takes a new look at the host's index. Returns whether there are packets.
    fn refresh(&mut self) -> bool {
        if self.fresh {
            return false;
        }
        self.fresh = true;

        let Some(end) = self.ring.write_index() else {
            self.refuse();
            self.outcome.spoilt = true;
            return false;
        };
        // The packets are read after the index that covers them.
        virt_mb(Read);
        io_write!(self.cursor, .end, end);
        if end != self.read.read_val() {
            return true;
        }

        // The host has no business with our index. Drivers compare it with the other one to
        // find out whether there is more, and would not find an end.
        let published = io_read!(self.cursor, .published);
        if io_read!(self.ring.control, .read_index) != published {
            self.refuse();
            io_write!(self.ring.control, .read_index, published);
        }
        false
    }

    /// Drops a packet, or several.
    #[cold]
    fn discard(&mut self, bytes: u32) {
        self.refuse();
        self.advance(bytes);
        self.dropped = true;
    }

    /// Finds the next packet, of at most so many bytes; [`None`] if there is none.
    #[inline]
    fn find(&mut self, max: u32) -> Option<Descriptor> {
        let found = self.search(max);

        // Who gets no packet does not tell the host how far it has read, and would find the ring
        // not empty forever.
        if found.is_none() && self.dropped && !self.outcome.spoilt {
            self.publish();
        }
        found
    }

    #[inline]
    fn search(&mut self, max: u32) -> Option<Descriptor> {
        loop {
            let read = self.read.read_val();
            let used = self.ring.distance(read, io_read!(self.cursor, .end));
            if used == 0 {
                if self.refresh() {
                    continue;
                }
                return None;
            }

            let mut bytes = [0; DESCRIPTOR as usize];
            let copied = self.ring.copy_out(read, &mut bytes);
            let packet = Descriptor::parse(bytes);
            if copied.is_err() || packet.len < DESCRIPTOR || packet.extent() > used {
                self.discard(used);
                return None;
            }
            if packet.len <= max && (DESCRIPTOR..=packet.len).contains(&packet.offset) {
                return Some(packet);
            }
            self.discard(packet.extent());
        }
    }

    /// Copies a packet that was found, from `from` on.
    #[inline]
    fn copy(&self, packet: &Descriptor, from: u32, to: &mut [u8]) -> Result {
        let start = self.read.read_val().wrapping_add(from);

        self.ring.copy_out(start, to)?;
        if from == 0 {
            // The host can have changed it meanwhile.
            if let Some(descriptor) = to.first_chunk_mut() {
                *descriptor = packet.as_bytes();
            }
        }
        Ok(())
    }

    /// Copies the next packet into `buffer`, without going on. Returns whether there is one.
    #[inline]
    pub(crate) fn first(&mut self, buffer: &mut [u8]) -> bool {
        let max = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let Some(packet) = self.find(max) else {
            return false;
        };
        let Some(to) = buffer.get_mut(..packet.len as usize) else {
            return false;
        };

        io_write!(self.cursor, .current, packet.extent());
        self.copy(&packet, 0, to).is_ok()
    }

    /// Goes on behind the packet that [`Reader::first`] or this found, and copies the next one.
    #[inline]
    pub(crate) fn next(&mut self, buffer: &mut [u8]) -> bool {
        let current = io_read!(self.cursor, .current);

        self.advance(current);
        self.first(buffer)
    }

    /// Copies the next packet's payload, or with `raw` all of it, into `buffer`, and goes on.
    ///
    /// A packet that does not fit stays, and comes again in a larger buffer; whoever offers none
    /// does not want it, and gets the next one.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], raw: bool) -> Result<Received> {
        let size = u32::try_from(buffer.len()).unwrap_or(u32::MAX);

        while let Some(packet) = self.find(u32::MAX) {
            let from = if raw { 0 } else { packet.offset };
            let len = packet.len.wrapping_sub(from);
            let received = |too_large| Received {
                len,
                id: packet.id,
                too_large,
            };

            let Some(to) = buffer.get_mut(..len as usize) else {
                if size > io_read!(self.cursor, .too_small) {
                    io_write!(self.cursor, .too_small, size);
                    return Ok(received(true));
                }
                self.discard(packet.extent());
                continue;
            };
            self.copy(&packet, from, to)?;
            self.advance(packet.extent());
            self.publish();
            return Ok(received(false));
        }
        Ok(Received::NOTHING)
    }

    /// Gives the room of what was read back to the host, and finds out whether it waits for that.
    #[inline]
    pub(crate) fn publish(&mut self) {
        let ring = self.ring;
        let read = self.read.read_val();
        let before = io_read!(self.cursor, .published);

        // What was read has been read before the host may overwrite it.
        virt_mb(Read);
        io_write!(ring.control, .read_index, read);
        io_write!(self.cursor, .published, read);
        if io_read!(ring.control, .features) & FEATURE_PENDING_SEND_SIZE == 0 {
            return;
        }

        // The host writes the size that it waits for, and then looks at our index; we write the
        // index first and look at the size after that. One of us sees what the other wrote.
        virt_mb(Full);
        let pending = io_read!(ring.control, .pending_send_size);
        if pending == 0 {
            return;
        }
        virt_mb(Read);
        let Some(write) = ring.write_index() else {
            self.refuse();
            self.outcome.spoilt = true;
            return;
        };

        // Only what takes the ring from too little room to enough is worth a signal: the host
        // throttles who signals it for nothing. A full ring keeps a byte free, so an empty one
        // has all of it.
        let room = |read| ring.size.wrapping_sub(ring.distance(read, write));
        self.outcome.signal |= room(before) <= pending && room(read) > pending;
    }

    /// Says that interrupts are wanted again. Returns whether there are packets that came
    /// without one.
    pub(crate) fn unmask(&mut self) -> bool {
        io_write!(self.ring.control, .interrupt_mask, 0u32);
        // The host sees this before we look once more.
        virt_mb(Full);
        match self.ring.write_index() {
            Some(write) => write != self.read.read_val(),
            None => {
                self.refuse();
                self.outcome.spoilt = true;
                false
            }
        }
    }
}
