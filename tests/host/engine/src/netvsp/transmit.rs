// SPDX-License-Identifier: GPL-2.0

//! From the guest to the network.

use super::counters::Counter;
use super::offload::{self, VnetHeader, ETHERTYPE_VLAN, ETH_HEADER, ETH_TYPE, VLAN_TAG};
use super::offload::{Prepared, VNET_HEADER};
use super::{
    Netvsp, CONTROL, NO_SECTION, PRIMARY, SEND_SEND_BUFFER_COMPLETE, STATUS_FAIL, STATUS_SUCCESS,
};
use crate::device::{Io, Violation};
use crate::memory::{PageRange, PAGE};
use crate::ring::Packet;
use crate::rndis::{slice_at, u32_at, HEADER, LSO_MAX, MAX_MESSAGES, MSG_PACKET};

/// Usual size of the sections that the send buffer is split into.
pub(super) const SECTION: u32 = 6144;
const MAX_SEND_BUFFER: u32 = 15 << 20;
/// All messages of a packet: a full section and a large send behind it, rounded up.
pub(super) const BUFFER: usize = 80 << 10;

/// Fields of `struct rndis_packet`, to which the offsets in it are relative.
const PACKET_HEADER: usize = 36;

// Types of per-packet information.
const PPI_CHECKSUM: u32 = 0;
const PPI_LSO: u32 = 2;
const PPI_VLAN: u32 = 6;
const PPI_HEADER: usize = 12;
/// The type's bit that makes it another type.
const PPI_INTERNAL: u32 = 1 << 31;

/// The guest's send buffer.
pub(super) struct SendBuffer {
    id: u16,
    gpadl: u32,
    section: u32,
    sections: u32,
}

/// What per-packet information there was.
#[derive(Default)]
struct PerPacket {
    checksum: Option<u32>,
    lso: Option<u32>,
    vlan: Option<u32>,
}

impl PerPacket {
    fn read(mut list: &[u8]) -> Option<Self> {
        let mut found = Self::default();
        while !list.is_empty() {
            let (size, kind) = (u32_at(list, 0)? as usize, u32_at(list, 4)?);
            let offset = u32_at(list, 8)? as usize;
            let item = list.get(..size)?;
            if offset < PPI_HEADER || offset > size || size % 4 != 0 {
                return None;
            }
            let wanted = match kind & !PPI_INTERNAL {
                _ if kind & PPI_INTERNAL != 0 => None,
                PPI_CHECKSUM => Some(&mut found.checksum),
                PPI_LSO => Some(&mut found.lso),
                PPI_VLAN => Some(&mut found.vlan),
                _ => None,
            };
            if let Some(place) = wanted {
                *place = Some(u32_at(item, offset)?);
            }
            list = list.get(size..)?;
        }
        Some(found)
    }
}

/// A packet message, found to be well formed: offsets into it.
struct Message {
    /// Behind the header and the per-packet information.
    header: usize,
    frame: usize,
    len: usize,
    info: PerPacket,
}

impl Message {
    fn read(message: &[u8]) -> Result<Self, Counter> {
        let body = message.get(HEADER..).unwrap_or_default();
        let mut fields = [0; 7];
        for (n, field) in fields.iter_mut().enumerate() {
            *field = u32_at(body, n * 4).ok_or(Counter::TxMalformed)?;
        }
        let [at, len, oob_at, oob_len, oob_count, info_at, info_len] = fields;
        let frame = slice_at(body, at, len).ok_or(Counter::TxMalformed)?;
        if (at as usize) < PACKET_HEADER || [oob_at, oob_len, oob_count] != [0; 3] {
            return Err(Counter::TxMalformed);
        }
        if frame.len() < ETH_HEADER {
            return Err(Counter::TxLength);
        }
        let mut header = PACKET_HEADER;
        let mut info = PerPacket::default();
        if info_len != 0 {
            let list = slice_at(body, info_at, info_len).ok_or(Counter::TxBadPpi)?;
            if (info_at as usize) < PACKET_HEADER {
                return Err(Counter::TxBadPpi);
            }
            info = PerPacket::read(list).ok_or(Counter::TxBadPpi)?;
            header = (info_at + info_len) as usize;
        }
        Ok(Self { header: HEADER + header, frame: HEADER + at as usize, len: frame.len(), info })
    }
}

/// Where the messages of a packet lie in the guest's memory.
struct Pieces<'a> {
    section: usize,
    ranges: &'a [PageRange],
}

impl Pieces<'_> {
    /// Whether the header at `at..at + len` of the packet crosses a page; `None` if it is not in
    /// one piece.
    fn crosses_page(&self, mut at: usize, len: usize) -> Option<bool> {
        if at < self.section {
            // The buffer was given as a whole: its pages are one.
            return (at + len <= self.section).then_some(false);
        }
        at -= self.section;
        for range in self.ranges {
            let size = range.len as usize;
            if at < size {
                let first = (range.offset as usize + at) % PAGE;
                return (at + len <= size).then_some(first + len > PAGE);
            }
            at -= size;
        }
        None
    }
}

impl Netvsp {
    pub(super) fn set_send_buffer(
        &mut self,
        io: &mut Io<'_>,
        id: u64,
        gpadl: u32,
        buffer: u16,
    ) -> Result<(), Violation> {
        if self.session.receive.is_none() || self.session.send.is_some() {
            return Err(Violation::new("send buffer out of order"));
        }
        let range = io
            .gpadl(PRIMARY, gpadl)
            .ok_or_else(|| Violation::new(format!("no GPADL {gpadl:#x} for the send buffer")))?;
        let section = self.config.send_section;
        let good = range.offset == 0 && (section..=MAX_SEND_BUFFER).contains(&range.len);
        let sections = range.len / section;
        if good {
            self.session.send = Some(SendBuffer { id: buffer, gpadl, section, sections });
        }
        let status = if good { STATUS_SUCCESS } else { STATUS_FAIL };
        self.answer_early(io);
        let section = self.lies.send_section.unwrap_or(section);
        self.reply(io, PRIMARY, id, &[SEND_SEND_BUFFER_COMPLETE, status, section]);
        Ok(())
    }

    pub(super) fn revoke_send_buffer(&mut self, buffer: u16) -> Result<(), Violation> {
        match self.session.send.take() {
            Some(send) if send.id == buffer => Ok(()),
            _ => Err(Violation::new(format!("no send buffer {buffer:#x} to revoke"))),
        }
    }

    /// Takes RNDIS messages, and completes the packet. `kind` says whether they are control
    /// messages; `section` is index and size of a part in the send buffer.
    pub(super) fn rndis(
        &mut self,
        io: &mut Io<'_>,
        channel: usize,
        packet: &Packet,
        kind: u32,
        section: (u32, u32),
    ) -> Result<(), Violation> {
        let out_of_place = kind > CONTROL || kind == CONTROL && channel != PRIMARY;
        if self.session.receive.is_none() || out_of_place {
            let why = format!("RNDIS packet of kind {kind} on channel {channel} out of order");
            return Err(Violation::new(why));
        }
        let section = (section.0 != NO_SECTION).then_some(section);
        let pieces = Pieces {
            section: section.map_or(0, |(_, size)| size as usize),
            ranges: &packet.ranges,
        };
        let done = match self.gather(io, section, &packet.ranges)? {
            None => Err(Counter::TxLength),
            Some(len) if kind == CONTROL => self.control(io, len).map(Ok)?,
            Some(len) => self.data(channel, &pieces, len),
        };
        if let Err(why) = done {
            self.counters.add(Counter::TxRefused, 1);
            self.counters.add(why, 1);
        }
        if packet.completion_requested {
            let status = if done.is_ok() { STATUS_SUCCESS } else { STATUS_FAIL };
            self.sent(io, channel, packet.transaction_id, status, kind == CONTROL);
        }
        Ok(())
    }

    /// Copies the messages of a packet to `tx`. Returns how long they are; `None` if too long.
    fn gather(
        &mut self,
        io: &Io<'_>,
        section: Option<(u32, u32)>,
        ranges: &[PageRange],
    ) -> Result<Option<usize>, Violation> {
        let mut rest = self.tx.as_mut_slice();
        if let Some((index, size)) = section {
            let bad = || Violation::new(format!("send section {index}, {size} bytes"));
            let send = self.session.send.as_ref().ok_or_else(bad)?;
            if index >= send.sections || size > send.section {
                return Err(bad());
            }
            let buffer = io.gpadl(PRIMARY, send.gpadl).ok_or_else(bad)?;
            let Some((into, tail)) = rest.split_at_mut_checked(size as usize) else {
                return Ok(None);
            };
            buffer.read(io.mem(), (index * send.section) as usize, into)?;
            rest = tail;
        }
        for range in ranges {
            let Some((into, tail)) = rest.split_at_mut_checked(range.len as usize) else {
                return Ok(None);
            };
            range.read(io.mem(), 0, into)?;
            rest = tail;
        }
        let left = rest.len();
        Ok(Some(self.tx.len() - left))
    }

    /// Sends the frames of the messages in the first `total` bytes of `tx`.
    fn data(&mut self, channel: usize, pieces: &Pieces<'_>, total: usize) -> Result<(), Counter> {
        if total == 0 || !self.adapter.is_initialized() {
            return Err(Counter::TxMalformed);
        }
        let mut at = 0;
        let mut messages = 0;
        while at < total {
            messages += 1;
            if messages > MAX_MESSAGES {
                return Err(Counter::TxTooMany);
            }
            let rest = self.tx.get(at..total).unwrap_or_default();
            let (kind, len) = (u32_at(rest, 0), u32_at(rest, 4).unwrap_or(0) as usize);
            if kind != Some(MSG_PACKET) || len < HEADER + PACKET_HEADER {
                return Err(Counter::TxMalformed);
            }
            let bytes = rest.get(..len).ok_or(Counter::TxMalformed)?;
            let message = Message::read(bytes)?;
            match pieces.crosses_page(at, message.header) {
                None => return Err(Counter::TxHeaderSplit),
                Some(true) if self.config.refuse_header_across_pages => {
                    return Err(Counter::TxHeaderCrossesPage);
                }
                Some(true) => self.counters.add(Counter::TxHeaderCrossesPage, 1),
                Some(false) => {}
            }
            self.frame(at + message.frame, message.len, &message.info)?;
            self.queue(channel).sent += 1;
            at += len;
        }
        Ok(())
    }

    /// Sends the frame at `at` of `tx`. The header for the network, and a tag, overwrite what is
    /// in front of it: the RNDIS header, which is longer.
    fn frame(&mut self, at: usize, len: usize, info: &PerPacket) -> Result<(), Counter> {
        let longest = match info.lso {
            Some(_) => LSO_MAX,
            // One tag may be inside.
            None => self.session.frame + VLAN_TAG as u32,
        };
        if len > longest as usize {
            return Err(Counter::TxLength);
        }
        let frame = self.tx.get_mut(at..at + len).ok_or(Counter::TxMalformed)?;
        let prepared = match (info.lso, info.checksum) {
            (Some(lso), _) => Some(offload::large_send(frame, lso)?),
            (None, Some(checksum)) => offload::checksum(frame, checksum)?,
            (None, None) => None,
        };
        let mut header = VnetHeader::default();
        if let Some(prepared) = &prepared {
            header = prepared.header;
            self.count_offload(info.lso.is_some(), prepared);
        }
        let mut start = at;
        if let Some(vlan) = info.vlan {
            start -= VLAN_TAG;
            self.tx.copy_within(at..at + ETH_TYPE, start);
            let tag = [ETHERTYPE_VLAN, vlan_tci(vlan)].map(u16::to_be_bytes);
            let place = start + ETH_TYPE..start + ETH_TYPE + VLAN_TAG;
            self.tx[place].copy_from_slice(tag.as_flattened());
            header.shift();
            self.counters.add(Counter::TxVlan, 1);
        }
        start -= VNET_HEADER;
        self.tx[start..start + VNET_HEADER].copy_from_slice(&header.bytes());
        if !self.adapter.is_link_up() {
            self.counters.add(Counter::TxLinkDown, 1);
            return Ok(());
        }
        self.backend.transmit(&self.tx[start..at + len]);
        self.counters.add(Counter::TxPackets, 1);
        self.counters.add(Counter::TxBytes, len as u64);
        self.counters.add(Counter::TxOffPath, self.on_vf().into());
        Ok(())
    }

    fn count_offload(&mut self, large: bool, prepared: &Prepared) {
        let offloads = &self.adapter.offloads;
        let (what, enabled) = match (large, prepared.v6) {
            (true, false) => (Counter::TxLso, offloads.lso4),
            (true, true) => (Counter::TxLso, offloads.lso6),
            (false, v6) => (Counter::TxChecksum, offloads.transport(v6, prepared.udp).tx),
        };
        self.counters.add(what, 1);
        self.counters.add(Counter::TxNotEnabled, (!enabled).into());
        self.counters.add(Counter::TxPseudoWrong, (!prepared.pseudo_right).into());
        let single = large && prepared.header.gso_type == 0;
        self.counters.add(Counter::TxSingleSegment, single.into());
    }
}

/// The tag that `struct ndis_pkt_8021q_info` means: priority, CFI and id from the low bits up.
fn vlan_tci(info: u32) -> u16 {
    ((info & 7) << 13 | (info >> 3 & 1) << 12 | info >> 4 & 0xfff) as u16
}

/// The other way round.
pub(super) fn vlan_info(tci: u16) -> u32 {
    let tci = u32::from(tci);
    tci >> 13 | (tci >> 12 & 1) << 3 | (tci & 0xfff) << 4
}
