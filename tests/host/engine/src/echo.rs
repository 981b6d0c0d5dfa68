// SPDX-License-Identifier: GPL-2.0

//! Echo: a device of our own, the host of the sample client. It is shaped like a network card:
//! sub-channels on request, requests in both directions, and a shared receive buffer whose
//! sections the guest has until it completes the packet that announced them.
//!
//! All numbers are little-endian words of 32 bits.
//!
//! **Data.** What the guest sends comes back: with the completion flag as a completion with the
//! same bytes, without it as an in-band packet with the same bytes and transaction id. Before
//! that the pages of a GPA-direct packet are inverted, every byte of its ranges, at most 1 MiB.
//!
//! **Control**, on the primary channel: an in-band packet that begins with [`CONTROL`] and one of
//! the commands below. The answer goes the way of data; it is `CONTROL, command, status, value`
//! with status 0 for success.
//!
//! | command | words | value of the answer |
//! |---|---|---|
//! | 1 | `n`: offer sub-channels 1 to `n`, at most 8 | `n` |
//! | 2 | `gpadl, section`: this is the receive buffer, in sections of so many bytes (a multiple of 8) | number of sections |
//! | 3 | none: the buffer is used no more; what was announced is still to be completed | announced packets |
//!
//! **Packets of the host** begin with [`SENT`] and a sequence number, filled up with
//! [`pattern`]. The guest sends each back, in-band, on the same channel, unchanged.
//!
//! **Transfer-page packets** of the host are of set 0xec80 and say `PAGES, sequence number,
//! ranges, bytes per range`.
//! A range begins with the sequence number and is filled up with [`pattern`]. The guest completes
//! each exactly once, with [`PAGES`] and the sum of all bytes of all ranges. Then the host
//! overwrites the sections, and uses them again, the last one first.
//!
//! Control line: `send COUNT SIZE [CHANNEL]`; `pages COUNT SIZE [CHANNEL [RANGES]]`; `hold` keeps
//! the guest's data, `release` echoes it; `counters`.

mod buffer;

use std::collections::{BTreeMap, VecDeque};

use crate::device::{Device, Io, Offer, Violation};
use crate::guid::Guid;
use crate::memory::PageRange;
use crate::ring::{Packet, PacketKind};
use buffer::Buffer;

/// Class of the device.
pub const INTERFACE: Guid = Guid::new("e5a3c1d7-6b0f-4e52-9c84-2f7d10b8a6e3");
/// The one instance.
pub const INSTANCE: Guid = Guid::new("5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0");

/// First word of a control packet.
pub const CONTROL: u32 = 0xec80_c0de;
/// First word of a packet that the guest is to send back.
pub const SENT: u32 = 0xec80_5e4d;
/// First word of a transfer-page packet, and of its completion.
pub const PAGES: u32 = 0xec80_9a6e;

const SUB_CHANNELS: u32 = 1;
const SET_BUFFER: u32 = 2;
const REVOKE_BUFFER: u32 = 3;

const STATUS_SUCCESS: u32 = 0;
const STATUS_REFUSED: u32 = 1;

const PRIMARY: usize = 0;
const MAX_SUB_CHANNELS: u32 = 8;
/// Bytes of a packet of ours: magic and number, and what fits into a ring of 16 pages.
const SIZES: std::ops::RangeInclusive<usize> = 8..=61408;
/// Bytes that one GPA-direct packet may have inverted.
const MAX_PAGES: u64 = 1 << 20;
/// Packets that wait for a guest that sends and does not read.
const MAX_BACKLOG: usize = 1 << 16;

/// Byte `at` of what packet `number` of the host is filled up with.
pub fn pattern(number: u32, at: usize) -> u8 {
    (number as usize).wrapping_mul(31).wrapping_add(at) as u8
}

/// What `send` or `pages` has still to send on a channel.
#[derive(Clone, Copy, Default)]
struct Job {
    left: u64,
    size: usize,
    ranges: usize,
}

/// What a channel has under way.
#[derive(Default)]
struct Line {
    send: Job,
    pages: Job,
    /// Sent and not sent back yet: number and size.
    sent: BTreeMap<u32, usize>,
}

/// Figures of `counters`.
#[derive(Default)]
struct Counters {
    echoed: u64,
    completed: u64,
    inverted: u64,
    sent: u64,
    returned: u64,
    reordered: u64,
    pages_sent: u64,
    pages_completed: u64,
    no_section: u64,
}

/// The echo device.
#[derive(Default)]
pub struct Echo {
    lines: Vec<Line>,
    buffer: Option<Buffer>,
    held: Option<VecDeque<(usize, Packet)>>,
    /// Number of the host's last packet.
    number: u32,
    counters: Counters,
}

impl Echo {
    /// A device that waits for the guest to open it.
    pub fn new() -> Self {
        Self::default()
    }

    fn line(&mut self, channel: usize) -> &mut Line {
        if self.lines.len() <= channel {
            self.lines.resize_with(channel + 1, Line::default);
        }
        &mut self.lines[channel]
    }

    /// Gives the guest its data back.
    fn echo(&mut self, io: &mut Io<'_>, channel: usize, packet: &Packet) -> Result<(), Violation> {
        let inverted: u64 = packet.ranges.iter().map(|range| u64::from(range.len)).sum();
        if inverted > MAX_PAGES {
            return Err(Violation::new(format!("a GPA-direct packet of {inverted} bytes")));
        }
        for range in &packet.ranges {
            invert(io, range)?;
        }
        self.counters.inverted += inverted;
        if packet.completion_requested {
            self.counters.completed += 1;
            io.complete(channel, packet.transaction_id, &packet.data);
        } else {
            self.counters.echoed += 1;
            io.send(channel, packet.transaction_id, false, &packet.data);
        }
        Ok(())
    }

    fn control(&mut self, io: &mut Io<'_>, packet: &Packet) -> Result<(), Violation> {
        let command = word(&packet.data, 1).unwrap_or_default();
        let missing = || Violation::new(format!("control packet {command} is cut short"));
        let argument = |n: usize| word(&packet.data, 2 + n).ok_or_else(missing);
        let value = match command {
            SUB_CHANNELS => {
                let count = argument(0)?;
                (count <= MAX_SUB_CHANNELS).then_some(count)
            }
            SET_BUFFER => {
                let (gpadl, section) = (argument(0)?, argument(1)?);
                if self.buffer.as_ref().is_some_and(|old| !old.is_revoked() || old.lent() > 0) {
                    None
                } else {
                    self.buffer = Buffer::new(io, gpadl, section);
                    self.buffer.as_ref().map(Buffer::sections)
                }
            }
            REVOKE_BUFFER => self.buffer.as_mut().filter(|buffer| !buffer.is_revoked()).map(|b| {
                b.revoke();
                b.lent()
            }),
            _ => return Err(Violation::new(format!("control packet {command}"))),
        };
        let status = if value.is_some() { STATUS_SUCCESS } else { STATUS_REFUSED };
        let answer = words(&[CONTROL, command, status, value.unwrap_or_default()]);
        if packet.completion_requested {
            io.complete(PRIMARY, packet.transaction_id, &answer);
        } else {
            io.send(PRIMARY, packet.transaction_id, false, &answer);
        }
        if let (SUB_CHANNELS, Some(count)) = (command, value) {
            io.offer_sub_channels(count as usize);
        }
        Ok(())
    }

    /// The guest sent one of our packets back.
    fn returned(&mut self, channel: usize, packet: &Packet) -> Result<(), Violation> {
        let number = word(&packet.data, 1).unwrap_or_default();
        let sent = &mut self.line(channel).sent;
        let oldest = sent.first_key_value().map(|(&number, _)| number);
        let size = sent.remove(&number).ok_or_else(|| {
            Violation::new(format!("packet {number} came back and was not sent, or twice"))
        })?;
        let mut expected = packet_bytes(number, size);
        expected.resize(size.next_multiple_of(8), 0);
        if packet.data != expected {
            return Err(Violation::new(format!("packet {number} came back changed")));
        }
        self.counters.returned += 1;
        self.counters.reordered += u64::from(oldest != Some(number));
        Ok(())
    }

    /// Sends what the commands asked for, as far as the guest has room.
    fn pump(&mut self, io: &mut Io<'_>, channel: usize) -> Result<(), Violation> {
        while io.is_open(channel) && io.backlog(channel) == 0 {
            let Line { send, pages, .. } = *self.line(channel);
            if send.left > 0 {
                self.number = self.number.wrapping_add(1);
                let number = self.number;
                let line = self.line(channel);
                line.send.left -= 1;
                line.sent.insert(number, send.size);
                self.counters.sent += 1;
                io.send(channel, 0, false, &packet_bytes(number, send.size));
            } else if pages.left > 0 {
                let Some(buffer) = self.buffer.as_mut().filter(|b| !b.is_revoked()) else {
                    self.line(channel).pages.left = 0;
                    continue;
                };
                let number = self.number.wrapping_add(1);
                if !buffer.send(io, channel, number, pages.size, pages.ranges)? {
                    self.counters.no_section += 1;
                    break;
                }
                self.number = number;
                self.line(channel).pages.left -= 1;
                self.counters.pages_sent += 1;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// [`Echo::pump`] on all channels, for sections that came back on another one.
    fn pump_all(&mut self, io: &mut Io<'_>) {
        for channel in 0..self.lines.len() {
            if let Err(why) = self.pump(io, channel) {
                io.violation(channel, &why);
            }
        }
    }

    fn job(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<(), String> {
        let number = |n: usize, or: u64| match words.get(n) {
            Some(text) => text.parse::<u64>().map_err(|_| format!("{text} is not a number")),
            None => Ok(or),
        };
        let (count, size) = (number(1, 0)?, number(2, 0)? as usize);
        let (channel, ranges) = (number(3, 0)? as usize, number(4, 1)? as usize);
        if !io.is_open(channel) {
            return Err(format!("channel {channel} is not open"));
        }
        let job = Job { left: count, size, ranges };
        let line = self.line(channel);
        if line.send.left > 0 || line.pages.left > 0 {
            return Err(format!("channel {channel} has still to send"));
        }
        if words[0] == "send" {
            if count == 0 || !SIZES.contains(&size) {
                return Err(format!("send: COUNT and SIZE, which is {SIZES:?}"));
            }
            self.line(channel).send = job;
        } else {
            let buffer = self.buffer.as_ref().filter(|buffer| !buffer.is_revoked());
            let buffer = buffer.ok_or("the guest has announced no buffer")?;
            if count == 0 || !buffer.takes(size, ranges) {
                return Err("pages: COUNT, SIZE of 4 to a section's bytes, few ranges".into());
            }
            self.line(channel).pages = job;
        }
        Ok(())
    }

    fn figures(&self) -> String {
        let c = &self.counters;
        let waiting = |f: fn(&Line) -> u64| self.lines.iter().map(f).sum::<u64>();
        [
            ("echoed", c.echoed),
            ("completed", c.completed),
            ("inverted", c.inverted),
            ("sent", c.sent),
            ("returned", c.returned),
            ("reordered", c.reordered),
            ("pages_sent", c.pages_sent),
            ("pages_completed", c.pages_completed),
            ("no_section", c.no_section),
            ("to_send", waiting(|line| line.send.left + line.pages.left)),
            ("to_return", waiting(|line| line.sent.len() as u64)),
            ("to_complete", self.buffer.as_ref().map_or(0, |buffer| buffer.lent().into())),
            ("held", self.held.as_ref().map_or(0, |held| held.len() as u64)),
        ]
        .map(|(name, n)| format!("{name}={n}"))
        .join(" ")
    }
}

impl Device for Echo {
    fn offer(&self) -> Offer {
        Offer::new(INTERFACE, INSTANCE)
    }

    fn opened(&mut self, _io: &mut Io<'_>, channel: usize) {
        *self.line(channel) = Line::default();
    }

    fn packet(&mut self, io: &mut Io<'_>, channel: usize, packet: Packet) -> Result<(), Violation> {
        let first = word(&packet.data, 0);
        match packet.kind {
            PacketKind::TransferPages => Err(Violation::new("a transfer-page packet of the guest")),
            PacketKind::Completion => {
                let id = packet.transaction_id;
                let buffer = self.buffer.as_mut().ok_or_else(|| {
                    Violation::new(format!("completion {id:#x} and there is no buffer"))
                })?;
                buffer.completed(io, channel, &packet)?;
                self.counters.pages_completed += 1;
                Ok(())
            }
            PacketKind::InBand if first == Some(CONTROL) && channel == PRIMARY => {
                self.control(io, &packet)
            }
            PacketKind::InBand if first == Some(SENT) => self.returned(channel, &packet),
            _ if io.backlog(channel) >= MAX_BACKLOG => {
                Err(Violation::new("the guest sends and does not read"))
            }
            _ => match &mut self.held {
                Some(held) if held.len() >= MAX_BACKLOG => {
                    Err(Violation::new("the guest sends and does not wait"))
                }
                Some(held) => {
                    held.push_back((channel, packet));
                    Ok(())
                }
                None => self.echo(io, channel, &packet),
            },
        }
    }

    fn idle(&mut self, io: &mut Io<'_>, _channel: usize) {
        self.pump_all(io);
    }

    fn closed(&mut self, _io: &mut Io<'_>, channel: usize) {
        *self.line(channel) = Line::default();
        if let Some(held) = &mut self.held {
            held.retain(|(on, _)| *on != channel && channel != PRIMARY);
        }
        if channel == PRIMARY {
            self.lines.clear();
            self.buffer = None;
        } else if let Some(buffer) = &mut self.buffer {
            buffer.channel_closed(channel);
        }
    }

    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        match words {
            ["send" | "pages", _, _, ..] if words.len() <= 5 => {
                self.job(io, words)?;
                self.pump_all(io);
                Ok(String::new())
            }
            ["hold"] => {
                self.held.get_or_insert_default();
                Ok(String::new())
            }
            ["release"] => {
                for (channel, packet) in self.held.take().unwrap_or_default() {
                    if let Err(why) = self.echo(io, channel, &packet) {
                        io.violation(channel, &why);
                    }
                }
                Ok(String::new())
            }
            ["counters"] => Ok(self.figures()),
            _ => Err(format!("unknown command: {}", words.join(" "))),
        }
    }
}

/// Word `n` of a packet.
fn word(data: &[u8], n: usize) -> Option<u32> {
    let (bytes, _) = data.get(n * 4..)?.split_first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// What packet `number` of the host says.
fn packet_bytes(number: u32, size: usize) -> Vec<u8> {
    let mut bytes = words(&[SENT, number]);
    bytes.extend((8..size).map(|at| pattern(number, at)));
    bytes
}

/// Inverts every byte of a range.
fn invert(io: &Io<'_>, range: &PageRange) -> Result<(), Violation> {
    let mut bytes = vec![0; range.len as usize];
    range.read(io.mem(), 0, &mut bytes)?;
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    Ok(range.write(io.mem(), 0, &bytes)?)
}

#[cfg(test)]
mod tests;
