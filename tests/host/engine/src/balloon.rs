// SPDX-License-Identifier: GPL-2.0

//! Dynamic memory: the guest reports its memory's use and gives pages away when it is asked to.
//!
//! The pages stay where they are, and nothing is done with them: what counts is that the guest
//! names each only once, and gets back what it gave.

use std::collections::BTreeMap;

use crate::device::{Device, Io, Offer, Violation};
use crate::guid::Guid;
use crate::ring::{Packet, PacketKind};

/// Class of the device.
pub const INTERFACE: Guid = Guid::new("525074dc-8985-46e2-8057-a307dc18a502");
const INSTANCE: Guid = Guid::new("1eccfd72-4b41-45ef-b73a-4a6e44c12924");

// Message types.
const VERSION_REQUEST: u16 = 1;
const VERSION_RESPONSE: u16 = 2;
const CAPABILITIES_REPORT: u16 = 3;
const CAPABILITIES_RESPONSE: u16 = 4;
const STATUS_REPORT: u16 = 5;
const BALLOON_REQUEST: u16 = 6;
const BALLOON_RESPONSE: u16 = 7;
const UNBALLOON_REQUEST: u16 = 8;
const UNBALLOON_RESPONSE: u16 = 9;

/// Type, size and transaction id.
const HEADER: usize = 8;
/// Windows 8 and Windows 10.
const VERSIONS: [u32; 2] = [1 << 16, 2 << 16];
const CAN_BALLOON: u64 = 1;
/// Ranges that one request of ours names: with them it stays below a page.
const MAX_RANGES: usize = 500;

const PRIMARY: usize = 0;

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Closed,
    /// The version is agreed on.
    Version,
    Ready,
    /// Pages are on their way to us.
    Up,
    /// Pages are on their way to the guest.
    Down,
}

/// The dynamic memory device.
#[derive(Default)]
pub struct Balloon {
    state: State,
    transaction: u32,
    can_balloon: bool,
    /// Ranges that we have: first page and number of pages.
    ranges: BTreeMap<u64, u64>,
    /// Available and committed pages of the last report.
    status: Option<(u64, u64)>,
}

impl Balloon {
    /// A device that waits for the guest to open it.
    pub fn new() -> Self {
        Self::default()
    }

    fn send(&mut self, io: &mut Io<'_>, kind: u16, body: &[u8]) {
        self.transaction = self.transaction.wrapping_add(1);
        let mut message = Vec::new();
        message.extend(kind.to_le_bytes());
        message.extend(((HEADER + body.len()) as u16).to_le_bytes());
        message.extend(self.transaction.to_le_bytes());
        message.extend(body);
        io.send(PRIMARY, 0, false, &message);
    }

    fn pages(&self) -> u64 {
        self.ranges.values().sum()
    }

    /// Takes ranges of the guest; returns whether more come.
    fn inflate(&mut self, io: &Io<'_>, body: &[u8]) -> Result<bool, Violation> {
        let short = || Violation::new("a balloon response is cut short");
        let word =
            u32::from_le_bytes(*body.get(4..).and_then(<[u8]>::first_chunk).ok_or_else(short)?);
        let (more, count) = (word & 1 != 0, word as usize >> 1);
        let bytes = count.checked_mul(8).and_then(|len| body.get(8..)?.get(..len));
        for bytes in bytes.ok_or_else(short)?.chunks_exact(8) {
            let range = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            let (first, pages) = (range & 0xff_ffff_ffff, range >> 40);
            let end = first + pages;
            let before = self.ranges.range(..end).next_back();
            let twice = before.is_some_and(|(start, pages)| start + pages > first);
            let ram = pages > 0 && io.mem().has_page(first) && io.mem().has_page(end - 1);
            if twice || !ram {
                return Err(Violation::new(format!(
                    "{pages} pages from {first:#x} in the balloon"
                )));
            }
            self.ranges.insert(first, pages);
        }
        Ok(more)
    }

    /// Gives all ranges back.
    fn deflate(&mut self, io: &mut Io<'_>) {
        let ranges: Vec<_> = std::mem::take(&mut self.ranges).into_iter().collect();
        let mut chunks = ranges.chunks(MAX_RANGES).peekable();
        while let Some(chunk) = chunks.next() {
            let mut body = Vec::new();
            body.extend(u32::from(chunks.peek().is_some()).to_le_bytes());
            body.extend((chunk.len() as u32).to_le_bytes());
            body.extend(chunk.iter().flat_map(|(first, n)| (first | n << 40).to_le_bytes()));
            self.send(io, UNBALLOON_REQUEST, &body);
        }
        self.state = State::Down;
    }
}

impl Device for Balloon {
    fn offer(&self) -> Offer {
        Offer::new(INTERFACE, INSTANCE)
    }

    fn packet(
        &mut self,
        io: &mut Io<'_>,
        _channel: usize,
        packet: Packet,
    ) -> Result<(), Violation> {
        let head = packet.data.split_first_chunk().filter(|_| packet.kind == PacketKind::InBand);
        let Some((&[a, b, c, d, _, _, _, _], rest)) = head else {
            return Err(Violation::new(format!("{:?} packet to the balloon", packet.kind)));
        };
        let (kind, size) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]).into());
        let body = usize::checked_sub(size, HEADER).and_then(|len| rest.get(..len));
        let body = body.ok_or_else(|| Violation::new(format!("message of {size} bytes")))?;
        let number = |at: usize| {
            let bytes = body.get(at..).and_then(<[u8]>::first_chunk);
            let bytes =
                bytes.ok_or_else(|| Violation::new(format!("message {kind} is too short")))?;
            Ok::<_, Violation>(u64::from_le_bytes(*bytes))
        };
        match (self.state, kind) {
            (State::Closed, VERSION_REQUEST) => {
                let accepted = VERSIONS.contains(&(number(0)? as u32));
                self.state = if accepted { State::Version } else { State::Closed };
                self.send(io, VERSION_RESPONSE, &u64::from(accepted).to_le_bytes());
                io.count(if accepted { "negotiated" } else { "not_negotiated" }, 1);
            }
            (State::Version, CAPABILITIES_REPORT) => {
                self.can_balloon = number(0)? & CAN_BALLOON != 0;
                self.state = State::Ready;
                self.send(io, CAPABILITIES_RESPONSE, &1u64.to_le_bytes());
            }
            (State::Ready | State::Up | State::Down, STATUS_REPORT) => {
                self.status = Some((number(0)?, number(8)?));
                io.count("status", 1);
            }
            (State::Up, BALLOON_RESPONSE) => {
                if !self.inflate(io, body)? {
                    self.state = State::Ready;
                }
            }
            (State::Down, UNBALLOON_RESPONSE) => self.state = State::Ready,
            _ => return Err(Violation::new(format!("message {kind} at a wrong time"))),
        }
        Ok(())
    }

    fn closed(&mut self, _io: &mut Io<'_>, _channel: usize) {
        *self = Self::default();
    }

    /// `up PAGES` asks for pages, `down` gives all back; `ready` tells whether nothing is under
    /// way; `pages` is how many we have, `status` the last report.
    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        let ready = self.state == State::Ready && self.can_balloon;
        match words {
            ["ready"] => return Ok(ready.to_string()),
            ["pages"] => return Ok(self.pages().to_string()),
            ["status"] => {
                let status = self.status.map(|(available, committed)| {
                    format!("available={available} committed={committed}")
                });
                return Ok(status.unwrap_or_else(|| "none".into()));
            }
            ["up", _] | ["down"] if !ready => {
                return Err("the guest has no balloon, or it is at work".into())
            }
            ["up", pages] => {
                let pages = pages.parse::<u32>().map_err(|_| format!("{pages} is no number"))?;
                self.state = State::Up;
                self.send(io, BALLOON_REQUEST, [pages, 0].map(u32::to_le_bytes).as_flattened());
            }
            ["down"] if self.ranges.is_empty() => return Err("no pages are in the balloon".into()),
            ["down"] => self.deflate(io),
            _ => return Err(format!("unknown command: {}", words.join(" "))),
        }
        Ok(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::Bench;

    fn post(bench: &mut Bench, kind: u16, body: &[u64]) {
        let mut data = kind.to_le_bytes().to_vec();
        data.extend(((HEADER + body.len() * 8) as u16).to_le_bytes());
        data.extend([0; 4]);
        body.iter().for_each(|word| data.extend(word.to_le_bytes()));
        bench.guest_send(PacketKind::InBand, 0, false, &[], &data);
    }

    /// The next message: its type and body.
    fn take(bench: &mut Bench) -> Option<(u16, Vec<u64>)> {
        let data = bench.guest_recv()?.data;
        let size = u16::from_le_bytes([data[2], data[3]]) as usize;
        let words = data[HEADER..size].chunks_exact(8);
        let words = words.map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
        Some((u16::from_le_bytes([data[0], data[1]]), words.collect()))
    }

    fn range(first: u64, pages: u64) -> u64 {
        first | pages << 40
    }

    /// Word of a balloon response: reserved, more, count.
    fn counts(more: bool, count: u64) -> u64 {
        (count << 1 | u64::from(more)) << 32
    }

    fn ready() -> Bench {
        let mut bench = Bench::new(Box::new(Balloon::new()));
        assert!(bench.command(&["up", "1"]).is_err());
        post(&mut bench, VERSION_REQUEST, &[2 << 16]);
        assert_eq!(take(&mut bench), Some((VERSION_RESPONSE, vec![1])));
        post(&mut bench, CAPABILITIES_REPORT, &[1, 0, u64::MAX]);
        assert_eq!(take(&mut bench), Some((CAPABILITIES_RESPONSE, vec![1])));
        assert_eq!(bench.command(&["ready"]), Ok("true".into()));
        bench
    }

    #[test]
    fn old_versions_are_refused() {
        let mut bench = Bench::new(Box::new(Balloon::new()));
        post(&mut bench, VERSION_REQUEST, &[3]);
        assert_eq!(take(&mut bench), Some((VERSION_RESPONSE, vec![0])));
        post(&mut bench, VERSION_REQUEST, &[1 << 16]);
        assert_eq!(take(&mut bench), Some((VERSION_RESPONSE, vec![1])));
    }

    #[test]
    fn pages_come_and_go() {
        let mut bench = ready();
        assert_eq!(bench.command(&["status"]), Ok("none".into()));
        post(&mut bench, STATUS_REPORT, &[7, 8, 0, 0, 0]);
        assert_eq!(bench.command(&["status"]), Ok("available=7 committed=8".into()));
        assert!(bench.command(&["down"]).is_err());
        bench.command(&["up", "12"]).unwrap();
        assert_eq!(take(&mut bench), Some((BALLOON_REQUEST, vec![12])));
        post(&mut bench, BALLOON_RESPONSE, &[counts(true, 2), range(100, 8), range(50, 2)]);
        assert!(bench.command(&["down"]).is_err());
        post(&mut bench, BALLOON_RESPONSE, &[counts(false, 2), range(52, 1), range(99, 1)]);
        assert_eq!(bench.command(&["pages"]), Ok("12".into()));
        bench.command(&["down"]).unwrap();
        let back = vec![4 << 32, range(50, 2), range(52, 1), range(99, 1), range(100, 8)];
        assert_eq!(take(&mut bench), Some((UNBALLOON_REQUEST, back)));
        post(&mut bench, UNBALLOON_RESPONSE, &[]);
        assert_eq!(bench.command(&["ready"]), Ok("true".into()));
        assert_eq!(bench.command(&["pages"]), Ok("0".into()));
        assert!(!bench.dead());
    }

    #[test]
    fn many_ranges_are_many_messages() {
        let mut bench = ready();
        bench.command(&["up", "501"]).unwrap();
        take(&mut bench);
        let mut body = vec![counts(false, 501)];
        body.extend((0..501).map(|n| range(2 * n + 1, 1)));
        post(&mut bench, BALLOON_RESPONSE, &body);
        bench.command(&["down"]).unwrap();
        let first = take(&mut bench).unwrap().1;
        assert_eq!((first[0], first.len()), (500 << 32 | 1, 501));
        assert_eq!(take(&mut bench).unwrap().1, [1 << 32, range(1001, 1)]);
    }

    #[test]
    fn wrong_ranges_end_the_channel() {
        for body in [
            vec![counts(false, 2), range(10, 4), range(13, 1)],
            vec![counts(false, 2), range(10, 4), range(8, 3)],
            vec![counts(false, 1), range(10, 0)],
            vec![counts(false, 1), range(16383, 2)],
            vec![counts(false, 2), range(10, 4)],
            vec![counts(false, u32::MAX.into()), range(10, 4)],
            vec![],
        ] {
            let mut bench = ready();
            bench.command(&["up", "9"]).unwrap();
            post(&mut bench, BALLOON_RESPONSE, &body);
            assert!(bench.dead(), "{body:x?}");
        }
        let mut bench = ready();
        post(&mut bench, BALLOON_RESPONSE, &[counts(false, 1), range(10, 1)]);
        assert!(bench.dead());
    }
}
