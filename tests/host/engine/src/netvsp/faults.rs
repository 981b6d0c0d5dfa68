// SPDX-License-Identifier: GPL-2.0

//! What no correct host does: packets and answers that break the protocol towards the guest, one
//! at a time or many, when the control line asks for them with `bad KIND [COUNT]`.
//!
//! At once, on the primary channel:
//! - a message in the receive buffer with a wrong length (`length-short`, `length-long`), place of
//!   the frame (`data-offset`, `data-length`), a frame of four bytes (`frame-short`), wrong place
//!   of the per-packet information (`info-offset`, `info-length`) or a wrong item in it
//!   (`item-long`, `item-empty`, `item-offset`); one of several parts without the others
//!   (`part-first`, `part-middle`), parts that make more than 64 KiB (`frame-long`); an IP header
//!   whose checksum is to be computed, and that is longer than its frame (`header-long`);
//! - ranges that are not in the receive buffer or longer than a section (`range-outside`,
//!   `range-wraps`, `range-long`), or empty and at the end of its memory (`range-end`), another number of them than there are (`ranges-none`,
//!   `ranges-many`, `ranges-huge`, `ranges-negative`);
//! - a table for sending with wrong entries, size or place (`table-entry`, `table-huge-entry`,
//!   `table-count`, `table-offset`);
//! - unknown or missing message types (`type`, `type-short`, `type-in-buffer`), completions of
//!   what was not sent (`completion-unknown`, `completion-empty`).
//!
//! With the next completion or answers to control messages: `completion-twice`; `answer-id` (one
//! that nobody waits for, and that says no, comes first), `answer-status`, `answer-short`,
//! `answer-lost`, `answer-again` (once more, on the second channel if there is one).
//!
//! As fast as the guest takes them: `link-flood`, 1000 link changes unless the count says other.
//!
//! `noise SEED COUNT`: that many packets, each of one of the kinds above that happen at once, or
//! with one to three words of a message, or of the descriptor, that come from the seed.

use super::channels::Allocation;
use super::counters::Counter;
use super::frame::Head;
use super::{
    message, Netvsp, NO_SECTION, PRIMARY, SEND_RNDIS_PACKET, SEND_RNDIS_PACKET_COMPLETE,
    STATUS_SUCCESS,
};
use crate::device::Io;
use crate::fault::Rng;
use crate::rndis::{self, u32_at};

/// An Ethernet type for experiments, which no protocol takes.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const FRAME: usize = 60;
/// In the message that is made bad: the per-packet information.
const PPI_CHECKSUM: u32 = 0;
const PPI_ID: u32 = 1 << 31 | 1;
/// Version 1; one of several parts, and the first of them.
const ID_FIRST: u32 = 1 | 3 << 8;

// Words of an RNDIS packet message.
const LENGTH: usize = 1;
const DATA_OFFSET: usize = 2;
const DATA_LENGTH: usize = 3;
const INFO_OFFSET: usize = 7;
const INFO_LENGTH: usize = 8;
const ITEM_SIZE: usize = 11;
const ITEM_OFFSET: usize = 13;

/// What `noise` takes from above: what a guest without weak spots survives, and that neither
/// changes the link nor how frames are spread.
const KINDS: [&str; 24] = [
    "length-short",
    "length-long",
    "data-offset",
    "data-length",
    "frame-short",
    "info-offset",
    "info-length",
    "item-long",
    "item-empty",
    "item-offset",
    "range-outside",
    "range-wraps",
    "range-long",
    "ranges-none",
    "ranges-many",
    "ranges-huge",
    "ranges-negative",
    "type",
    "type-short",
    "type-in-buffer",
    "completion-unknown",
    "completion-empty",
    "part-first",
    "part-middle",
];

/// Faults that wait for their moment: how often each is still to happen.
#[derive(Default)]
pub(super) struct Faults {
    pub allocation: Allocation,
    completions_twice: u32,
    answers_other_id: u32,
    answers_failed: u32,
    answers_short: u32,
    answers_lost: u32,
    answers_again: u32,
    link_changes: u32,
}

fn take(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

impl Faults {
    /// Whether the next completion comes twice.
    pub fn take_twice(&mut self) -> bool {
        take(&mut self.completions_twice)
    }
}

/// What is wrong with a message in the receive buffer: a word of it and the value there.
fn word_of(kind: &str) -> Option<(usize, u32)> {
    Some(match kind {
        "length-short" => (LENGTH, 4),
        "length-long" => (LENGTH, 4096),
        "data-offset" => (DATA_OFFSET, 0xffff_fff0),
        "data-length" => (DATA_LENGTH, 4096),
        "frame-short" => (DATA_LENGTH, 4),
        "info-offset" => (INFO_OFFSET, 0xffff_fff0),
        "info-length" => (INFO_LENGTH, 4096),
        "item-long" => (ITEM_SIZE, 4096),
        "item-empty" => (ITEM_SIZE, 0),
        "item-offset" => (ITEM_OFFSET, 4096),
        _ => return None,
    })
}

/// What is wrong with a packet about the receive buffer: number of ranges, length and offset of
/// the first, given the buffer's and a section's size.
fn ranges_of(kind: &str, buffer: u32, section: u32, len: u32) -> Option<(u32, u32, u32)> {
    Some(match kind {
        "range-outside" => (1, len, buffer),
        "range-wraps" => (1, u32::MAX, 16),
        "range-long" => (1, section + 8, 0),
        "ranges-none" => (0, len, 0),
        "ranges-many" => (1000, len, 0),
        "ranges-huge" => (0x2000_0000, len, 0),
        "ranges-negative" => (u32::MAX, len, 0),
        _ => return None,
    })
}

/// What is wrong with a table: number of entries, offset, each entry.
fn table_of(kind: &str) -> Option<(u32, Option<u32>, u32)> {
    Some(match kind {
        "table-entry" => (16, None, 1000),
        "table-huge-entry" => (16, None, u32::MAX),
        "table-count" => (17, None, 0),
        "table-offset" => (16, Some(0xffff_fff0), 0),
        _ => return None,
    })
}

/// A number that is probably small, or at an edge.
fn edge(rng: &mut Rng) -> u32 {
    match rng.below(6) {
        0 => rng.number() as u32,
        1 => u32::MAX - rng.below(64) as u32,
        2 => 1 << rng.below(32),
        3 => rng.below(1 << 24) as u32,
        _ => rng.below(128) as u32,
    }
}

impl Netvsp {
    pub(super) fn count_bad(&mut self) {
        self.counters.add(Counter::Bad, 1);
    }

    /// Does what no host should, `count` times or as often as the kind suggests.
    pub(super) fn bad(
        &mut self,
        io: &mut Io<'_>,
        kind: &str,
        count: Option<u32>,
    ) -> Result<(), String> {
        const FLOOD: u32 = 1000;
        if !self.adapter.is_initialized() || !io.is_open(PRIMARY) {
            return Err("the guest does not use the card".into());
        }
        let later = match kind {
            "completion-twice" => Some(&mut self.faults.completions_twice),
            "answer-id" => Some(&mut self.faults.answers_other_id),
            "answer-status" => Some(&mut self.faults.answers_failed),
            "answer-short" => Some(&mut self.faults.answers_short),
            "answer-lost" => Some(&mut self.faults.answers_lost),
            "answer-again" => Some(&mut self.faults.answers_again),
            "link-flood" => Some(&mut self.faults.link_changes),
            _ => None,
        };
        if let Some(later) = later {
            *later = count.unwrap_or(if kind == "link-flood" { FLOOD } else { 1 });
            self.flood(io);
            return Ok(());
        }
        for _ in 0..count.unwrap_or(1) {
            self.bad_packet(io, kind)?;
            self.count_bad();
        }
        Ok(())
    }

    /// Sends packets that follow from a seed; see above.
    pub(super) fn noise(&mut self, io: &mut Io<'_>, seed: u64, count: u32) -> Result<(), String> {
        let mut rng = Rng::new(seed);
        if !self.adapter.is_initialized() || !io.is_open(PRIMARY) {
            return Err("the guest does not use the card".into());
        }
        for _ in 0..count {
            match rng.below(8) {
                0 => self.bad_packet(io, KINDS[rng.below(KINDS.len() as u64) as usize])?,
                1 => self.noisy_descriptor(io, &mut rng)?,
                2 => self.noisy_completion(io, &mut rng),
                _ => self.noisy_message(io, &mut rng)?,
            }
            self.count_bad();
        }
        Ok(())
    }

    /// Parts of a frame that is longer than IP can carry.
    fn too_long(&mut self, io: &mut Io<'_>, announcement: &[u8]) -> Result<(), String> {
        const PARTS: usize = 48;
        const PART: usize = 1400;
        let parts: Vec<_> = (0..PARTS)
            .map(|n| {
                let place = u32::from(n == 0) << 9 | u32::from(n == PARTS - 1) << 10;
                let mut bytes = self.harmless_of(PPI_ID, 1 | 1 << 8 | place, PART);
                // The headers are in the first.
                if n != 0 {
                    let len = bytes.len();
                    bytes[len - PART..].fill(0xa5);
                }
                bytes
            })
            .collect();
        let parts: Vec<&[u8]> = parts.iter().map(|bytes| &bytes[..]).collect();
        self.announce_bad(io, &parts, announcement)
    }

    /// A message of which some words are others; it may have several parts, or be one.
    fn noisy_message(&mut self, io: &mut Io<'_>, rng: &mut Rng) -> Result<(), String> {
        const PACKET: u32 = 1;
        let size = self.session.message_size();
        let announcement = message(&[SEND_RNDIS_PACKET, 0, NO_SECTION, 0]);
        let mut parts = Vec::new();
        for _ in 0..=rng.below(3) {
            let kind = [PPI_CHECKSUM, PPI_ID, edge(rng)][rng.below(3) as usize];
            let mut bytes = self.harmless(kind, if kind == PPI_ID { ID_FIRST } else { edge(rng) });
            for _ in 0..=rng.below(3) {
                // All words up to the value of the item, but for those of the frame.
                let at = rng.below(15) as usize * 4;
                bytes[at..at + 4].copy_from_slice(&edge(rng).to_le_bytes());
            }
            // What says that the link is gone, or answers a question, is no noise.
            if rng.below(16) != 0 {
                bytes[..4].copy_from_slice(&PACKET.to_le_bytes());
            }
            parts.push(bytes);
        }
        let parts: Vec<&[u8]> = parts.iter().map(|bytes| &bytes[..]).collect();
        self.announce_bad(io, &parts, &announcement[..size])
    }

    /// A descriptor with other words than there should be.
    fn noisy_descriptor(&mut self, io: &mut Io<'_>, rng: &mut Rng) -> Result<(), String> {
        let size = self.session.message_size();
        let announcement = message(&[SEND_RNDIS_PACKET, 0, NO_SECTION, 0]);
        let receive = self.session.receive.as_mut().ok_or("there is no receive buffer")?;
        let set = if rng.below(4) == 0 { edge(rng) } else { receive.id.into() };
        let mut descriptor = set.to_le_bytes().to_vec();
        let ranges = rng.below(4) as u32;
        let count = if rng.below(2) == 0 { ranges } else { edge(rng) };
        descriptor.extend(count.to_le_bytes());
        for _ in 0..ranges {
            descriptor.extend([edge(rng), edge(rng)].map(u32::to_le_bytes).as_flattened());
        }
        let id = receive.lend(PRIMARY, &[]);
        io.send_descriptor(PRIMARY, id, &descriptor, &announcement[..size]);
        Ok(())
    }

    /// A completion, of a length and with words that come from the seed.
    fn noisy_completion(&mut self, io: &mut Io<'_>, rng: &mut Rng) {
        let bytes = message(&[edge(rng), edge(rng), edge(rng)]);
        let len = rng.below(bytes.len() as u64 / 4) as usize * 4;
        // Ids of what is under way are small numbers: of these it is none.
        io.complete(PRIMARY, rng.number() | 1 << 40, &bytes[..len]);
    }

    fn bad_packet(&mut self, io: &mut Io<'_>, kind: &str) -> Result<(), String> {
        const UNKNOWN: u32 = 0x7777;
        const UNKNOWN_ID: u64 = 0x7777_7777_7777;
        let size = self.session.message_size();
        let announcement = message(&[SEND_RNDIS_PACKET, 0, NO_SECTION, 0]);
        let unknown = message(&[UNKNOWN]);
        if let Some((count, offset, entry)) = table_of(kind) {
            self.send_table(io, count, offset, &[entry; 16]);
            return Ok(());
        }
        if let Some((word, value)) = word_of(kind) {
            let mut bytes = self.harmless(PPI_CHECKSUM, 0);
            if let Some(field) = bytes.get_mut(word * 4..word * 4 + 4) {
                field.copy_from_slice(&value.to_le_bytes());
            }
            return self.announce_bad(io, &[&bytes], &announcement[..size]);
        }
        let buffer = self.session.receive.as_ref().ok_or("there is no receive buffer")?;
        let harmless = self.harmless(PPI_CHECKSUM, 0);
        if kind == "range-end" {
            let end = buffer.memory(io).ok_or("the receive buffer is gone")?;
            return self.send_range(io, (0, end), &announcement[..size]);
        }
        let (whole, section) = (buffer.size(), buffer.section);
        if let Some((count, len, at)) = ranges_of(kind, whole, section, harmless.len() as u32) {
            let receive = self.session.receive.as_mut().ok_or("there is no receive buffer")?;
            let mut descriptor = u32::from(receive.id).to_le_bytes().to_vec();
            descriptor.extend([count, len, at].map(u32::to_le_bytes).as_flattened());
            let id = receive.lend(PRIMARY, &[]);
            io.send_descriptor(PRIMARY, id, &descriptor, &announcement[..size]);
            return Ok(());
        }
        match kind {
            "type" => io.send(PRIMARY, 0, false, &unknown[..size]),
            "type-short" => io.send(PRIMARY, 0, false, &[]),
            "type-in-buffer" => return self.announce_bad(io, &[&harmless], &unknown[..size]),
            "completion-unknown" => {
                let done = message(&[SEND_RNDIS_PACKET_COMPLETE, STATUS_SUCCESS]);
                io.complete(PRIMARY, UNKNOWN_ID, &done[..size]);
            }
            "completion-empty" => io.complete(PRIMARY, UNKNOWN_ID, &[]),
            // Segments that came as one, without the others.
            "part-first" => {
                let first = self.harmless(PPI_ID, ID_FIRST);
                return self.announce_bad(io, &[&first], &announcement[..size]);
            }
            "frame-long" => return self.too_long(io, &announcement[..size]),
            "header-long" => {
                const IPV4: [u8; 2] = [0x08, 0x00];
                const LONGEST: u8 = 0x4f;
                // Right in each segment, and not in what was made of them.
                let mut bytes = self.harmless_of(PPI_CHECKSUM, 1 << 5 | 1 << 8, 14 + 20);
                let at = bytes.len() - 22;
                bytes[at..at + 3].copy_from_slice(&[IPV4[0], IPV4[1], LONGEST]);
                return self.announce_bad(io, &[&bytes], &announcement[..size]);
            }
            "part-middle" => {
                let middle = self.harmless(PPI_ID, ID_FIRST & !(2 << 8));
                return self.announce_bad(io, &[&middle], &announcement[..size]);
            }
            _ => return Err(format!("unknown kind: {kind}")),
        }
        Ok(())
    }

    /// Announces one range, whatever is there.
    fn send_range(
        &mut self,
        io: &mut Io<'_>,
        range: (u32, u32),
        announcement: &[u8],
    ) -> Result<(), String> {
        let receive = self.session.receive.as_mut().ok_or("there is no receive buffer")?;
        let id = receive.lend(PRIMARY, &[]);
        io.send_transfer_pages(PRIMARY, id, receive.id, &[range], announcement);
        Ok(())
    }

    /// A message with a frame that does nothing, and one item of per-packet information.
    fn harmless(&self, kind: u32, value: u32) -> Vec<u8> {
        self.harmless_of(kind, value, FRAME)
    }

    /// The same with a frame of so many bytes.
    fn harmless_of(&self, kind: u32, value: u32, len: usize) -> Vec<u8> {
        let mut head = Head::new();
        head.push(kind, value);
        let mut frame = self.adapter.address().to_vec();
        frame.extend([0x02, 0, 0, 0, 0, 0x77]);
        frame.extend(ETHERTYPE);
        frame.resize(len, 0);
        [head.finish(len).bytes(), &frame].concat()
    }

    /// Puts messages into sections and announces them with one packet.
    fn announce_bad(
        &mut self,
        io: &mut Io<'_>,
        messages: &[&[u8]],
        announcement: &[u8],
    ) -> Result<(), String> {
        let receive = self.session.receive.as_mut().ok_or("there is no receive buffer")?;
        let (mut ranges, mut sections) = (Vec::new(), Vec::new());
        for bytes in messages {
            let section = receive.take().ok_or("no section is free")?;
            let range = receive.fill(io, section, [bytes, &[]], self.config.whole_sections);
            ranges.push(range.map_err(|bad| bad.to_string())?);
            sections.push(section);
        }
        let id = receive.lend(PRIMARY, &sections);
        io.send_transfer_pages(PRIMARY, id, receive.id, &ranges, announcement);
        Ok(())
    }

    /// Changes answers to control messages if that was asked for.
    pub(super) fn spoil(&mut self, answers: Vec<Vec<u8>>) -> Vec<(usize, Vec<u8>)> {
        const SHORT: u32 = 12;
        const FAILURE: [u8; 4] = 0xc000_0001u32.to_le_bytes();
        let second = (self.channels().end - 1).min(PRIMARY + 1);
        let mut out = Vec::new();
        for mut answer in answers {
            // Type, length, id, status; indications have no id.
            let Some(id) = u32_at(&answer, 8).filter(|_| rndis::is_answer(&answer)) else {
                out.push((PRIMARY, answer));
                continue;
            };
            let faults = &mut self.faults;
            let mut happened = 0;
            if take(&mut faults.answers_lost) {
                self.counters.add(Counter::Bad, 1);
                continue;
            }
            if take(&mut faults.answers_other_id) {
                let mut other = answer.clone();
                other[8..12].copy_from_slice(&(id ^ 0x5555).to_le_bytes());
                if let Some(status) = other.get_mut(12..16) {
                    status.copy_from_slice(&FAILURE);
                }
                out.push((PRIMARY, other));
                happened += 1;
            }
            if take(&mut faults.answers_failed) {
                if let Some(status) = answer.get_mut(12..16) {
                    status.copy_from_slice(&FAILURE);
                    happened += 1;
                }
            }
            if take(&mut faults.answers_short) {
                answer.truncate(SHORT as usize);
                answer[4..8].copy_from_slice(&SHORT.to_le_bytes());
                happened += 1;
            }
            if take(&mut faults.answers_again) {
                out.push((second, answer.clone()));
                happened += 1;
            }
            self.counters.add(Counter::Bad, happened);
            out.push((PRIMARY, answer));
        }
        out
    }

    /// Sends as much of a flood of link changes as there is room for.
    pub(super) fn flood(&mut self, io: &mut Io<'_>) {
        while self.faults.link_changes > 0 && self.session.replies.is_empty() {
            let room = self.session.receive.as_ref().is_some_and(|receive| receive.has_room());
            if !room || io.backlog(PRIMARY) > 0 {
                return;
            }
            self.faults.link_changes -= 1;
            // The last one says how it is.
            let up = self.faults.link_changes.is_multiple_of(2) == self.adapter.is_link_up();
            self.session.replies.push_back((PRIMARY, rndis::link_indication(up)));
            self.count_bad();
            self.pump(io);
        }
    }
}
