// SPDX-License-Identifier: GPL-2.0

//! From the network to the guest, and the control messages that take the same way.

use super::counters::Counter;
use super::frame::{Frame, MAX_HEAD, PAYLOAD, ROOM};
use super::{
    message, version, Netvsp, CONTROL, NO_SECTION, PRIMARY, SEND_RECEIVE_BUFFER_COMPLETE,
    SEND_RNDIS_PACKET, SEND_RNDIS_PACKET_COMPLETE, STATUS_FAIL, STATUS_SUCCESS, VNET_HEADER,
};
use crate::device::{Io, Violation};
use crate::memory::BadAddress;
use crate::ring::Packet;
use crate::rndis::u32_at;

const MAX_RECEIVE_BUFFER: u32 = 31 << 20;
/// The limit up to version 3.2.
const OLD_MAX_RECEIVE_BUFFER: u32 = 15 << 20;
/// What a section holds besides the longest frame; with the usual MTU that makes 1728.
const SECTION_EXTRA: u32 = 214;
/// Sections that frames do not use, so that control messages find one.
const RESERVED: usize = 16;
/// Frames announced with one packet, unless they are segments that came as one.
const MAX_BATCH: usize = 8;
/// Ranges of one packet.
const MAX_RANGES: usize = 375;
/// Frames that are taken from the network before the guest hears of them.
const BURST: usize = 64;

/// Sections that one packet announced; the guest has them until it completes the packet.
#[derive(Default)]
struct Batch {
    /// The transaction id; 0 if there is none.
    id: u64,
    channel: usize,
    sections: Vec<u32>,
}

/// What was put into sections for a channel and is not announced yet.
#[derive(Default)]
pub(super) struct Outgoing {
    ranges: Vec<(u32, u32)>,
    sections: Vec<u32>,
}

/// The guest's receive buffer.
pub(super) struct ReceiveBuffer {
    pub id: u16,
    gpadl: u32,
    pub section: u32,
    count: u32,
    /// The last returned is used first.
    free: Vec<u32>,
    batches: Vec<Batch>,
    unused: Vec<usize>,
    /// Makes transaction ids unique.
    serial: u64,
    /// The guest took the buffer back; it may still complete what it was sent before.
    pub revoked: bool,
}

impl ReceiveBuffer {
    /// Notes that the guest has these sections; returns the transaction id.
    pub fn lend(&mut self, channel: usize, sections: &[u32]) -> u64 {
        let place = self.unused.pop().unwrap_or_else(|| {
            self.batches.push(Batch::default());
            self.batches.len() - 1
        });
        self.serial += 1;
        let id = self.serial << 16 | place as u64;
        let batch = &mut self.batches[place];
        (batch.id, batch.channel) = (id, channel);
        batch.sections.extend(sections);
        id
    }

    /// Takes the sections of a packet that is completed where it was sent back; `None` if there
    /// is no such packet.
    fn give_back(&mut self, channel: usize, id: u64) -> Option<()> {
        let place = (id & 0xffff) as usize;
        let batch = self.batches.get_mut(place)?;
        if batch.id != id || id == 0 || batch.channel != channel {
            return None;
        }
        self.free.append(&mut batch.sections);
        batch.id = 0;
        self.unused.push(place);
        Some(())
    }

    /// Takes everything back that was sent on a channel: it is closed.
    fn reclaim(&mut self, channel: usize) {
        let lent = self.batches.iter().filter(|batch| batch.channel == channel && batch.id != 0);
        for id in lent.map(|batch| batch.id).collect::<Vec<_>>() {
            self.give_back(channel, id);
        }
    }

    /// Most sections that segments which came as one can take.
    fn most_fragments(&self) -> usize {
        // At least every second byte of a section is used.
        2 * PAYLOAD / (self.section as usize).saturating_sub(MAX_HEAD).max(1) + 2
    }

    /// Whether there are so many sections that segments may come as one.
    pub fn can_coalesce(&self) -> bool {
        self.count as usize > RESERVED + self.most_fragments()
    }

    /// Writes an RNDIS message, in two parts, into a section; returns the range to announce.
    pub fn fill(
        &self,
        io: &Io<'_>,
        section: u32,
        parts: [&[u8]; 2],
        whole: bool,
    ) -> Result<(u32, u32), BadAddress> {
        let at = section * self.section;
        let buffer = io.gpadl(PRIMARY, self.gpadl).ok_or(BadAddress(u64::MAX))?;
        let [head, data] = parts;
        buffer.write(io.mem(), at as usize, head)?;
        buffer.write(io.mem(), at as usize + head.len(), data)?;
        let len = (head.len() + data.len()) as u32;
        Ok((if whole { self.section } else { len }, at))
    }

    /// Bytes of the memory, which need not be a multiple of a section.
    pub fn memory(&self, io: &Io<'_>) -> Option<u32> {
        Some(io.gpadl(PRIMARY, self.gpadl)?.len)
    }

    /// Bytes of all sections together.
    pub fn size(&self) -> u32 {
        self.section * self.count
    }

    /// Whether there are sections that are not kept for control messages.
    pub fn has_room(&self) -> bool {
        self.free.len() > RESERVED
    }

    /// Takes a section, also one that is kept for control messages.
    pub fn take(&mut self) -> Option<u32> {
        self.free.pop()
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
        let usual = (self.session.frame + SECTION_EXTRA).next_multiple_of(8);
        let section = self.config.receive_section.map_or(usual, |size| size.max(usual));
        let count = range.len / section;
        if range.offset != 0 || range.len > longest || count as usize <= RESERVED {
            let fields = [SEND_RECEIVE_BUFFER_COMPLETE, STATUS_FAIL];
            self.reply(io, PRIMARY, id, &fields);
            return Ok(());
        }
        self.session.receive = Some(ReceiveBuffer {
            id: buffer,
            gpadl,
            section,
            count,
            free: (0..count).rev().collect(),
            batches: Vec::new(),
            unused: Vec::new(),
            serial: 0,
            revoked: false,
        });
        let (first, end) = (0, section * count);
        let (section, count) = self.lies.sections.unwrap_or((section, count));
        let fields = [SEND_RECEIVE_BUFFER_COMPLETE, STATUS_SUCCESS, 1, first, section, count, end];
        self.reply(io, PRIMARY, id, &fields);
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
    pub(super) fn received(&mut self, channel: usize, packet: &Packet) -> Result<(), Violation> {
        let id = packet.transaction_id;
        let status = u32_at(&packet.data, 4);
        if u32_at(&packet.data, 0) != Some(SEND_RNDIS_PACKET_COMPLETE) || status.is_none() {
            return Err(Violation::new(format!("completion {id:#x} without a status")));
        }
        let failed = status != Some(STATUS_SUCCESS);
        self.counters.add(Counter::RxGuestFailed, failed.into());
        if self.lies.was_early(id) {
            return Ok(());
        }
        let receive = self.session.receive.as_mut();
        let given = receive.and_then(|receive| receive.give_back(channel, id));
        given.ok_or_else(|| {
            Violation::new(format!("completion of unknown packet {id:#x} on channel {channel}"))
        })
    }

    /// A sub-channel is gone, and what the guest had of it.
    pub(super) fn reclaim(&mut self, channel: usize) {
        if let Some(receive) = &mut self.session.receive {
            receive.reclaim(channel);
        }
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
            } else if self.channels().any(|channel| io.backlog(channel) > 0) {
                break;
            } else {
                match self.burst(io) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(why) => io.violation(PRIMARY, &why),
                }
            }
        }
        // Whoever calls signals one channel only.
        self.channels().for_each(|channel| io.signal(channel));
    }

    /// Sends waiting control messages.
    fn answer(&mut self, io: &mut Io<'_>) -> Result<(), Violation> {
        let Some(receive) = self.session.receive.as_mut().filter(|receive| !receive.revoked) else {
            self.session.replies.clear();
            return Ok(());
        };
        while !self.session.replies.is_empty() {
            let Some(section) = receive.free.pop() else { break };
            let (channel, reply) = self.session.replies.pop_front().unwrap_or_default();
            let channel = if io.is_open(channel) { channel } else { PRIMARY };
            let range = receive.fill(io, section, [&reply, &[]], self.config.whole_sections)?;
            let id = receive.lend(channel, &[section]);
            let set = receive.id;
            let size = if self.session.version >= version::V61 {
                super::MESSAGE
            } else {
                super::OLD_MESSAGE
            };
            let announcement = message(&[SEND_RNDIS_PACKET, CONTROL, NO_SECTION, 0]);
            io.send_transfer_pages(channel, id, set, &[range], &announcement[..size]);
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

    /// Sends some frames. Returns whether there is room for more; there being none left is seen
    /// from `pending`.
    fn burst(&mut self, io: &mut Io<'_>) -> Result<bool, Violation> {
        let mut room = true;
        for _ in 0..BURST {
            let Some(receive) = &self.session.receive else { break };
            let coalescing = self.coalescing != (false, false);
            let needed = if coalescing { receive.most_fragments() } else { 1 };
            if receive.free.len() < RESERVED + needed {
                self.counters.add(Counter::RxNoSection, 1);
                room = false;
                break;
            }
            let Some(len) = self.backend.receive(&mut self.rx[ROOM - VNET_HEADER..]) else {
                self.pending = false;
                break;
            };
            match self.frame_from_network(len) {
                Ok(frame) => self.place(io, &frame)?,
                Err(why) => self.counters.add(why, 1),
            }
        }
        for channel in 0..self.session.outgoing.len() {
            self.announce(io, channel);
        }
        Ok(room)
    }

    /// Puts a frame into sections for its channel.
    fn place(&mut self, io: &mut Io<'_>, frame: &Frame) -> Result<(), Violation> {
        let mut channel = frame.channel;
        if !io.is_open(channel) {
            self.counters.add(Counter::RxNoChannel, 1);
            channel = PRIMARY;
        }
        let Some(receive) = &self.session.receive else { return Ok(()) };
        let messages = frame.messages(&self.rx, receive.section as usize);
        let waiting = self.session.outgoing.get(channel).map_or(0, |out| out.ranges.len());
        // Segments that came as one must be in one packet.
        if waiting + messages.len() > MAX_RANGES {
            self.announce(io, channel);
        }
        if self.session.outgoing.len() <= channel {
            self.session.outgoing.resize_with(channel + 1, Outgoing::default);
        }
        let session = &mut self.session;
        let Some(receive) = &mut session.receive else { return Ok(()) };
        let Some(out) = session.outgoing.get_mut(channel) else { return Ok(()) };
        let fragments = messages.len() as u64;
        for (head, data) in messages {
            let section = receive.free.pop().unwrap_or_default();
            let parts = [head.bytes(), &self.rx[data]];
            out.ranges.push(receive.fill(io, section, parts, self.config.whole_sections)?);
            out.sections.push(section);
        }
        let full = out.ranges.len() >= MAX_BATCH;
        if frame.is_coalesced() {
            self.counters.add(Counter::RxCoalesced, 1);
            self.counters.add(Counter::RxFragments, fragments);
        }
        self.counters.add(Counter::RxPackets, 1);
        self.counters.add(Counter::RxBytes, frame.len() as u64);
        self.queue(channel).received += 1;
        if full {
            self.announce(io, channel);
        }
        Ok(())
    }

    /// Tells the guest of what was put into sections for this channel.
    fn announce(&mut self, io: &mut Io<'_>, channel: usize) {
        let size = self.session.message_size();
        let Some(receive) = &mut self.session.receive else { return };
        let Some(out) = self.session.outgoing.get_mut(channel) else { return };
        if out.ranges.is_empty() {
            return;
        }
        let id = receive.lend(channel, &out.sections);
        let announcement = message(&[SEND_RNDIS_PACKET, 0, NO_SECTION, 0]);
        let set = receive.id;
        io.send_transfer_pages(channel, id, set, &out.ranges, &announcement[..size]);
        out.ranges.clear();
        out.sections.clear();
        self.counters.add(Counter::RxBatches, 1);
    }
}
