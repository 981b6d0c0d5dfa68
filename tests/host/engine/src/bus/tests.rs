// SPDX-License-Identifier: GPL-2.0

//! The server against a guest that is written out message by message.

use std::sync::{Arc, Mutex};

use zerocopy::{Immutable, IntoBytes};

use super::*;
use crate::guid::Guid;
use crate::memory::PAGE;
use crate::mock::{Memory, Wire};
use crate::ring::{Packet, PacketKind};

mod faults;
mod forge;
mod sockets;
mod sub_channels;

const INTERFACE: Guid = Guid::new("11111111-2222-3333-4444-555555555555");

/// Sends each packet's data back.
struct Echo(Guid);

impl Device for Echo {
    fn offer(&self) -> crate::device::Offer {
        crate::device::Offer::new(INTERFACE, self.0)
    }

    fn packet(&mut self, io: &mut Io<'_>, channel: usize, packet: Packet) -> Result<(), Violation> {
        io.complete(channel, packet.transaction_id, &packet.data);
        Ok(())
    }
}

/// The mock transport, reachable from outside while the host owns it.
#[derive(Clone, Default)]
struct SharedWire(Arc<Mutex<Wire>>);

impl Transport for SharedWire {
    fn try_post(&mut self, message: &[u8]) -> bool {
        self.0.lock().unwrap().try_post(message)
    }

    fn signal_guest(&mut self, vp: u32, flag: u32) {
        self.0.lock().unwrap().signal_guest(vp, flag);
    }

    fn refuse_posts(&mut self, status: u16, count: u32) {
        self.0.lock().unwrap().refuse_posts(status, count);
    }

    fn connect(&mut self, connection: u32) {
        self.0.lock().unwrap().connect(connection);
    }

    fn disconnect(&mut self, connection: u32) {
        self.0.lock().unwrap().disconnect(connection);
    }
}

struct Guest {
    host: Host,
    wire: SharedWire,
    mem: Arc<Memory>,
}

const V6: Version = Version::new(6, 0);

impl Guest {
    fn new(max: Version) -> Self {
        let (mem, wire) = (Memory::new(256), SharedWire::default());
        let host = Host::new(mem.clone(), Box::new(wire.clone()), Trace::quiet(), max);
        let mut guest = Self { host, wire, mem };
        for (name, n) in [("one", 1), ("two", 2)] {
            guest.host.add(name, Box::new(Echo(Guid([n; 16]))));
        }
        guest
    }

    fn post(&mut self, kind: u32, body: &(impl IntoBytes + Immutable)) {
        self.host.guest_message(&msg::build(kind, body));
    }

    /// The messages that came since the last call.
    fn messages(&self) -> Vec<(u32, Vec<u8>)> {
        let messages = std::mem::take(&mut self.wire.0.lock().unwrap().messages);
        messages
            .iter()
            .map(|m| msg::parse(m).map(|(kind, body)| (kind, body.to_vec())).unwrap())
            .collect()
    }

    fn kinds(&self) -> Vec<u32> {
        self.messages().into_iter().map(|(kind, _)| kind).collect()
    }

    fn contact(&mut self, version: Version) -> bool {
        let contact = msg::InitiateContact {
            version: version.0,
            target_vp: 0,
            target: [2, 0, 0, 0, 0, 0, 0, 0],
            monitor_pages: [0; 2],
        };
        self.post(kind::INITIATE_CONTACT, &contact);
        let messages = self.messages();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].0, kind::VERSION_RESPONSE);
        messages[0].1[0] != 0
    }

    fn connected() -> Self {
        let mut guest = Self::new(V6);
        assert!(guest.contact(V6));
        guest.post(kind::REQUEST_OFFERS, &[0u8; 0]);
        let offers = [kind::OFFER_CHANNEL, kind::OFFER_CHANNEL, kind::ALL_OFFERS_DELIVERED];
        assert_eq!(guest.kinds(), offers);
        guest
    }

    /// Shares `pages` pages from page `first` on, header and bodies; returns the status.
    fn gpadl(&mut self, relid: u32, gpadl: u32, first: u64, pages: u32) -> Option<u32> {
        const IN_HEADER: usize = 26;
        const IN_BODY: usize = 28;
        let pfns: Vec<u64> = (first..first + u64::from(pages)).collect();
        let range_bytes = (8 + pfns.len() * 8) as u16;
        let header = msg::GpadlHeader { relid, gpadl, range_bytes, range_count: 1 };
        let (now, later) = pfns.split_at(pfns.len().min(IN_HEADER));
        let mut message = msg::build(kind::GPADL_HEADER, &header);
        message.extend((pages * PAGE as u32).to_le_bytes());
        message.extend(0u32.to_le_bytes());
        message.extend(now.as_bytes());
        self.host.guest_message(&message);
        for (number, pfns) in (0..).zip(later.chunks(IN_BODY)) {
            let mut message = msg::build(kind::GPADL_BODY, &msg::GpadlBody { number, gpadl });
            message.extend(pfns.as_bytes());
            self.host.guest_message(&message);
        }
        let (kind, body) = self.messages().pop()?;
        assert_eq!(kind, kind::GPADL_CREATED);
        Some(get::<msg::GpadlCreated>(&body).unwrap().status)
    }

    fn open(&mut self, relid: u32, gpadl: u32, second_ring_page: u32) -> Option<u32> {
        let user = [0; msg::USER_BYTES];
        let open =
            msg::OpenChannel { relid, open_id: relid, gpadl, target_vp: 0, second_ring_page, user };
        self.post(kind::OPEN_CHANNEL, &open);
        let (kind, body) = self.messages().pop()?;
        assert_eq!(kind, kind::OPEN_RESULT);
        Some(get::<msg::OpenResult>(&body).unwrap().status)
    }

    fn violations(&self) -> u64 {
        self.host.trace.counter("violations")
    }
}

#[test]
fn versions() {
    for max in Version::ALL {
        let mut guest = Guest::new(max);
        for version in Version::ALL {
            assert_eq!(guest.contact(version), version <= max, "{version} with {max}");
        }
        assert!(!guest.contact(Version(0x0003_0000)), "3.0 is too old");
        assert!(!guest.contact(Version(0x0005_0009)), "5.9 does not exist");
    }
}

#[test]
fn posts_need_a_connection_of_the_version() {
    assert_eq!(post_status(V6, 4, 40), 0);
    assert_eq!(post_status(V6, 1, 240), 0);
    assert_ne!(post_status(V6, 1, 241), 0);
    assert_eq!(post_status(Version::new(4, 1), 4, 40), HV_STATUS_INVALID_CONNECTION_ID);
    assert_eq!(post_status(V6, 0x80_0074, 40), HV_STATUS_INVALID_CONNECTION_ID);
}

#[test]
fn nothing_without_a_connection() {
    let mut guest = Guest::new(V6);
    guest.post(kind::REQUEST_OFFERS, &[0u8; 0]);
    assert!(guest.kinds().is_empty());
    assert_eq!(guest.violations(), 1);
    guest.post(kind::UNLOAD, &[0u8; 0]);
    assert_eq!(guest.kinds(), [kind::UNLOAD_COMPLETE]);
}

#[test]
fn a_large_gpadl_comes_in_pieces() {
    let mut guest = Guest::connected();
    assert_eq!(guest.gpadl(1, 7, 0, 200), Some(STATUS_SUCCESS));
    assert_eq!(guest.gpadl(1, 7, 0, 4), Some(GPADL_REFUSED), "the number is taken");
    assert_eq!(guest.gpadl(1, 8, 250, 10), Some(STATUS_INVALID_PARAMETER), "not all of it is RAM");
    assert_eq!(guest.gpadl(9, 9, 0, 1), None, "no such channel");
    guest.post(kind::GPADL_TEARDOWN, &msg::GpadlTeardown { relid: 1, gpadl: 7 });
    assert_eq!(guest.kinds(), [kind::GPADL_TORNDOWN]);
    guest.post(kind::GPADL_TEARDOWN, &msg::GpadlTeardown { relid: 1, gpadl: 7 });
    assert!(guest.kinds().is_empty());
}

#[test]
fn a_channel_carries_packets_between_open_and_close() {
    let mut guest = Guest::connected();
    assert_eq!(guest.open(1, 7, 4), Some(STATUS_UNSUCCESSFUL), "no GPADL");
    assert_eq!(guest.gpadl(1, 7, 0, 8), Some(STATUS_SUCCESS));
    assert_eq!(guest.open(1, 7, 7), Some(STATUS_UNSUCCESSFUL), "no room for the second ring");
    assert_eq!(guest.open(1, 7, 4), Some(STATUS_SUCCESS));
    assert_eq!(guest.open(1, 7, 4), None, "open already");
    assert_eq!(guest.wire.0.lock().unwrap().connections, [0x2001]);

    let pfns = (0..8).collect();
    let memory = PageRange { offset: 0, len: 8 * PAGE as u32, pfns };
    let mut rings = RingPair::guest_end(&memory, 4, &*guest.mem);
    rings.guest_send(&*guest.mem, PacketKind::InBand, 5, true, &[], b"12345678");
    guest.host.guest_signal(0x2001);
    while guest.host.serve() {}
    assert_eq!(guest.wire.0.lock().unwrap().signals, [(0, 1)]);
    let answer = rings.receive(&*guest.mem).unwrap().unwrap();
    assert_eq!((answer.kind, answer.transaction_id), (PacketKind::Completion, 5));
    assert_eq!(answer.data, b"12345678");

    guest.post(kind::CLOSE_CHANNEL, &msg::Relid { relid: 1 });
    assert!(guest.wire.0.lock().unwrap().connections.is_empty());
    let before = guest.violations();
    guest.post(kind::CLOSE_CHANNEL, &msg::Relid { relid: 1 });
    assert_eq!(guest.violations(), before + 1);
    assert_eq!(guest.open(1, 7, 4), Some(STATUS_SUCCESS), "again, over the same memory");
}

#[test]
fn a_bad_index_ends_the_channel_and_nothing_else() {
    let mut guest = Guest::connected();
    for relid in [1, 2] {
        assert_eq!(guest.gpadl(relid, relid, u64::from(relid) * 8, 8), Some(STATUS_SUCCESS));
        assert_eq!(guest.open(relid, relid, 4), Some(STATUS_SUCCESS));
    }
    for index in [0xffff_fff8, 4, 3 * PAGE as u32] {
        guest.mem.store(8 * PAGE as u64, index).unwrap();
        guest.host.guest_signal(0x2001);
        while guest.host.serve() {}
        assert_eq!(guest.violations(), 1, "dead after the first");
    }
    let memory = PageRange { offset: 0, len: 8 * PAGE as u32, pfns: (16..24).collect() };
    let mut rings = RingPair::guest_end(&memory, 4, &*guest.mem);
    rings.guest_send(&*guest.mem, PacketKind::InBand, 6, true, &[], b"alive...");
    guest.host.guest_signal(0x2002);
    while guest.host.serve() {}
    assert!(rings.receive(&*guest.mem).unwrap().is_some());
}

#[test]
fn a_rescind_ends_all_access() {
    let mut guest = Guest::connected();
    assert_eq!(guest.gpadl(1, 7, 0, 8), Some(STATUS_SUCCESS));
    assert_eq!(guest.open(1, 7, 4), Some(STATUS_SUCCESS));
    guest.host.command("rescind one").unwrap();
    // The memory belongs to somebody else now.
    (0..8).for_each(|page| guest.mem.write(page * PAGE as u64, &[0x5a; PAGE]).unwrap());
    guest.host.guest_signal(0x2001);
    while guest.host.serve() {}
    let mut page = [0; PAGE];
    for n in 0..8 {
        guest.mem.read(n * PAGE as u64, &mut page).unwrap();
        assert_eq!(page, [0x5a; PAGE], "page {n}");
    }
    guest.messages();
    guest.post(kind::CLOSE_CHANNEL, &msg::Relid { relid: 1 });
    guest.post(kind::GPADL_TEARDOWN, &msg::GpadlTeardown { relid: 1, gpadl: 7 });
    assert_eq!(guest.kinds(), [kind::GPADL_TORNDOWN]);
    assert_eq!(guest.violations(), 0);
}

#[test]
fn rescind_release_offer() {
    let mut guest = Guest::connected();
    guest.host.command("rescind one").unwrap();
    assert_eq!(guest.kinds(), [kind::RESCIND_CHANNEL_OFFER]);
    assert!(guest.host.command("rescind one").is_err(), "it is leaving");
    assert_eq!(guest.gpadl(1, 7, 0, 8), Some(STATUS_SUCCESS));
    assert_eq!(guest.open(1, 7, 4), None, "no answer on a rescinded channel");
    guest.host.command("offer one").unwrap();
    assert!(guest.kinds().is_empty(), "not before the guest has let go");
    guest.post(kind::RELID_RELEASED, &msg::Relid { relid: 1 });
    assert_eq!(guest.kinds(), [kind::OFFER_CHANNEL]);
    assert_eq!(guest.open(1, 7, 4), Some(STATUS_UNSUCCESSFUL), "the old GPADL is gone");
    guest.post(kind::RELID_RELEASED, &msg::Relid { relid: 1 });
    assert_eq!(
        guest.host.command("nothing").unwrap_err().split(':').next(),
        Some("no device or command nothing")
    );
}

#[test]
fn counters_since_a_mark() {
    let mut guest = Guest::connected();
    let mut ask = |line: &str| guest.host.command(line).unwrap();
    assert_eq!([ask("counter contacts"), ask("counter unloads")], ["1", "0"]);
    assert_eq!(ask("mark"), "");
    assert_eq!([ask("counter contacts"), ask("counter contacts ever")], ["0", "1"]);
}

#[test]
fn a_full_slot_holds_the_guest_up() {
    let mut guest = Guest::new(V6);
    assert!(guest.contact(V6));
    guest.wire.0.lock().unwrap().slot_full = true;
    guest.post(kind::REQUEST_OFFERS, &[0u8; 0]);
    guest.post(kind::UNLOAD, &[0u8; 0]);
    assert!(guest.host.messages_waiting() && guest.kinds().is_empty());
    guest.wire.0.lock().unwrap().slot_full = false;
    guest.host.message_slot_free();
    let offers = [kind::OFFER_CHANNEL, kind::OFFER_CHANNEL, kind::ALL_OFFERS_DELIVERED];
    assert_eq!(guest.kinds(), [&offers[..], &[kind::UNLOAD_COMPLETE]].concat());
}

#[test]
fn unload_and_a_new_start_forget_everything() {
    for kind in [kind::UNLOAD, kind::INITIATE_CONTACT] {
        let mut guest = Guest::connected();
        assert_eq!(guest.gpadl(2, 7, 0, 8), Some(STATUS_SUCCESS));
        assert_eq!(guest.open(2, 7, 4), Some(STATUS_SUCCESS));
        if kind == kind::UNLOAD {
            guest.post(kind, &[0u8; 0]);
            assert_eq!(guest.kinds(), [kind::UNLOAD_COMPLETE]);
        }
        assert!(guest.contact(Version::new(5, 3)));
        assert!(guest.wire.0.lock().unwrap().connections.is_empty());
        guest.post(kind::REQUEST_OFFERS, &[0u8; 0]);
        assert_eq!(guest.kinds().len(), 3, "all is offered again");
        assert_eq!(guest.gpadl(2, 7, 0, 8), Some(STATUS_SUCCESS), "the number is free");
    }
}

#[test]
fn modify_is_answered_from_5_3_on() {
    for (version, answers) in [(Version::new(5, 2), 0), (Version::new(5, 3), 1)] {
        let mut guest = Guest::new(V6);
        assert!(guest.contact(version));
        guest.post(kind::REQUEST_OFFERS, &[0u8; 0]);
        guest.messages();
        assert_eq!(guest.gpadl(1, 7, 0, 8), Some(STATUS_SUCCESS));
        assert_eq!(guest.open(1, 7, 4), Some(STATUS_SUCCESS));
        guest.post(kind::MODIFY_CHANNEL, &msg::ModifyChannel { relid: 1, target_vp: 1 });
        assert_eq!(guest.kinds().len(), answers, "{version}");
    }
}

#[test]
fn noise_does_not_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut guest = Guest::connected();
    for _ in 0..50_000 {
        let len = (next() % 241) as usize;
        let mut message: Vec<u8> = (0..len).map(|_| next() as u8).collect();
        // Mostly known numbers and small fields, so that handlers are reached.
        if len >= 16 && next() % 8 != 0 {
            message[..8].copy_from_slice(&(next() % 26).to_le_bytes());
            for word in message[8..16].chunks_exact_mut(4) {
                word.copy_from_slice(&((next() % 8) as u32).to_le_bytes());
            }
        }
        guest.host.guest_message(&message);
        guest.messages();
    }
    assert!(guest.contact(V6));
}
