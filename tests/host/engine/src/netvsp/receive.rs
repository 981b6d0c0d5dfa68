// SPDX-License-Identifier: GPL-2.0

//! From the network to the guest, and the control messages that take the same way.

use super::counters::Counter;
use super::offload::{self, be16, VnetHeader, ETHERTYPE_VLAN, ETH_HEADER, ETH_TYPE, VLAN_TAG};
use super::transmit::vlan_info;
use super::{
    message, version, Netvsp, CONTROL, NO_SECTION, PRIMARY, SEND_RECEIVE_BUFFER_COMPLETE,
    SEND_RNDIS_PACKET, SEND_RNDIS_PACKET_COMPLETE, STATUS_FAIL, STATUS_SUCCESS, VNET_HEADER,
};
use crate::device::{Io, Violation};
use crate::memory::BadAddress;
use crate::ring::Packet;
use crate::rndis::{u32_at, HEADER, MSG_PACKET};

const MAX_RECEIVE_BUFFER: u32 = 31 << 20;
/// The limit up to version 3.2.
const OLD_MAX_RECEIVE_BUFFER: u32 = 15 << 20;
/// What a section holds besides the longest frame; with the usual MTU that makes 1728.
const SECTION_EXTRA: u32 = 214;
/// Sections that frames do not use, so that control messages find one.
const RESERVED: usize = 16;
/// Frames announced with one packet.
const MAX_BATCH: usize = 8;

/// Room in front of a received frame for the RNDIS header.
const ROOM: usize = 128;
/// The longest packet that a network can have.
pub(super) const BUFFER: usize = ROOM + (64 << 10);

const PACKET_FIELDS: usize = 9;
const PPI_CHECKSUM: u32 = 0;
const PPI_VLAN: u32 = 6;
const PPI_WORDS: usize = 4;
/// Size, type, and offset of the value.
const PPI_SIZE: u32 = 16;
const PPI_OFFSET: u32 = 12;

// struct ndis_tcp_ip_checksum_info, towards the guest.
const TCP_SUCCEEDED: u32 = 1 << 3;
const UDP_SUCCEEDED: u32 = 1 << 4;
const IP_SUCCEEDED: u32 = 1 << 5;

/// Sections that one packet announced; the guest has them until it completes the packet.
#[derive(Clone, Copy)]
struct Batch {
    /// The transaction id; 0 if there is none.
    id: u64,
    sections: [u32; MAX_BATCH],
    count: usize,
}

/// The guest's receive buffer.
pub(super) struct ReceiveBuffer {
    id: u16,
    gpadl: u32,
    section: u32,
    /// The last returned is used first.
    free: Vec<u32>,
    batches: Vec<Batch>,
    unused: Vec<usize>,
    /// Makes transaction ids unique.
    serial: u64,
    /// The guest took the buffer back; it may still complete what it was sent before.
    revoked: bool,
}

impl ReceiveBuffer {
    /// Notes that the guest has these sections; returns the transaction id.
    fn lend(&mut self, sections: [u32; MAX_BATCH], count: usize) -> u64 {
        let place = self.unused.pop().unwrap_or_else(|| {
            self.batches.push(Batch { id: 0, sections, count });
            self.batches.len() - 1
        });
        self.serial += 1;
        let id = self.serial << 16 | place as u64;
        self.batches[place] = Batch { id, sections, count };
        id
    }

    /// Takes the sections of a completed packet back; `None` if there is no such packet.
    fn give_back(&mut self, id: u64) -> Option<()> {
        let place = (id & 0xffff) as usize;
        let batch = self.batches.get_mut(place).filter(|batch| batch.id == id && id != 0)?;
        self.free.extend(&batch.sections[..batch.count]);
        batch.id = 0;
        self.unused.push(place);
        Some(())
    }

    /// Writes an RNDIS message into a section; returns the range to announce.
    fn fill(
        &self,
        io: &Io<'_>,
        section: u32,
        message: &[u8],
        whole: bool,
    ) -> Result<(u32, u32), BadAddress> {
        let at = section * self.section;
        let buffer = io.gpadl(PRIMARY, self.gpadl).ok_or(BadAddress(u64::MAX))?;
        buffer.write(io.mem(), at as usize, message)?;
        Ok((if whole { self.section } else { message.len() as u32 }, at))
    }
}

impl Netvsp {
    pub(super) fn set_receive_buffer(
        &mut self,
        io: &mut Io<'_>,
        id: u64,
        gpadl: u32,
        buffer: u16,
    ) -> Result<(), Violation> {
        if self.session.receive.is_some() {
            return Err(Violation::new("there is a receive buffer"));
        }
        let range = io
            .gpadl(PRIMARY, gpadl)
            .ok_or_else(|| Violation::new(format!("no GPADL {gpadl:#x} for the receive buffer")))?;
        let old = self.session.version <= version::V2;
        let longest = if old { OLD_MAX_RECEIVE_BUFFER } else { MAX_RECEIVE_BUFFER };
        let section = (self.session.frame + SECTION_EXTRA).next_multiple_of(8);
        let count = range.len / section;
        if range.offset != 0 || range.len > longest || count as usize <= RESERVED {
            let fields = [SEND_RECEIVE_BUFFER_COMPLETE, STATUS_FAIL];
            self.reply(io, id, &fields);
            return Ok(());
        }
        self.session.receive = Some(ReceiveBuffer {
            id: buffer,
            gpadl,
            section,
            free: (0..count).rev().collect(),
            batches: Vec::new(),
            unused: Vec::new(),
            serial: 0,
            revoked: false,
        });
        let (first, end) = (0, section * count);
        let fields = [SEND_RECEIVE_BUFFER_COMPLETE, STATUS_SUCCESS, 1, first, section, count, end];
        self.reply(io, id, &fields);
        Ok(())
    }

    pub(super) fn revoke_receive_buffer(&mut self, buffer: u16) -> Result<(), Violation> {
        match &mut self.session.receive {
            Some(receive) if receive.id == buffer && !receive.revoked => {
                receive.revoked = true;
                Ok(())
            }
            _ => Err(Violation::new(format!("no receive buffer {buffer:#x} to revoke"))),
        }
    }

    /// The guest is done with a packet.
    pub(super) fn received(&mut self, packet: &Packet) -> Result<(), Violation> {
        let id = packet.transaction_id;
        let status = u32_at(&packet.data, 4);
        if u32_at(&packet.data, 0) != Some(SEND_RNDIS_PACKET_COMPLETE) || status.is_none() {
            return Err(Violation::new(format!("completion {id:#x} without a status")));
        }
        let failed = status != Some(STATUS_SUCCESS);
        self.counters.add(Counter::RxGuestFailed, failed.into());
        let given = self.session.receive.as_mut().and_then(|receive| receive.give_back(id));
        given.ok_or_else(|| Violation::new(format!("completion of unknown packet {id:#x}")))
    }

    /// Sends the guest what there is for it, as far as it can take it.
    pub(super) fn pump(&mut self, io: &mut Io<'_>) {
        if let Err(why) = self.answer(io) {
            io.violation(PRIMARY, &why);
        }
        while self.pending {
            let live = io.is_open(PRIMARY) && self.adapter.is_receiving();
            let ready = self.session.receive.as_ref().is_some_and(|receive| !receive.revoked);
            if !live || !ready {
                self.drop_all();
            } else if io.backlog(PRIMARY) > 0 {
                return;
            } else {
                match self.batch(io) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(why) => io.violation(PRIMARY, &why),
                }
            }
        }
    }

    /// Sends waiting control messages.
    fn answer(&mut self, io: &mut Io<'_>) -> Result<(), Violation> {
        let Some(receive) = self.session.receive.as_mut().filter(|receive| !receive.revoked) else {
            self.session.replies.clear();
            return Ok(());
        };
        while !self.session.replies.is_empty() {
            let Some(section) = receive.free.pop() else { break };
            let reply = self.session.replies.pop_front().unwrap_or_default();
            let range = receive.fill(io, section, &reply, self.config.whole_sections)?;
            let mut sections = [0; MAX_BATCH];
            sections[0] = section;
            let id = receive.lend(sections, 1);
            let set = receive.id;
            let size = if self.session.version >= version::V61 {
                super::MESSAGE
            } else {
                super::OLD_MESSAGE
            };
            let announcement = message(&[SEND_RNDIS_PACKET, CONTROL, NO_SECTION, 0]);
            io.send_transfer_pages(PRIMARY, id, set, &[range], &announcement[..size]);
        }
        Ok(())
    }

    /// Nobody listens: the network's packets are lost, as on a cable that is not plugged in.
    fn drop_all(&mut self) {
        while self.backend.receive(&mut self.rx[ROOM - VNET_HEADER..]).is_some() {
            self.counters.add(Counter::RxNotReady, 1);
        }
        self.pending = false;
    }

    /// Sends some frames as one packet. Returns whether there is room for more; there being none
    /// left is seen from `pending`.
    fn batch(&mut self, io: &mut Io<'_>) -> Result<bool, Violation> {
        let mut sections = [0; MAX_BATCH];
        let mut ranges = [(0, 0); MAX_BATCH];
        let mut count = 0;
        let mut room = true;
        while count < MAX_BATCH && self.pending {
            let Some(receive) = &self.session.receive else { break };
            if receive.free.len() <= RESERVED {
                self.counters.add(Counter::RxNoSection, 1);
                room = false;
                break;
            }
            let Some(len) = self.backend.receive(&mut self.rx[ROOM - VNET_HEADER..]) else {
                self.pending = false;
                break;
            };
            let built = match self.build(len) {
                Ok(built) => built,
                Err(why) => {
                    self.counters.add(why, 1);
                    continue;
                }
            };
            let Some(receive) = &mut self.session.receive else { break };
            let section = receive.free.pop().unwrap_or_default();
            let rndis = &self.rx[built];
            ranges[count] = receive.fill(io, section, rndis, self.config.whole_sections)?;
            sections[count] = section;
            count += 1;
        }
        if count == 0 {
            return Ok(room);
        }
        let size = self.session.message_size();
        if let Some(receive) = &mut self.session.receive {
            let id = receive.lend(sections, count);
            let set = receive.id;
            let announcement = message(&[SEND_RNDIS_PACKET, 0, NO_SECTION, 0]);
            io.send_transfer_pages(PRIMARY, id, set, &ranges[..count], &announcement[..size]);
            self.counters.add(Counter::RxBatches, 1);
        }
        Ok(room)
    }

    /// Makes an RNDIS message of the packet of `len` bytes in `rx`; returns where in `rx` it is,
    /// or why it is dropped.
    fn build(&mut self, len: usize) -> Result<std::ops::Range<usize>, Counter> {
        let packet = ROOM - VNET_HEADER;
        let end = packet + len;
        let header = self.rx[packet..].first_chunk().map(VnetHeader::read).unwrap_or_default();
        let frame = self.rx.get_mut(ROOM..end).ok_or(Counter::RxBadFrame)?;
        if frame.len() < ETH_HEADER {
            return Err(Counter::RxBadFrame);
        }
        if !self.adapter.accepts(&frame[..6]) {
            return Err(Counter::RxFiltered);
        }
        let tagged = self.session.vlan && be16(frame, ETH_TYPE) == Some(ETHERTYPE_VLAN);
        let tag = if tagged { be16(frame, ETH_TYPE + 2) } else { None };
        let mut start = ROOM + if tag.is_some() { VLAN_TAG } else { 0 };
        if end - start > self.session.frame as usize + VLAN_TAG {
            return Err(Counter::RxTooLong);
        }
        let known = offload::receive(frame, &header).ok_or(Counter::RxBadFrame)?;
        if tag.is_some() {
            self.rx.copy_within(ROOM..ROOM + ETH_TYPE, start);
            self.counters.add(Counter::RxVlan, 1);
        }

        let offloads = &self.adapter.offloads;
        let transport = offloads.transport(known.v6, known.udp).rx;
        let checksum = if transport && known.tcp { TCP_SUCCEEDED } else { 0 }
            | if transport && known.udp { UDP_SUCCEEDED } else { 0 }
            | if offloads.ip4.rx && known.ip { IP_SUCCEEDED } else { 0 };
        let checksum = if checksum != 0 { Some(checksum) } else { None };
        self.counters.add(Counter::RxChecksum, checksum.is_some().into());
        let length = end - start;
        let items = [(PPI_VLAN, tag.map(vlan_info)), (PPI_CHECKSUM, checksum)];
        let mut info_len = 0;
        for (kind, value) in items {
            if let Some(value) = value {
                start -= PPI_SIZE as usize;
                info_len += PPI_SIZE;
                self.put::<PPI_WORDS>(start, [PPI_SIZE, kind, PPI_OFFSET, value]);
            }
        }
        let fields = (PACKET_FIELDS * 4) as u32;
        let info_at = if info_len == 0 { 0 } else { fields };
        start -= HEADER + PACKET_FIELDS * 4;
        self.put::<2>(start, [MSG_PACKET, (end - start) as u32]);
        let body = [fields + info_len, length as u32, 0, 0, 0, info_at, info_len, 0, 0];
        self.put::<PACKET_FIELDS>(start + HEADER, body);
        self.counters.add(Counter::RxPackets, 1);
        self.counters.add(Counter::RxBytes, length as u64);
        Ok(start..end)
    }

    fn put<const N: usize>(&mut self, at: usize, words: [u32; N]) {
        self.rx[at..at + N * 4].copy_from_slice(words.map(u32::to_le_bytes).as_flattened());
    }
}
