// SPDX-License-Identifier: GPL-2.0

//! Connections of Hyper-V sockets, and the monitor page.

use super::*;
use crate::hvsock::{port, service, ECHO_PORT};

/// The guest's end of a connection: channel 3 on pages 24 to 31.
struct Stream {
    guest: Guest,
    rings: RingPair,
    relid: u32,
}

impl Stream {
    fn open(mut guest: Guest, relid: u32) -> Self {
        (24..32).for_each(|n| guest.mem.write(n * PAGE as u64, &[0; PAGE]).unwrap());
        assert_eq!(guest.gpadl(relid, relid, 24, 8), Some(STATUS_SUCCESS));
        assert_eq!(guest.open(relid, relid, 4), Some(STATUS_SUCCESS));
        let memory = PageRange { offset: 0, len: 8 * PAGE as u32, pfns: (24..32).collect() };
        let rings = RingPair::guest_end(&memory, 4, &*guest.mem);
        while guest.host.serve() {}
        Self { guest, rings, relid }
    }

    fn send(&mut self, data: &[u8]) {
        let packet = [&1u32.to_le_bytes(), &(data.len() as u32).to_le_bytes(), data].concat();
        self.rings.guest_send(&*self.guest.mem, PacketKind::InBand, 0, false, &[], &packet);
        self.kick();
    }

    fn kick(&mut self) {
        self.guest.host.guest_signal(signal_connection(self.relid));
        while self.guest.host.serve() {}
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let packet = self.rings.receive(&*self.guest.mem).unwrap()?;
        assert_eq!(packet.data[..4], 1u32.to_le_bytes());
        let len = u32::from_le_bytes(packet.data[4..8].try_into().unwrap()) as usize;
        Some(packet.data[8..8 + len].to_vec())
    }

    /// After the ends of both streams the channel goes.
    fn goes(&mut self) {
        assert!(self.guest.kinds().is_empty());
        self.guest.host.tick(1000);
        assert_eq!(self.guest.kinds(), [kind::RESCIND_CHANNEL_OFFER]);
        self.guest.post(kind::RELID_RELEASED, &msg::Relid { relid: self.relid });
        assert!(self.guest.kinds().is_empty(), "and does not come again");
        assert_eq!(self.guest.violations(), 0);
    }
}

fn connect(guest: &mut Guest, from: u32, to: Guid) -> Vec<(u32, Vec<u8>)> {
    let request = msg::TlConnectRequest { endpoint: service(from), service: to };
    guest.post(kind::TL_CONNECT_REQUEST, &request);
    guest.messages()
}

fn offer_of(messages: &[(u32, Vec<u8>)]) -> msg::OfferChannel {
    assert_eq!(messages[0].0, kind::OFFER_CHANNEL);
    get(&messages[0].1).unwrap()
}

#[test]
fn ports_are_guids() {
    assert_eq!(service(5000).to_string(), "00001388-facb-11e6-bd58-64006a7986d3");
    assert_eq!(port(&service(0xffff_fffe)), Some(0xffff_fffe));
    assert_eq!(port(&INTERFACE), None);
}

#[test]
fn the_guest_connects_and_hears_itself() {
    let mut guest = Guest::connected();
    for round in 0..2 {
        let offer = offer_of(&connect(&mut guest, 1025, service(ECHO_PORT)));
        assert_eq!((offer.interface, offer.instance), (service(ECHO_PORT), service(1025)));
        assert_eq!({ offer.flags } & 0x2000, 0x2000);
        assert_eq!(offer.user[..5], [0; 5]);
        let mut stream = Stream::open(guest, offer.relid);
        for n in 0..100u8 {
            stream.send(&[n; 1000]);
            assert_eq!(stream.receive().unwrap(), [n; 1000], "{round}");
        }
        // More than the ring holds, and nobody reads.
        for n in 0..100u8 {
            stream.send(&[n; 1000]);
        }
        stream.send(b"");
        let mut back = Vec::new();
        while let Some(data) = stream.receive() {
            back.extend(data);
            stream.kick();
        }
        assert_eq!(back, (0..100u8).flat_map(|n| [n; 1000]).collect::<Vec<_>>());
        assert!(stream.guest.host.command("socket0 received").unwrap().starts_with("200000 "));
        stream.goes();
        guest = stream.guest;
    }
}

#[test]
fn the_guest_has_gone_and_reads_nothing() {
    let mut guest = Guest::connected();
    let relid = offer_of(&connect(&mut guest, 1025, service(ECHO_PORT))).relid;
    let mut stream = Stream::open(guest, relid);
    (0..16).for_each(|n| stream.send(&[n; 2000]));
    stream.send(&[]);
    stream.guest.messages();
    for second in 1..=5 {
        stream.guest.host.tick(second * 1000);
        assert!(stream.guest.kinds().is_empty());
    }
    stream.guest.host.tick(6000);
    stream.guest.host.tick(7000);
    assert_eq!(stream.guest.kinds(), [kind::RESCIND_CHANNEL_OFFER]);
}

#[test]
fn the_host_connects_and_sends() {
    let mut guest = Guest::connected();
    assert_eq!(guest.host.command("socket connect 7000 100000").unwrap(), "socket0");
    let offer = offer_of(&guest.messages());
    assert_eq!(offer.interface, service(7000));
    assert_eq!(offer.user[4], 1, "from the host");
    let mut stream = Stream::open(guest, offer.relid);
    let mut bytes = 0;
    while let Some(data) = stream.receive() {
        if data.is_empty() {
            break;
        }
        bytes += data.len();
        stream.kick();
    }
    assert_eq!(bytes, 100_000);
    stream.send(b"thanks");
    assert!(stream.guest.host.command("socket0 received").unwrap().starts_with("6 "));
    stream.send(b"");
    assert_eq!(stream.guest.host.command("socket0 done").unwrap(), "true true");
    stream.goes();
}

#[test]
fn refused_connections() {
    let mut guest = Guest::connected();
    for to in [service(1), INTERFACE] {
        let news = connect(&mut guest, 1025, to);
        assert_eq!(news[0].0, kind::TL_CONNECT_RESULT);
        assert_ne!({ get::<msg::TlConnectResult>(&news[0].1).unwrap().status }, 0);
    }
    for from in 0..16 {
        offer_of(&connect(&mut guest, from, service(ECHO_PORT)));
    }
    let news = connect(&mut guest, 99, service(ECHO_PORT));
    assert_eq!(news[0].0, kind::TL_CONNECT_RESULT, "16 are pending");
    assert!(guest.host.command("socket connect 7000 1").is_err());
    // One of them is opened: there is room again.
    let mut stream = Stream::open(guest, 3);
    offer_of(&connect(&mut stream.guest, 99, service(ECHO_PORT)));
    // None of them comes again on a new connection.
    assert!(stream.guest.contact(V6));
    stream.guest.post(kind::REQUEST_OFFERS, &[0u8; 0]);
    assert_eq!(stream.guest.kinds().len(), 3);
}

#[test]
fn packets_that_are_no_stream_end_the_channel() {
    let header = |kind: u32, len: u32| [kind.to_le_bytes(), len.to_le_bytes()].concat();
    for data in [vec![], header(2, 0), header(1, 1), header(1, u32::MAX)] {
        let mut guest = Guest::connected();
        let relid = offer_of(&connect(&mut guest, 1025, service(ECHO_PORT))).relid;
        let mut stream = Stream::open(guest, relid);
        stream.rings.guest_send(&*stream.guest.mem, PacketKind::InBand, 0, false, &[], &data);
        stream.kick();
        assert_eq!(stream.guest.violations(), 1, "{data:?}");
    }
}

#[test]
fn bits_of_the_monitor_page_are_signals() {
    let mut guest = Guest::new(V6);
    guest.host.use_monitor();
    let contact = |pages| msg::InitiateContact {
        version: V6.0,
        target_vp: 0,
        target: [2, 0, 0, 0, 0, 0, 0, 0],
        monitor_pages: pages,
    };
    guest.post(kind::INITIATE_CONTACT, &contact([0x1000, 0x12_3456_7000]));
    assert_eq!(guest.violations(), 1);
    guest.post(kind::INITIATE_CONTACT, &contact([50 * 4096, 51 * 4096]));
    guest.post(kind::REQUEST_OFFERS, &[0u8; 0]);
    guest.messages();
    guest.host.command("null 200").unwrap();
    let mut ids = BTreeSet::new();
    for (_, body) in guest.messages() {
        let offer: msg::OfferChannel = get(&body).unwrap();
        let relid = offer.relid;
        assert_eq!(offer.monitor_allocated, u8::from(relid < 128));
        if relid < 128 {
            assert!(ids.insert(offer.monitor_id));
        }
    }
    assert_eq!(ids.len(), 125, "1 and 2 are the others', 0 is nobody's");

    assert_eq!(guest.gpadl(1, 7, 16, 8), Some(STATUS_SUCCESS));
    assert_eq!(guest.open(1, 7, 4), Some(STATUS_SUCCESS));
    let memory = PageRange { offset: 0, len: 8 * PAGE as u32, pfns: (16..24).collect() };
    let mut rings = RingPair::guest_end(&memory, 4, &*guest.mem);
    while guest.host.serve() {}
    rings.guest_send(&*guest.mem, PacketKind::InBand, 5, true, &[], b"12345678");
    guest.mem.store(51 * 4096 + 8, 1 << 1).unwrap();
    assert_eq!(guest.host.next_event(), Some(0), "always now");
    guest.host.advance(1);
    while guest.host.serve() {}
    assert!(rings.receive(&*guest.mem).unwrap().is_some());
    assert_eq!(guest.mem.load(51 * 4096 + 8).unwrap(), 0);
    assert_eq!(guest.host.trace.counter("monitor_signals"), 1);
    // After the end of the connection the page is the guest's.
    guest.post(kind::UNLOAD, &[0u8; 0]);
    guest.mem.store(51 * 4096 + 8, 2).unwrap();
    guest.host.advance(2);
    assert_eq!(guest.mem.load(51 * 4096 + 8).unwrap(), 2);
}
