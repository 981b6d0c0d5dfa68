// SPDX-License-Identifier: GPL-2.0

//! The two rings of an open channel, from the host's end, and the packets in them.
//!
//! Each ring is a control page (write index, read index, interrupt mask, pending send size,
//! feature bits) and whole pages of data. We read the guest-to-host ring and write the
//! host-to-guest one. Our own index of each ring is kept here and only published; the
//! guest's index is loaded once per look and checked.

use std::collections::VecDeque;

use crate::device::Violation;
use crate::fault::Flip;
use crate::memory::{BadAddress, GuestMemory, PageRange, PAGE};

// Byte offsets in the control page.
const WRITE_INDEX: usize = 0;
const READ_INDEX: usize = 4;
const INTERRUPT_MASK: usize = 8;
const PENDING_SEND_SIZE: usize = 12;

const HEADER: usize = 16;
const TRAILER: usize = 8;
const COMPLETION_REQUESTED: u16 = 1;

/// The packet types that drivers use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// Data only.
    InBand,
    /// Data, and byte ranges of a shared buffer.
    TransferPages,
    /// Data, and ranges of guest pages.
    GpaDirect,
    /// The answer to a packet that asked for one.
    Completion,
}

impl PacketKind {
    fn from_wire(value: u16) -> Option<Self> {
        Some(match value {
            6 => Self::InBand,
            7 => Self::TransferPages,
            9 => Self::GpaDirect,
            11 => Self::Completion,
            _ => return None,
        })
    }

    fn to_wire(self) -> u16 {
        match self {
            Self::InBand => 6,
            Self::TransferPages => 7,
            Self::GpaDirect => 9,
            Self::Completion => 11,
        }
    }
}

/// A packet that the guest sent, copied out of the ring.
#[derive(Debug, Clone)]
pub struct Packet {
    /// What it is.
    pub kind: PacketKind,
    /// Chosen by the sender; comes back in the completion.
    pub transaction_id: u64,
    /// Whether the sender waits for a completion.
    pub completion_requested: bool,
    /// The guest pages of a GPA-direct packet, all of them RAM; offset and length (and no pages)
    /// of a transfer-page packet's ranges; empty for other kinds.
    pub ranges: Vec<PageRange>,
    /// What follows the descriptor, padded to 8 bytes.
    pub data: Vec<u8>,
}

impl Packet {
    /// The little-endian word number `n` of the data.
    pub fn word(&self, n: usize) -> Option<u32> {
        let bytes = self.data.get(n.checked_mul(4)?..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }
}

/// One ring of the pair.
struct Ring {
    memory: PageRange,
    /// Byte offset of the control page.
    base: usize,
    /// Bytes of data; indices are below it.
    size: u32,
}

impl Ring {
    fn load(&self, mem: &dyn GuestMemory, field: usize) -> Result<u32, BadAddress> {
        mem.load(self.memory.gpa(self.base + field)?.0)
    }

    fn store(&self, mem: &dyn GuestMemory, field: usize, value: u32) -> Result<(), BadAddress> {
        mem.store(self.memory.gpa(self.base + field)?.0, value)
    }

    /// Loads an index that the guest owns.
    fn guest_index(&self, mem: &dyn GuestMemory, field: usize) -> Result<u32, Violation> {
        let index = self.load(mem, field)?;
        if index >= self.size || index % 8 != 0 {
            return Err(Violation::new(format!("ring index {index:#x} of {:#x}", self.size)));
        }
        Ok(index)
    }

    fn used(&self, write: u32, read: u32) -> u32 {
        if write >= read {
            write - read
        } else {
            self.size - read + write
        }
    }

    fn advance(&self, index: u32, by: usize) -> u32 {
        ((index as usize + by) % self.size as usize) as u32
    }

    /// Splits `len` bytes at `index` where the data wraps.
    fn split(&self, index: u32, len: usize) -> usize {
        len.min((self.size - index) as usize)
    }

    fn read(&self, mem: &dyn GuestMemory, index: u32, buf: &mut [u8]) -> Result<(), BadAddress> {
        let data = self.base + PAGE;
        let (a, b) = buf.split_at_mut(self.split(index, buf.len()));
        self.memory.read(mem, data + index as usize, a)?;
        self.memory.read(mem, data, b)
    }

    fn write(&self, mem: &dyn GuestMemory, index: u32, buf: &[u8]) -> Result<(), BadAddress> {
        let data = self.base + PAGE;
        let (a, b) = buf.split_at(self.split(index, buf.len()));
        self.memory.write(mem, data + index as usize, a)?;
        self.memory.write(mem, data, b)
    }
}

/// The host's end of an open channel's rings.
pub struct RingPair {
    incoming: Ring,
    outgoing: Ring,
    read: u32,
    write: u32,
    /// Packets for which the outgoing ring had no room, in order.
    backlog: VecDeque<(Vec<u8>, Flip)>,
    /// A packet was put into an empty ring.
    signal_owed: bool,
    /// Room was made that the guest waits for.
    room_owed: bool,
}

impl RingPair {
    /// Takes over the rings in `memory`; the host-to-guest half begins at page `second`.
    pub fn new(memory: &PageRange, second: u32, mem: &dyn GuestMemory) -> Result<Self, Violation> {
        let pages = memory.len as usize / PAGE;
        let second = second as usize;
        if memory.offset != 0
            || !memory.len.is_multiple_of(PAGE as u32)
            || second < 2
            || pages < second + 2
        {
            return Err(Violation::new(format!("ring of {pages} pages, second half at {second}")));
        }
        let half = |base: usize, pages: usize| Ring {
            memory: memory.clone(),
            base: base * PAGE,
            size: ((pages - 1) * PAGE) as u32,
        };
        let incoming = half(0, second);
        let outgoing = half(second, pages - second);
        let read = incoming.guest_index(mem, READ_INDEX)?;
        let write = outgoing.guest_index(mem, WRITE_INDEX)?;
        let backlog = VecDeque::new();
        Ok(Self { incoming, outgoing, read, write, backlog, signal_owed: false, room_owed: false })
    }

    /// Tells the guest that its signals are not needed while we read (`true`), or that they are.
    pub fn mask(&mut self, mem: &dyn GuestMemory, masked: bool) -> Result<(), Violation> {
        Ok(self.incoming.store(mem, INTERRUPT_MASK, masked.into())?)
    }

    /// Whether the guest has put something into its ring that was not taken yet.
    pub fn has_packets(&self, mem: &dyn GuestMemory) -> Result<bool, Violation> {
        Ok(self.incoming.guest_index(mem, WRITE_INDEX)? != self.read)
    }

    /// Takes the next packet of the guest.
    pub fn receive(&mut self, mem: &dyn GuestMemory) -> Result<Option<Packet>, Violation> {
        let ring = &self.incoming;
        let used = ring.used(ring.guest_index(mem, WRITE_INDEX)?, self.read) as usize;
        if used == 0 {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        if used < HEADER + TRAILER {
            return Err(Violation::new(format!("{used} bytes in the ring are no packet")));
        }
        ring.read(mem, self.read, &mut header)?;
        let field = |n: usize| u16::from_le_bytes([header[2 * n], header[2 * n + 1]]);
        let (offset, len) = (field(1) as usize * 8, field(2) as usize * 8);
        if offset < HEADER || len < offset || len + TRAILER > used {
            return Err(Violation::new(format!(
                "packet of {len} bytes, data at {offset}, {used} in the ring"
            )));
        }
        let mut body = vec![0; len - HEADER];
        ring.read(mem, ring.advance(self.read, HEADER), &mut body)?;
        let kind = PacketKind::from_wire(field(0))
            .ok_or_else(|| Violation::new(format!("packet type {}", field(0))))?;
        let data = body.split_off(offset - HEADER);
        let ranges = match kind {
            PacketKind::GpaDirect => gpa_ranges(&body, mem)?,
            PacketKind::TransferPages => transfer_ranges(&body),
            _ => Vec::new(),
        };
        let packet = Packet {
            kind,
            transaction_id: u64::from_le_bytes(header[8..].try_into().unwrap_or_default()),
            completion_requested: field(3) & COMPLETION_REQUESTED != 0,
            ranges,
            data,
        };
        self.release(mem, len + TRAILER)?;
        Ok(Some(packet))
    }

    /// Gives `len` bytes of the incoming ring back, and notes a signal if the guest waits for room.
    fn release(&mut self, mem: &dyn GuestMemory, len: usize) -> Result<(), Violation> {
        let ring = &self.incoming;
        let old = self.read;
        self.read = ring.advance(old, len);
        ring.store(mem, READ_INDEX, self.read)?;
        let pending = ring.load(mem, PENDING_SEND_SIZE)?;
        if pending != 0 {
            let write = ring.guest_index(mem, WRITE_INDEX)?;
            let free = |read| ring.size - ring.used(write, read);
            // Once per crossing, else each packet would interrupt.
            if free(old) <= pending && free(self.read) > pending {
                self.room_owed = true;
            }
        }
        Ok(())
    }

    /// How many packets wait for room in the outgoing ring.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Moves waiting packets into the ring as far as there is room now.
    pub fn flush(&mut self, mem: &dyn GuestMemory) -> Result<(), Violation> {
        while let Some((packet, _)) = self.backlog.front() {
            let need = packet.len() as u32;
            if self.free(mem)? <= need {
                self.outgoing.store(mem, PENDING_SEND_SIZE, need)?;
                // The guest may have made room before it could see what we wait for.
                if self.free(mem)? <= need {
                    return Ok(());
                }
            }
            if let Some((packet, flip)) = self.backlog.pop_front() {
                self.publish(mem, &packet, flip)?;
            }
        }
        Ok(self.outgoing.store(mem, PENDING_SEND_SIZE, 0)?)
    }

    /// Whether the guest must be interrupted now; asking settles it.
    pub fn take_signal(&mut self, mem: &dyn GuestMemory) -> Result<bool, Violation> {
        let data = std::mem::take(&mut self.signal_owed);
        if std::mem::take(&mut self.room_owed) {
            // The mask is about what it reads; after it has unmasked it does not look for room.
            return Ok(true);
        }
        // A guest that masks looks at the ring once more after it has unmasked.
        Ok(data && self.outgoing.load(mem, INTERRUPT_MASK)? == 0)
    }

    /// Whether everything is in the ring and the guest has read it.
    pub(crate) fn drained(&self, mem: &dyn GuestMemory) -> Result<bool, Violation> {
        Ok(self.backlog.is_empty() && self.free(mem)? == self.outgoing.size)
    }

    fn free(&self, mem: &dyn GuestMemory) -> Result<u32, Violation> {
        let read = self.outgoing.guest_index(mem, READ_INDEX)?;
        Ok(self.outgoing.size - self.outgoing.used(self.write, read))
    }

    /// Sends a packet that [`in_band`] or one of its sisters has built; with `flip` one byte of it
    /// changes after the guest was told.
    pub(crate) fn put(
        &mut self,
        mem: &dyn GuestMemory,
        packet: Vec<u8>,
        flip: Flip,
    ) -> Result<(), Violation> {
        if self.backlog.is_empty() && self.free(mem)? > packet.len() as u32 {
            return self.publish(mem, &packet, flip);
        }
        self.backlog.push_back((packet, flip));
        self.flush(mem)
    }

    fn publish(
        &mut self,
        mem: &dyn GuestMemory,
        packet: &[u8],
        flip: Flip,
    ) -> Result<(), Violation> {
        let old = self.write;
        let trailer = old as usize;
        let end = packet.len() - TRAILER;
        self.outgoing.write(mem, old, &packet[..end])?;
        let at = self.outgoing.advance(old, end);
        self.outgoing.write(mem, at, &((trailer as u64) << 32).to_le_bytes())?;
        self.write = self.outgoing.advance(old, packet.len());
        self.outgoing.store(mem, WRITE_INDEX, self.write)?;
        // The guest had read everything before this packet: it may have gone to sleep.
        if self.outgoing.guest_index(mem, READ_INDEX)? == old {
            self.signal_owed = true;
        }
        if let Some((at, value)) = flip {
            self.outgoing.write(mem, self.outgoing.advance(old, at), &[value])?;
        }
        Ok(())
    }

    /// Puts a value that is wrong, most likely, where the guest looks for one of the host's; the
    /// host goes on with its own.
    pub(crate) fn corrupt(
        &mut self,
        mem: &dyn GuestMemory,
        field: Field,
        value: impl FnOnce(u32) -> u32,
    ) -> Result<(), Violation> {
        let (ring, at) = match field {
            Field::WriteIndex => (&self.outgoing, WRITE_INDEX),
            Field::ReadIndex => (&self.incoming, READ_INDEX),
            Field::InterruptMask => (&self.incoming, INTERRUPT_MASK),
            Field::PendingSendSize => (&self.outgoing, PENDING_SEND_SIZE),
        };
        Ok(ring.store(mem, at, value(ring.load(mem, at)?))?)
    }

    /// Puts the right values back.
    pub(crate) fn mend(&mut self, mem: &dyn GuestMemory) -> Result<(), Violation> {
        self.outgoing.store(mem, WRITE_INDEX, self.write)?;
        self.incoming.store(mem, READ_INDEX, self.read)?;
        self.incoming.store(mem, INTERRUPT_MASK, 0)?;
        Ok(self.outgoing.store(mem, PENDING_SEND_SIZE, 0)?)
    }
}

/// A word of the control pages that the host writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    WriteIndex,
    ReadIndex,
    InterruptMask,
    PendingSendSize,
}

#[cfg(test)]
impl RingPair {
    /// The guest's end of the same rings, for tests.
    pub(crate) fn guest_end(memory: &PageRange, second: u32, mem: &dyn GuestMemory) -> Self {
        let mut pair = Self::new(memory, second, mem).expect("rings");
        std::mem::swap(&mut pair.incoming, &mut pair.outgoing);
        (pair.read, pair.write) = (0, 0);
        pair
    }

    /// Sends any packet, from the guest's end.
    pub(crate) fn guest_send(
        &mut self,
        mem: &dyn GuestMemory,
        kind: PacketKind,
        id: u64,
        completion_requested: bool,
        ranges: &[PageRange],
        data: &[u8],
    ) {
        let mut descriptor = Vec::new();
        if kind == PacketKind::GpaDirect {
            descriptor.extend([0; 4]);
            descriptor.extend((ranges.len() as u32).to_le_bytes());
        }
        for range in ranges {
            descriptor.extend(range.len.to_le_bytes());
            descriptor.extend(range.offset.to_le_bytes());
            range.pfns.iter().for_each(|pfn| descriptor.extend(pfn.to_le_bytes()));
        }
        let packet = packet(kind, completion_requested.into(), id, &descriptor, data);
        self.put(mem, packet, None).expect("ring");
    }
}

/// Builds an in-band packet.
pub(crate) fn in_band(id: u64, completion_requested: bool, data: &[u8]) -> Vec<u8> {
    let flags = if completion_requested { COMPLETION_REQUESTED } else { 0 };
    packet(PacketKind::InBand, flags, id, &[], data)
}

/// Builds the answer to the packet with this transaction id.
pub(crate) fn completion(id: u64, data: &[u8]) -> Vec<u8> {
    packet(PacketKind::Completion, 0, id, &[], data)
}

/// Builds a packet about `(length, offset)` ranges of the shared buffer `set`; the guest answers
/// when it is done with them.
pub(crate) fn transfer_pages(id: u64, set: u16, ranges: &[(u32, u32)], data: &[u8]) -> Vec<u8> {
    let mut descriptor = Vec::with_capacity(8 + ranges.len() * 8);
    descriptor.extend(set.to_le_bytes());
    descriptor.extend([0, 0]);
    descriptor.extend((ranges.len() as u32).to_le_bytes());
    for (len, offset) in ranges {
        descriptor.extend(len.to_le_bytes());
        descriptor.extend(offset.to_le_bytes());
    }
    described_pages(id, &descriptor, data)
}

/// Builds a transfer-page packet whose descriptor is this, right or wrong.
pub(crate) fn described_pages(id: u64, descriptor: &[u8], data: &[u8]) -> Vec<u8> {
    packet(PacketKind::TransferPages, COMPLETION_REQUESTED, id, descriptor, data)
}

/// Builds a packet with room for its trailer.
fn packet(kind: PacketKind, flags: u16, id: u64, descriptor: &[u8], data: &[u8]) -> Vec<u8> {
    let offset = HEADER + descriptor.len();
    let len = (offset + data.len()).next_multiple_of(8);
    let mut out = Vec::with_capacity(len + TRAILER);
    for field in [kind.to_wire(), (offset / 8) as u16, (len / 8) as u16, flags] {
        out.extend(field.to_le_bytes());
    }
    out.extend(id.to_le_bytes());
    out.extend(descriptor);
    out.extend(data);
    out.resize(len + TRAILER, 0);
    out
}

/// Parses the range list of a GPA-direct packet.
fn gpa_ranges(descriptor: &[u8], mem: &dyn GuestMemory) -> Result<Vec<PageRange>, Violation> {
    let short = || Violation::new("the range list of a GPA-direct packet is cut short");
    let (head, mut rest) = descriptor.split_at_checked(8).ok_or_else(short)?;
    let count = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let mut ranges = Vec::new();
    for _ in 0..count {
        let (range, tail) = page_range(rest, mem)?.ok_or_else(short)?;
        ranges.push(range);
        rest = tail;
    }
    Ok(ranges)
}

/// Parses the range list of a transfer-page packet as far as it goes.
fn transfer_ranges(descriptor: &[u8]) -> Vec<PageRange> {
    let word = |c: &[u8], n: usize| u32::from_le_bytes([c[n], c[n + 1], c[n + 2], c[n + 3]]);
    let list = descriptor.get(8..).unwrap_or_default().chunks_exact(8);
    list.map(|c| PageRange { len: word(c, 0), offset: word(c, 4), pfns: Vec::new() }).collect()
}

/// Parses one range (byte count, byte offset, page numbers), the form that GPA-direct packets and
/// GPADL messages share; `None` if `bytes` holds only part of it.
pub(crate) fn page_range<'a>(
    bytes: &'a [u8],
    mem: &dyn GuestMemory,
) -> Result<Option<(PageRange, &'a [u8])>, Violation> {
    let Some((head, rest)) = bytes.split_at_checked(8) else { return Ok(None) };
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let offset = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if offset as usize >= PAGE {
        return Err(Violation::new(format!("range begins {offset} bytes into its first page")));
    }
    let pages = PageRange::pages_needed(offset, len);
    let Some((list, rest)) = rest.split_at_checked(pages * 8) else { return Ok(None) };
    let pfns: Vec<u64> = list
        .chunks_exact(8)
        .map(|c| u64::from_le_bytes(c.try_into().unwrap_or_default()))
        .collect();
    if let Some(pfn) = pfns.iter().find(|&&pfn| !mem.has_page(pfn)) {
        return Err(Violation::new(format!("page number {pfn:#x} is not RAM")));
    }
    Ok(Some((PageRange { offset, len, pfns }, rest)))
}
