// SPDX-License-Identifier: GPL-2.0

//! A million messages and packets of a guest that means no good, through the bus and all devices.
//!
//! Noise alone is refused at the door. Most of what is made here is right but for one thing, and
//! comes in a state that a real guest would have reached: channels are opened, handshakes done,
//! buffers shared, and then something is wrong.

use std::sync::{Arc, Mutex};

use zerocopy::IntoBytes;

use crate::bus::{Host, Transport, Version};
use crate::disk::{Address, Disk, DiskConfig, MemoryBacking};
use crate::fault::Rng;
use crate::heartbeat::Heartbeat;
use crate::hvsock::{service, ECHO_PORT};
use crate::memory::{GuestMemory, PAGE};
use crate::message::{self as msg, kind};
use crate::mock::{Memory, Wire};
use crate::netvsp::{Backend, NetConfig, Netvsp};
use crate::null::Null;
use crate::shutdown::Shutdown;
use crate::storvsp::Storvsp;
use crate::trace::Trace;

/// Messages and packets; a divisor makes the test fit for a slow machine.
const COUNT: u64 = 1_000_000;

/// Numbers of channels that are played with; each has 16 pages of rings.
const CHANNELS: u32 = 10;
const RING_PAGES: u32 = 16;
/// The second half begins here.
const HALF: u32 = 8;
/// Pages of data and of the network card's buffers.
const DATA: u64 = (CHANNELS as u64 + 1) * RING_PAGES as u64;
const DATA_PAGES: u64 = 256;
const PAGES: u64 = DATA + DATA_PAGES;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Wire>>);

impl Transport for Shared {
    fn try_post(&mut self, message: &[u8]) -> bool {
        let mut wire = self.0.lock().unwrap();
        wire.messages.clear();
        wire.try_post(message)
    }

    fn signal_guest(&mut self, vp: u32, flag: u32) {
        let mut wire = self.0.lock().unwrap();
        wire.signals.clear();
        wire.signal_guest(vp, flag);
    }

    fn connect(&mut self, _connection: u32) {}

    fn disconnect(&mut self, _connection: u32) {}
}

/// A network that sends back what it gets.
#[derive(Default)]
struct Loopback(Vec<Vec<u8>>);

impl Backend for Loopback {
    fn transmit(&mut self, packet: &[u8]) {
        if self.0.len() < 8 {
            self.0.push(packet.to_vec());
        }
    }

    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        let packet = self.0.pop()?;
        let n = packet.len().min(buf.len());
        buf[..n].copy_from_slice(&packet[..n]);
        Some(n)
    }

    fn coalesce(&mut self, _v4: bool, _v6: bool) {}
}

const SCSI: u32 = 3;
const NET: u32 = 4;
const SOCKET: u32 = 6;

struct Guest {
    host: Host,
    mem: Arc<Memory>,
    rng: Rng,
    /// Where the guest writes next in each channel's ring, if it thinks that it is open.
    rings: [Option<u32>; CHANNELS as usize + 1],
    /// Channels for which memory is shared.
    shared: [bool; CHANNELS as usize + 1],
    /// How far the handshake on the channel is.
    steps: [usize; CHANNELS as usize + 1],
    done: u64,
    /// Where the message is that the next packet is about, and how long it is.
    exact: Option<(u64, u32)>,
}

impl Guest {
    fn new(seed: u64) -> Self {
        let mem = Memory::new(PAGES as usize);
        let transport = Box::new(Shared::default());
        let mut host = Host::new(mem.clone(), transport, Trace::quiet(), Version::ALL[6]);
        let disk = DiskConfig::new(Address::lun(0), "S");
        let disk = Disk::new(Box::new(MemoryBacking::new(1 << 20)), disk);
        host.add("heartbeat", Box::new(Heartbeat::new()));
        host.add("shutdown", Box::new(Shutdown::new()));
        host.add("scsi0", Box::new(Storvsp::new(0, vec![disk])));
        host.add(
            "nic0",
            Box::new(Netvsp::new(
                NetConfig { rsc: true, ..NetConfig::default() },
                Box::<Loopback>::default(),
            )),
        );
        host.add("null0", Box::new(Null::new(0)));
        let (rings, shared, steps) = Default::default();
        let mut guest =
            Self { host, mem, rng: Rng::new(seed), rings, shared, steps, done: 0, exact: None };
        guest.connect();
        guest
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.rng.below(one_in) == 0
    }

    /// A number that is probably small, or at an edge.
    fn word(&mut self) -> u32 {
        match self.rng.below(8) {
            0 => self.rng.number() as u32,
            1 => u32::MAX - self.rng.below(4) as u32,
            2 => 1 << self.rng.below(32),
            3 => self.rng.below(PAGE as u64 * 2) as u32,
            _ => self.rng.below(CHANNELS as u64 + 2) as u32,
        }
    }

    fn post(&mut self, mut message: Vec<u8>) {
        if self.chance(40) && !message.is_empty() {
            let at = self.rng.below(message.len() as u64) as usize;
            message[at] = self.rng.number() as u8;
        }
        if self.chance(60) {
            message.truncate(self.rng.below(message.len() as u64 + 1) as usize);
        }
        self.host.guest_message(&message);
        self.done += 1;
    }

    fn connect(&mut self) {
        let contact = msg::InitiateContact {
            version: 6 << 16,
            target_vp: 0,
            target: [2, 0, 0, 0, 0, 0, 0, 0],
            monitor_pages: [0; 2],
        };
        self.host.guest_message(&msg::build(kind::INITIATE_CONTACT, &contact));
        self.host.guest_message(&msg::build(kind::REQUEST_OFFERS, &[0u8; 0]));
        (self.rings, self.shared, self.steps) = Default::default();
    }

    /// Shares pages; the range list is right, most of the time.
    fn gpadl(&mut self, relid: u32, gpadl: u32, first: u64, pages: u32) {
        let header =
            msg::GpadlHeader { relid, gpadl, range_bytes: (8 + pages * 8) as u16, range_count: 1 };
        let mut message = msg::build(kind::GPADL_HEADER, &header);
        message.extend((pages * PAGE as u32).to_le_bytes());
        message.extend(0u32.to_le_bytes());
        let pfns: Vec<u64> = (first..first + u64::from(pages)).collect();
        let (now, later) = pfns.split_at(pfns.len().min(26));
        message.extend(now.as_bytes());
        self.post(message);
        for (number, pfns) in (0..).zip(later.chunks(28)) {
            let mut message = msg::build(kind::GPADL_BODY, &msg::GpadlBody { number, gpadl });
            message.extend(pfns.as_bytes());
            self.post(message);
        }
    }

    /// Closes a channel and opens it as a driver does.
    fn open(&mut self, relid: u32) {
        let first = u64::from(relid * RING_PAGES);
        if std::mem::replace(&mut self.shared[relid as usize], true) {
            self.post(msg::build(kind::CLOSE_CHANNEL, &msg::Relid { relid }));
            for gpadl in [100 + relid, 200 + relid] {
                self.post(msg::build(kind::GPADL_TEARDOWN, &msg::GpadlTeardown { relid, gpadl }));
            }
        }
        for page in [first, first + u64::from(HALF)] {
            self.mem.write(page * PAGE as u64, &[0; 64]).unwrap();
        }
        self.gpadl(relid, 100 + relid, first, RING_PAGES);
        self.gpadl(relid, 200 + relid, DATA, 64);
        let gpadl = 100 + relid;
        let user = [0; msg::USER_BYTES];
        let open = msg::OpenChannel {
            relid,
            open_id: relid,
            gpadl,
            target_vp: 0,
            second_ring_page: HALF,
            user,
        };
        self.post(msg::build(kind::OPEN_CHANNEL, &open));
        self.rings[relid as usize] = Some(0);
        self.steps[relid as usize] = 0;
    }

    fn any_message(&mut self) {
        let number = self.rng.below(27) as u32;
        let number = match number {
            // These end everything: seldom.
            kind::INITIATE_CONTACT | kind::UNLOAD if !self.chance(500) => kind::OPEN_CHANNEL,
            number => number,
        };
        let mut message = u64::from(number).to_le_bytes().to_vec();
        if number == kind::TL_CONNECT_REQUEST {
            message.extend(service(self.word()).0);
            message.extend(service(ECHO_PORT).0);
            return self.post(message);
        }
        for _ in 0..self.rng.below(57) {
            message.extend(self.word().to_le_bytes());
        }
        message.truncate(msg::MAX_PAYLOAD);
        self.post(message);
        if matches!(number, kind::INITIATE_CONTACT | kind::UNLOAD) {
            self.connect();
        }
    }

    /// Puts bytes into a channel's ring as they are.
    fn put(&mut self, relid: u32, packet: &[u8]) {
        const SIZE: usize = (HALF as usize - 1) * PAGE;
        let Some(write) = self.rings[relid as usize] else { return };
        let base = u64::from(relid * RING_PAGES) * PAGE as u64;
        let start = write as usize;
        for (n, piece) in packet.chunks(8).enumerate() {
            let at = (start + n * 8) % SIZE;
            self.mem.write(base + (PAGE + at) as u64, piece).unwrap();
        }
        let mut index = ((start + packet.len()) % SIZE) as u32;
        self.rings[relid as usize] = Some(index);
        if self.chance(200) {
            index = self.word();
        }
        self.mem.store(base, index).unwrap();
        // The guest takes everything that comes, or it takes nothing for a while.
        if !self.chance(4) {
            let other = base + u64::from(HALF) * PAGE as u64;
            let there = self.mem.load(other).unwrap();
            let read = if self.chance(200) { self.word() } else { there };
            self.mem.store(other + 4, read).unwrap();
        }
        self.host.guest_signal(crate::bus::signal_connection(relid));
        for _ in 0..4 {
            self.host.serve();
        }
        if self.mem.load(base + 4).unwrap() != self.rings[relid as usize].unwrap_or(0) {
            // Not read: the channel is dead, or was never open.
            self.rings[relid as usize] = None;
        }
        self.done += 1;
    }

    fn packet(&mut self, relid: u32) {
        let (mut kind, data) = match relid {
            SCSI => self.storage(),
            NET => self.network(),
            SOCKET => (6, self.stream()),
            _ => (6, (0..self.rng.below(64)).map(|_| self.rng.number() as u8).collect()),
        };
        if self.chance(50) {
            kind = self.rng.below(16) as u16;
        }
        let mut descriptor = Vec::new();
        if kind == 9 || kind == 7 {
            let exact = self.exact.take().filter(|_| !self.chance(10));
            let count = match exact {
                Some(_) => 1,
                None if self.chance(20) => self.word(),
                None => 1 + self.rng.below(3) as u32,
            };
            descriptor.extend([0, 0, 0, 0]);
            descriptor.extend(count.to_le_bytes());
            for _ in 0..count.min(8) {
                if let Some((page, len)) = exact {
                    descriptor.extend(u64::from(len).to_le_bytes());
                    descriptor.extend(page.to_le_bytes());
                    break;
                }
                let offset = if self.chance(3) { self.word() % PAGE as u32 } else { 0 };
                let len = self.rng.below(3 * PAGE as u64) as u32;
                descriptor.extend(len.to_le_bytes());
                descriptor.extend(offset.to_le_bytes());
                for _ in 0..(offset + len).div_ceil(PAGE as u32) {
                    let pfn = match self.rng.below(300) {
                        0 => self.rng.number(),
                        1 => PAGES,
                        n => DATA + n % DATA_PAGES,
                    };
                    descriptor.extend(pfn.to_le_bytes());
                }
            }
        }
        let offset = 16 + descriptor.len();
        let len = (offset + data.len()).next_multiple_of(8);
        let id = if self.chance(10) { self.rng.number() } else { self.rng.below(64) };
        let mut packet = Vec::with_capacity(len + 8);
        for field in [kind, (offset / 8) as u16, (len / 8) as u16, u16::from(!self.chance(5))] {
            packet.extend(field.to_le_bytes());
        }
        packet.extend(id.to_le_bytes());
        packet.extend(descriptor);
        packet.extend(data);
        packet.resize(len + 8, 0);
        for _ in 0..[1, 4, 0][self.rng.below(32).min(2) as usize] {
            // The descriptor is worth more than the rest.
            let end = if self.chance(20) { 16 } else { packet.len() as u64 };
            let at = self.rng.below(end) as usize;
            packet[at] = self.rng.number() as u8;
        }
        self.put(relid, &packet);
    }

    /// The handshake's next step, or a command for the disk.
    fn storage(&mut self) -> (u16, Vec<u8>) {
        let step = self.steps[SCSI as usize];
        self.steps[SCSI as usize] += 1;
        let mut message = vec![0; 64];
        message[4] = 1;
        let operation = match step {
            0 => 7,
            1 => {
                (message[12], message[13]) = (0, 6);
                9
            }
            2 => 10,
            3 => 8,
            _ if self.chance(10) => self.rng.below(16) as u8,
            _ => 3,
        };
        message[0] = operation;
        if operation != 3 {
            return (6, message);
        }
        const CODES: [u8; 24] = [
            0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x1b, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41, 0x42,
            0x5a, 0x88, 0x8a, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa3, 0xff,
        ];
        let srb = &mut message[12..];
        srb[0] = 52;
        srb[7] = (self.rng.below(8) / 7) as u8;
        srb[8] = if self.rng.below(20) == 0 { self.rng.number() as u8 } else { 16 };
        srb[9] = if self.rng.below(20) == 0 { self.rng.number() as u8 } else { 20 };
        srb[10] = [0, 1, 1, 1, 2, 2, 2, 3][self.rng.below(8) as usize];
        let len = match self.rng.below(4) {
            0 => self.rng.below(2 * PAGE as u64) as u32,
            n => (n * 512) as u32,
        };
        self.exact = Some((DATA + 64 + self.rng.below(64), len));
        srb[12..16].copy_from_slice(&len.to_le_bytes());
        srb[16] = CODES[self.rng.below(CODES.len() as u64) as usize];
        for byte in &mut srb[17..32] {
            *byte = if self.rng.below(4) == 0 { self.rng.number() as u8 } else { 0 };
        }
        (if self.chance(20) { 6 } else { 9 }, message)
    }

    /// The handshake's next step, or an RNDIS message in a range, a section or the packet.
    fn network(&mut self) -> (u16, Vec<u8>) {
        let step = self.steps[NET as usize];
        self.steps[NET as usize] += 1;
        let words: Vec<u32> = match step {
            0 => vec![1, 0x6_0001, 0x6_0001],
            1 => vec![125, 1500, 0, 0xff, 0],
            2 => vec![100, 6, 30],
            3 => vec![101, 200 + NET, 0xcafe],
            4 => vec![104, 200 + NET, 0],
            // INITIALIZE, and SET of the packet filter: then frames may pass.
            5 => self.range_message(&[2, 24, 1, 1, 0, 0x4000], 1),
            6 => self.range_message(&[5, 32, 2, 0x0001_010e, 4, 20, 0, 0xb], 1),
            _ if self.chance(2) => self.frame(),
            _ if self.chance(20) => {
                let first = [1, 100, 101, 102, 103, 104, 106, 107, 108, 125, 133, 134, 135];
                let mut words = vec![first[self.rng.below(first.len() as u64) as usize]];
                words.extend((0..8).map(|_| self.word()));
                words
            }
            _ => {
                self.rndis();
                let section = if self.chance(2) { u32::MAX } else { self.word() };
                let size = self.rng.below(600) as u32;
                vec![107, self.rng.below(2) as u32, section, size]
            }
        };
        let mut message: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        message.resize(40, 0);
        (if words[0] == 107 && words[2] == u32::MAX { 9 } else { 6 }, message)
    }

    /// Writes words to a page and makes the next packet be about them.
    fn range_message(&mut self, words: &[u32], channel: u32) -> Vec<u32> {
        let page = DATA + 64 + self.rng.below(DATA_PAGES - 64);
        self.mem.write(page * PAGE as u64, words.as_bytes()).unwrap();
        self.exact = Some((page, words.len() as u32 * 4));
        vec![107, channel, u32::MAX, 0]
    }

    /// A frame as a driver sends it, but for a word or two.
    fn frame(&mut self) -> Vec<u32> {
        let payload = 15 + self.rng.below(200) as u32;
        let info = 16 * self.rng.below(3) as u32;
        let mut words =
            vec![1, 44 + info + payload * 4, 36 + info, payload * 4, 0, 0, 0, 36, info, 0, 0];
        for _ in 0..info / 16 {
            words.extend([16, self.rng.below(12) as u32, 12, self.word()]);
        }
        words.extend((0..payload).map(|_| self.rng.number() as u32));
        // An Ethernet and an IP header, so that offloads have something to look at.
        let at = 11 + info as usize / 4;
        words[at..at + 5].copy_from_slice(&[0x5d15_0000, 0x0001, 0x5d15, 0x0045_0008, 0x0640]);
        for _ in 0..[0, 0, 1, 2][self.rng.below(4) as usize] {
            let at = self.rng.below(20) as usize;
            words[at] = self.word();
        }
        self.range_message(&words, 0)
    }

    /// Writes RNDIS messages all over the data pages.
    fn rndis(&mut self) {
        let types = [1, 1, 1, 2, 3, 4, 5, 6, 8, 0x8000_0002];
        let mut words = vec![types[self.rng.below(types.len() as u64) as usize]];
        let len = if self.chance(4) { self.word() } else { 44 + self.rng.below(300) as u32 };
        words.push(len);
        // A packet's data offset and length, info offset and length; or a request.
        words.extend([36, len.wrapping_sub(44 + 16), 0, 0, 0, 36, 16, 0, 0]);
        for word in &mut words[2..] {
            if self.rng.below(6) == 0 {
                *word = self.rng.below(64) as u32;
            }
        }
        // Per-packet information: size, type, offset, value.
        words.extend([16, self.rng.below(16) as u32, 12, self.word()]);
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend((0..64).map(|_| self.rng.number() as u8));
        let page = DATA + self.rng.below(DATA_PAGES);
        self.mem.write(page * PAGE as u64, &bytes).unwrap();
    }

    fn stream(&mut self) -> Vec<u8> {
        let n = self.rng.below(100) as u32;
        let len = if self.chance(20) { self.word() } else { n };
        let mut data = 1u32.to_le_bytes().to_vec();
        data.extend(len.to_le_bytes());
        data.resize(8 + n as usize, 7);
        data
    }

    fn act(&mut self) {
        match self.rng.below(100) {
            0..5 => self.any_message(),
            // Seldom: it is the end of a state that took many steps.
            10 if self.chance(10) => {
                let relid = 1 + self.rng.below(u64::from(CHANNELS)) as u32;
                self.open(relid);
            }
            11 => self.host.tick(self.done),
            12 => self.host.advance(self.done),
            13 => self.host.backend(3),
            _ => {
                let relid = match self.rng.below(32) {
                    n @ (1 | 2 | 5) => n as u32,
                    3..10 => SOCKET,
                    10..18 => SCSI,
                    _ => NET,
                };
                if self.rings[relid as usize].is_none() {
                    self.open(relid);
                }
                self.packet(relid);
            }
        }
    }
}

#[test]
fn a_million_from_a_hostile_guest() {
    let mut violations = 0;
    let mut reached = std::collections::BTreeMap::new();
    let seeds = if std::env::var_os("SOAK").is_some_and(|soak| !soak.is_empty() && soak != "0") {
        100
    } else {
        10
    };
    for seed in 0..seeds {
        let mut guest = Guest::new(seed);
        let mut seen = 0;
        while guest.done < COUNT / 10 {
            guest.act();
            // A broken rule ends a channel: another one.
            let now = guest.host.trace.counter("violations");
            if now > seen + 500 {
                seen = now;
                guest.connect();
            }
        }
        violations += guest.host.trace.counter("violations");
        for (name, n) in guest.host.trace.counters() {
            *reached.entry(name.clone()).or_insert(0) += n;
        }
        // The host is as good as new for a guest that behaves.
        guest.connect();
        assert_eq!(guest.host.command("heartbeat").unwrap(), "0");
    }
    // What was made got in, and not all of it: else this would be a test of the first check only.
    assert!(violations > COUNT / 200, "{violations} violations");
    for counter in ["scsi0.packets", "nic0.packets", "nic0.tx_packets", "socket0.packets"] {
        assert!(reached.get(counter).is_some_and(|n| *n > 1000), "{counter}: {reached:#?}");
    }
}
