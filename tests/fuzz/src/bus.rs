// SPDX-License-Identifier: GPL-2.0

//! What `hv_vmbus` does with what comes from the host: packets for drivers in C, the numbers of
//! requests, versions of services, control messages.

use super::message;
use super::requestor::{self, Table};
use super::ring::{self, Cursor, Memory, Packet, Reader};
use super::service::{negotiate, Version};
use crate::channel::Channel;
use crate::io::{index, SysMem};
use crate::page::PAGE_SIZE;
use crate::prelude::*;
use crate::random::{rounds, Rng};
use std::collections::{HashMap, VecDeque};

const RING: usize = 3 * PAGE_SIZE;
const BYTES: u32 = 2 * PAGE_SIZE as u32;

/// A channel that is open, with a driver in C on one side.
struct Bench {
    channel: Channel,
    memory: Memory,
    /// The reader's cursor, and behind it the index that drivers see.
    words: Box<[u64; 8]>,
    honest: bool,
    write: u32,
    sent: VecDeque<(u64, Vec<u8>)>,
}

impl Bench {
    fn new(honest: bool) -> Self {
        let channel = Channel::new();
        let mut memory = Memory::new(&channel, RING, RING, false).unwrap();
        memory.attach(&channel).unwrap();
        channel.set_request_limit(8);
        requestor::allocate(&channel).unwrap();
        Self { channel, memory, words: Box::default(), honest, write: 0, sent: VecDeque::new() }
    }

    fn word(&self, ring: usize, at: usize) -> SysMem<'_, u32> {
        index(self.channel.memory(ring), at..at + 4).unwrap().try_cast().unwrap()
    }

    fn data(&self, ring: usize, at: u32, len: usize) -> SysMem<'_, [u8]> {
        let start = PAGE_SIZE + at as usize;
        index(self.channel.memory(ring), start..start + len).unwrap()
    }

    /// The driver sends, and the host reads all of it if it pleases.
    fn send(&self, rng: &mut Rng) {
        let lens = [8 * rng.below(4), 8 * rng.below(4), rng.below(600)];
        let [first, second, payload] = lens.map(|len| rng.bytes(len));
        let flags = rng.below(2) as u16;
        let packet = Packet { kind: 6, flags, header: [&first, &second], payload: &payload };
        let write = self.word(0, 0).read_val();
        let sent = ring::send(&self.channel, &packet, 7);
        if self.honest {
            if sent.is_err() {
                assert_eq!(sent, Err(EAGAIN));
                return self.host_reads();
            }
            let mut bytes = vec![0; 16 + lens.iter().sum::<usize>()];
            self.data(0, write, bytes.len()).copy_to_slice(&mut bytes);
            assert_eq!(bytes[16..], [first, second, payload].concat());
            if flags == 1 {
                let number = u64::from_le_bytes(*bytes[8..].first_chunk().unwrap());
                assert_eq!(requestor::take(&self.channel, number, None), Some(7));
                assert_eq!(requestor::take(&self.channel, number, None), None);
            }
        }
    }

    fn host_reads(&self) {
        self.word(0, 4).write_val(self.word(0, 0).read_val());
    }

    fn host_sends(&mut self, rng: &mut Rng) {
        let len = 8 * rng.below(60);
        let payload = rng.bytes(len);
        let all = 16 + payload.len() as u32 + 8;
        let read = self.word(1, 4).read_val() % BYTES;
        let used = (self.write + BYTES - read) % BYTES;
        if used + all >= BYTES {
            self.word(1, 12).write_val(all);
            return;
        }
        let id = rng.number();
        let mut bytes = vec![6, 0, 2, 0];
        bytes.extend(((all / 8 - 1) as u16).to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(id.to_le_bytes());
        bytes.extend(&payload);
        bytes.extend([0; 8]);
        self.data(1, self.write, bytes.len()).copy_from_slice(&bytes);
        self.write = (self.write + all) % BYTES;
        self.word(1, 0).write_val(self.write);
        self.sent.push_back((id, payload));
    }

    fn host_lies(&mut self, rng: &mut Rng) {
        let ring = rng.below(2);
        match rng.below(3) {
            0 => self.word(ring, 4 * rng.below(17)).write_val(rng.edge(BYTES)),
            1 => {
                let (at, len) = (rng.below(BYTES as usize) as u32, 1 + rng.below(64));
                self.data(ring, at, len).copy_from_slice(&rng.bytes(len));
            }
            _ => {
                let at = self.word(1, 4).read_val() % BYTES & !7;
                let number = rng.edge(BYTES) / rng.of(&[1, 8]);
                let at = at + rng.of(&[2, 4]);
                self.data(1, at, 2).copy_from_slice(&number.to_le_bytes()[..2]);
            }
        }
    }

    fn receive(&mut self, rng: &mut Rng) {
        let words: *mut [u8; 64] = (&raw mut *self.words).cast();
        // SAFETY: The words are the bench's, and only accessed here.
        let words = unsafe { SysMem::new(words as *mut [u8]) };
        let cursor: SysMem<'_, Cursor> = index(words, 0..32).unwrap().try_cast().unwrap();
        let read: SysMem<'_, u32> = index(words, 32..36).unwrap().try_cast().unwrap();
        let Some(ring) = self.channel.ring(1) else { return };
        let mut reader = Reader::new(ring, cursor, read);
        // Who offers no buffer at all does not want the packet.
        let mut buffer = vec![0; rng.of(&[if self.honest { 8 } else { 0 }, 8, 100, 600])];
        // Nobody writes meanwhile.
        let mut left = 2 * BYTES / 24 + 2;
        if rng.one_in(2) {
            loop {
                assert!(left > 0, "reading does not end");
                left -= 1;
                let Ok(received) = reader.receive(&mut buffer, rng.one_in(2) && !self.honest) else {
                    assert!(!self.honest);
                    break;
                };
                if received.too_large {
                    buffer.resize(received.len as usize, 0);
                    continue;
                }
                if received.len == 0 && received.id == 0 {
                    break;
                }
                assert!(received.len as usize <= buffer.len());
                if self.honest {
                    let (id, payload) = self.sent.pop_front().unwrap();
                    assert_eq!((received.id, &buffer[..received.len as usize]), (id, &*payload));
                }
            }
        } else {
            buffer.resize(600, 0);
            let mut more = reader.first(&mut buffer);
            while more && !rng.one_in(10) {
                assert!(left > 0, "reading does not end");
                left -= 1;
                let len = usize::from(u16::from_le_bytes([buffer[4], buffer[5]])) * 8;
                assert!((16..=600).contains(&len), "a packet that is none: {len}");
                if self.honest {
                    let (_, payload) = self.sent.pop_front().unwrap();
                    assert_eq!(&buffer[16..len], payload);
                }
                more = reader.next(&mut buffer);
            }
            reader.publish();
        }
        let _ = reader.unmask();
        let outcome = reader.finish();
        assert!(!self.honest || !outcome.spoilt && !outcome.report);
        let _ = ring.inspect();
    }
}

#[test]
fn channels() {
    const STEPS: u64 = 50;

    for seed in 0..rounds() / STEPS {
        let rng = &mut Rng::new(seed);
        let mut bench = Bench::new(seed % 4 == 0);
        for _ in 0..STEPS {
            match rng.below(5) {
                0 | 1 => bench.send(rng),
                2 => bench.host_sends(rng),
                3 if !bench.honest => bench.host_lies(rng),
                3 => bench.host_sends(rng),
                _ => bench.receive(rng),
            }
        }
        requestor::free(&bench.channel);
        let Bench { channel, mut memory, .. } = bench;
        memory.detach(&channel);
    }
}

#[test]
fn numbers() {
    let rng = &mut Rng::new(2);
    let size = 16;
    let mut table = Table::new(size).unwrap();
    let mut known: HashMap<u64, u64> = HashMap::new();
    let mut old: Vec<u64> = Vec::new();
    for address in 0..rounds() {
        match table.insert(address) {
            Some(number) => assert!(number != 0 && known.insert(number, address).is_none()),
            None => assert_eq!(known.len(), size as usize),
        }
        // Generations come again after 128 times: what is older may be somebody else's.
        if old.len() > 100 {
            old.drain(..50);
        }
        for _ in 0..rng.below(3) {
            let number = match rng.below(4) {
                0 => rng.number() >> rng.of(&[0, 25, 32, 60]),
                1 if !old.is_empty() => rng.of(&old),
                _ => *known.keys().nth(rng.below(known.len())).unwrap_or(&0),
            };
            let found = table.take(number, None);
            assert_eq!(found, known.remove(&number));
            if found.is_some() {
                old.push(number);
            }
        }
    }
}

#[test]
fn versions() {
    let rng = &mut Rng::new(3);
    let version = |number: i32| {
        // SAFETY: A version is a number.
        unsafe { std::mem::transmute::<c_int, Version>(number) }
    };
    let ours = [3 << 16, 1 << 16, 4 << 16 | 1].map(version);
    for _ in 0..rounds() {
        let len = rng.below(200);
        let mut packet = rng.bytes(len);
        if len >= 36 && !rng.one_in(4) {
            // Lists that could be ones.
            let (first, second) = (rng.below(8) as u8, rng.below(8) as u8);
            packet[28..36].copy_from_slice(&[first, 0, second, 0, 0, 0, 0, 0]);
            for entry in packet[36..].chunks_exact_mut(4) {
                entry.copy_from_slice(&[rng.below(5) as u8, 0, rng.below(2) as u8, 0]);
            }
        }
        let before = packet.clone();
        match negotiate(&mut packet, &ours, &ours) {
            Ok(Some(agreed)) => {
                assert!(ours.contains(&agreed.framework) && ours.contains(&agreed.service));
                assert_eq!(packet[28..32], [1, 0, 1, 0]);
            }
            Ok(None) => assert_eq!(packet[28..32], [0; 4]),
            Err(_) => assert!(len < 32),
        }
        let header = len.min(28);
        assert_eq!(packet[..header], before[..header]);
    }
}

#[test]
fn messages() {
    let rng = &mut Rng::new(4);
    for _ in 0..rounds() {
        let len = rng.below(message::MAX_SIZE + 1);
        let bytes = rng.bytes(len);
        macro_rules! each {
            ($($name:ident)*) => { $(
                let parsed = message::parse::<message::$name>(&bytes);
                assert_eq!(parsed.is_ok(), len >= size_of::<message::$name>());
                if let Ok(parsed) = parsed {
                    assert!(bytes.starts_with(parsed.as_bytes()));
                }
            )* };
        }
        each!(Header Offer Rescind OpenResult GpadlCreated GpadlTorndown VersionResponse ModifyResponse);
        if let Ok(offer) = message::parse::<message::Offer>(&bytes) {
            let _ = offer.relid;
        }
    }
}
