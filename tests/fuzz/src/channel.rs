// SPDX-License-Identifier: GPL-2.0

//! A session of `kernel::vmbus` and its host.
//!
//! In every fourth session the host keeps the rules, and everything has to arrive as it was sent.
//! In the others it does not, and what is promised then is: nothing panics, nothing outside of the
//! rings is written, reading ends, and each request is taken out once.

use super::{
    ends::Consumer,
    inflight::Request,
    link::Link,
    raw::Raw,
    reader::{Incoming, Reader},
    ring::{Descriptor, Ring, Size, DESCRIPTOR, TRAILER},
    owed::Owed,
    writer::{Shape, Writer},
};
use crate::{
    alloc::KVVec,
    cpu::CpuId,
    io::{index, SysMem},
    page::PAGE_SIZE,
    prelude::*,
    random::{rounds, Rng},
    sync::{Arc, PinInit},
    vmap::{Pages, VMap},
};
use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;

/// Pages of data of a ring.
const DATA: usize = 2;
const BYTES: u32 = (DATA * PAGE_SIZE) as u32;
/// What the guest takes of a packet.
const BUFFER: usize = 2048;
/// Requests of a session.
const REQUESTS: usize = 8;

const DATA_INBAND: u16 = 6;
const TRANSFER_PAGES: u16 = 7;
const COMPLETION: u16 = 11;

/// Requests that are somewhere.
type Alive = std::sync::Arc<Mutex<HashSet<u64>>>;

struct Tracked(u64, Alive);

impl Tracked {
    fn new(number: u64, alive: &Alive) -> Self {
        assert!(alive.lock().unwrap().insert(number));
        Self(number, alive.clone())
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // Whoever was taken out twice is dropped twice.
        assert!(self.1.lock().unwrap().remove(&self.0), "request {} is dropped twice", self.0);
    }
}

impl Request for Tracked {
    fn cancelled(self) {}
}

fn mapping() -> VMap {
    let pages = Arc::new(Pages::new(1 + DATA, CpuId::current(), GFP_KERNEL).unwrap(), GFP_KERNEL);
    VMap::new(&pages.unwrap(), &[0..1 + DATA, 1..1 + DATA]).unwrap()
}

fn ring(memory: &VMap) -> Ring {
    // SAFETY: A control page is followed by the data, twice, and the session drops what uses the
    // ring before its memory.
    unsafe { Ring::new(memory.view().as_ptr().cast(), Size::new(BYTES).unwrap()) }
}

/// The host's end of a ring.
#[derive(Default)]
struct End {
    read: u32,
    write: u32,
}

/// The control page's words.
const WRITE: usize = 0;
const READ: usize = 4;
const MASK: usize = 8;
const PENDING: usize = 12;

struct Session {
    link: Link<Tracked>,
    consumer: Consumer,
    out: VMap,
    incoming: VMap,
    /// What the host has of them.
    host: [End; 2],
    honest: bool,
    alive: Alive,
    /// Requests that there ever were.
    requests: u64,
    /// Ids that the host has seen, and whether it has answered.
    asked: Vec<u64>,
    /// What the guest has to receive: kind, id, payload.
    sent: VecDeque<(u16, u64, Vec<u8>)>,
    /// What the host has to receive: kind, and what follows the descriptor.
    expected: VecDeque<(u16, Vec<u8>)>,
    owed: Vec<Owed>,
    next_id: u64,
}

impl Session {
    fn new(honest: bool) -> Self {
        let (out, incoming) = (mapping(), mapping());
        let writer = Writer::new(Raw, 1, REQUESTS).unwrap().make();
        let buffer = KVVec::from_elem(0, BUFFER, GFP_KERNEL).unwrap();
        let consumer = Consumer::new(ring(&incoming), buffer);
        // SAFETY: The ring lives longer than the writer.
        unsafe { writer.open(ring(&out)) };
        Self {
            link: Link::new(writer),
            consumer,
            out,
            incoming,
            host: Default::default(),
            honest,
            alive: Default::default(),
            requests: 0,
            asked: Vec::new(),
            sent: VecDeque::new(),
            expected: VecDeque::new(),
            owed: Vec::new(),
            next_id: 1,
        }
    }

    fn word(memory: &VMap, at: usize) -> SysMem<'_, u32> {
        index(memory.view(), at..at + 4).unwrap().try_cast().unwrap()
    }

    fn data(memory: &VMap, at: u32, len: usize) -> SysMem<'_, [u8]> {
        let start = PAGE_SIZE + at as usize;
        index(memory.view(), start..start + len).unwrap()
    }

    fn request(&mut self) -> Tracked {
        self.requests += 1;
        Tracked::new(self.requests, &self.alive)
    }

    /// The guest sends something.
    fn send(&mut self, rng: &mut Rng) {
        let len = rng.below(300);
        let payload = rng.bytes(len);
        let mut padded = payload.clone();
        padded.resize(len.next_multiple_of(8), 0);
        match rng.below(4) {
            0 => {
                if self.link.writer().send(&payload).is_ok() {
                    self.expected.push_back((DATA_INBAND, padded));
                }
            }
            1 => {
                let request = self.request();
                if self.link.writer().request(&payload, request).is_ok() {
                    self.expected.push_back((DATA_INBAND, padded));
                }
            }
            2 => self.send_ranges(rng, &payload),
            _ => {
                if let Some(owed) = self.owed.pop() {
                    match owed.complete(self.link.writer(), &payload, rng.one_in(2)) {
                        Ok(()) => self.expected.push_back((COMPLETION, padded)),
                        Err((_, owed)) => self.owed.push(owed),
                    }
                }
            }
        }
        if rng.one_in(4) {
            self.link.writer().flush();
        }
        assert!(!self.link.writer().has_free(100, &crate::sync::rcu::read_lock()));
    }

    fn send_ranges(&mut self, rng: &mut Rng, payload: &[u8]) {
        let ranges = rng.below(4);
        let shape = Shape { ranges, pages: rng.below(12), payload: payload.len() };
        let request = self.request();
        let Ok(mut packet) = self.link.writer().reserve(shape) else { return };
        let mut body = Vec::new();
        let mut count = 0u32;
        for _ in 0..rng.below(6) {
            let (offset, len) = (rng.below(4200) as u32, rng.below(9000) as u32);
            let pages = rng.below(4) as u64;
            let pfns: Vec<u64> = (0..pages).map(|_| rng.number()).collect();
            if packet.range(offset, len, pfns.iter().copied()).is_ok() {
                let taken = (u64::from(offset) + u64::from(len)).div_ceil(4096) as usize;
                body.extend(len.to_le_bytes());
                body.extend(offset.to_le_bytes());
                body.extend(pfns[..taken].iter().flat_map(|pfn| pfn.to_le_bytes()));
                count += 1;
            }
        }
        // No more than there was room for.
        assert!(body.len() <= 8 * (shape.ranges + shape.pages));
        if ranges > 0 {
            body.splice(..0, (u64::from(count) << 32).to_le_bytes());
        }
        for part in payload.chunks(100) {
            if packet.payload(part).is_ok() {
                body.extend(part);
            }
        }
        if rng.one_in(4) {
            // It was not sent.
            return;
        }
        packet.commit(request, rng.one_in(2));
        body.resize(body.len().next_multiple_of(8), 0);
        self.expected.push_back((if ranges == 0 { DATA_INBAND } else { 9 }, body));
    }

    /// The host reads what the guest has sent, and believes it only if it has spoilt nothing.
    fn host_reads(&mut self) {
        let write = Self::word(&self.out, WRITE).read_val();
        while self.host[0].read != write {
            let read = self.host[0].read;
            let mut bytes = [0; 16];
            Self::data(&self.out, read, 16).copy_to_slice(&mut bytes);
            let kind = u16::from_le_bytes([bytes[0], bytes[1]]);
            let offset = usize::from(u16::from_le_bytes([bytes[2], bytes[3]])) * 8;
            let len = usize::from(u16::from_le_bytes([bytes[4], bytes[5]])) * 8;
            let wants = bytes[6] & 1 != 0;
            if !self.honest && (offset < 16 || offset > len || len > BYTES as usize - 8) {
                // It has destroyed that itself.
                self.host[0].read = write % BYTES & !7;
                break;
            }
            assert!(offset >= 16 && offset <= len);
            let mut body = vec![0; len - 16];
            Self::data(&self.out, read + 16, body.len()).copy_to_slice(&mut body);
            if self.honest {
                assert_eq!(self.expected.pop_front(), Some((kind, body)));
            }
            if wants {
                self.asked.push(u64::from_le_bytes(bytes[8..].try_into().unwrap()));
            }
            self.host[0].read = (read + len as u32 + 8) % BYTES;
            if !self.honest && self.asked.len() > 100 {
                break;
            }
        }
        Self::word(&self.out, READ).write_val(self.host[0].read);
    }

    /// The host sends a packet that is one.
    fn host_sends(&mut self, rng: &mut Rng) {
        let answers = !self.asked.is_empty() && rng.one_in(2);
        let kind = if answers { COMPLETION } else { rng.of(&[DATA_INBAND, DATA_INBAND, TRANSFER_PAGES, 77]) };
        let (header, payload) = match kind {
            TRANSFER_PAGES => {
                let count = rng.below(5) as u32;
                let mut header = vec![0xab, 0xcd, 0, 0];
                header.extend(count.to_le_bytes());
                header.extend(rng.bytes(8 * count as usize));
                (header, rng.bytes(40))
            }
            _ => {
                let words = rng.below(80);
                (Vec::new(), rng.bytes(8 * words))
            }
        };
        let len = DESCRIPTOR + (header.len() + payload.len()) as u32;
        let read = Self::word(&self.incoming, READ).read_val();
        let write = self.host[1].write;
        let used = (write + BYTES - read % BYTES) % BYTES;
        if used + len + TRAILER >= BYTES {
            Self::word(&self.incoming, PENDING).write_val(len + TRAILER);
            return;
        }
        let id = if answers {
            let at = rng.below(self.asked.len());
            if self.honest || !rng.one_in(3) { self.asked.swap_remove(at) } else { self.asked[at] }
        } else {
            self.next_id += 1;
            self.next_id
        };
        let flags = if kind == DATA_INBAND && rng.one_in(2) { 1 } else { 0 };
        let descriptor = Descriptor { kind, flags, offset: DESCRIPTOR + header.len() as u32, len, id };
        let words = descriptor.to_words();
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.extend(header);
        bytes.extend(&payload);
        bytes.extend((u64::from(write) << 32).to_le_bytes());
        Self::data(&self.incoming, write, bytes.len()).copy_from_slice(&bytes);
        if self.honest {
            self.sent.push_back((kind, id, payload));
        }
        self.host[1].write = (write + len + TRAILER) % BYTES;
        Self::word(&self.incoming, WRITE).write_val(self.host[1].write);
    }

    /// The host breaks something.
    fn host_lies(&mut self, rng: &mut Rng) {
        let memory = if rng.one_in(4) { &self.out } else { &self.incoming };
        match rng.below(5) {
            0 => Self::word(memory, rng.of(&[WRITE, READ, MASK, PENDING])).write_val(rng.edge(BYTES)),
            1 => {
                let (at, len) = (rng.below(BYTES as usize) as u32, 1 + rng.below(64));
                Self::data(memory, at, len).copy_from_slice(&rng.bytes(len));
            }
            2 => {
                // The next packet's descriptor is another one.
                let read = Self::word(&self.incoming, READ).read_val() % BYTES & !7;
                let at = read + rng.of(&[0, 2, 4, 6, 8, 12]);
                let number = rng.edge(BYTES) / rng.of(&[1, 8]);
                Self::data(&self.incoming, at, 2).copy_from_slice(&number.to_le_bytes()[..2]);
            }
            3 => self.asked.push(rng.number() >> rng.of(&[0, 28, 32, 60])),
            _ => {
                self.host[1].write = rng.edge(BYTES) % BYTES & !7;
                Self::word(&self.incoming, WRITE).write_val(self.host[1].write);
            }
        }
    }

    /// The guest reads.
    fn receive(&mut self, rng: &mut Rng) {
        // A packet has at least 24 bytes, and nobody writes meanwhile: it looks twice at most.
        let mut left = 2 * BYTES / 24 + 2;
        let budget = if rng.one_in(3) { rng.below(5) as u32 } else { u32::MAX };
        let mut reader = Reader::new(&self.link, &mut self.consumer);
        for _ in 0..budget {
            assert!(left > 0, "reading does not end");
            left -= 1;
            let (kind, id, payload) = match reader.next() {
                Ok(Some(Incoming::Data { id, payload })) => (DATA_INBAND, id, payload),
                Ok(Some(Incoming::Owed { owed, payload })) => {
                    let id = owed.id();
                    if self.owed.len() < 100 {
                        self.owed.push(owed);
                    }
                    (DATA_INBAND, id, payload)
                }
                Ok(Some(Incoming::Completion { request, payload })) => {
                    drop(request);
                    (COMPLETION, 0, payload)
                }
                Ok(Some(Incoming::TransferPages { owed, pageset, ranges, payload })) => {
                    assert_eq!(ranges.iter().count(), ranges.len());
                    if self.honest {
                        assert_eq!(pageset, 0xcdab);
                    }
                    (TRANSFER_PAGES, owed.id(), payload)
                }
                Ok(Some(Incoming::Other { kind, id, payload })) => (kind, id, payload),
                Ok(None) => break,
                Err(_) => {
                    assert!(!self.honest && self.link.spoilt.get());
                    break;
                }
            };
            assert!(payload.len() <= BUFFER);
            if self.honest {
                let sent = self.sent.pop_front().unwrap();
                assert_eq!((kind, payload), (sent.0, &*sent.2));
                assert!(kind == COMPLETION || id == sent.1);
            }
        }
        if rng.one_in(2) {
            let _ = reader.finish();
        }
    }

    /// Everything is over.
    fn end(self) {
        if self.honest {
            assert_eq!(self.link.refused.get(), 0);
            assert!(!self.link.spoilt.get());
        }
        self.link.writer().shut();
        // SAFETY: Nobody reads or writes any more.
        unsafe { self.link.writer().table().drain(|request| request.cancelled()) };
        assert!(self.alive.lock().unwrap().is_empty(), "a request was lost");
        self.out.check();
        self.incoming.check();
    }
}

#[test]
fn sessions() {
    const STEPS: u64 = 50;

    for seed in 0..rounds() / STEPS {
        let rng = &mut Rng::new(seed);
        let mut session = Session::new(seed % 4 == 0);
        for _ in 0..STEPS {
            match rng.below(6) {
                0 | 1 => session.send(rng),
                2 => session.host_reads(),
                3 => session.host_sends(rng),
                4 if !session.honest => session.host_lies(rng),
                4 => session.host_sends(rng),
                _ => session.receive(rng),
            }
        }
        session.end();
    }
}
