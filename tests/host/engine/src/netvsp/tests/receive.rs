// SPDX-License-Identifier: GPL-2.0

use super::frames::Shape;
use super::*;

const CHECKSUM: u32 = 0;
const VLAN: u32 = 6;
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

fn plain() -> VnetHeader {
    VnetHeader::default()
}

fn to(address: [u8; 6]) -> Vec<u8> {
    let mut frame = Shape::UDP4.frame();
    frame[..6].copy_from_slice(&address);
    frame
}

#[test]
fn frames_arrive_in_batches() {
    for whole_sections in [false, true] {
        let mut guest = Guest::running(NetConfig { whole_sections, ..NetConfig::default() });
        let frames: Vec<_> =
            (0..20).map(|n| Shape { payload: n * 50, ..Shape::TCP4 }.frame()).collect();
        guest.arrive(plain(), &frames);
        let received = guest.received();
        assert_eq!(received.len(), frames.len());
        for (got, frame) in received.iter().zip(&frames) {
            assert_eq!(got.frame(), frame);
            assert_eq!(got.info(CHECKSUM), None);
        }
        assert_eq!(received[0].id, received[7].id);
        assert_ne!(received[7].id, received[8].id);
        assert_eq!((guest.count("rx_packets"), guest.count("rx_batches")), (20, 3));
        assert!(!guest.bench.dead());
    }
}

#[test]
fn nothing_without_a_filter() {
    let mut guest = Guest::opened(NetConfig::default());
    guest.arrive(plain(), &[to(MAC)]);
    guest.handshake(version::V61);
    guest.rndis_initialize();
    guest.arrive(plain(), &[to(MAC), to(MAC)]);
    assert!(guest.received().is_empty());
    assert_eq!(guest.count("rx_not_ready"), 3);
    assert_eq!(guest.set(PACKET_FILTER, &bytes(&[ALL_FILTERS])), 0);
    guest.arrive(plain(), &[to(MAC)]);
    assert_eq!(guest.one().frame(), to(MAC));
    assert_eq!(guest.set(PACKET_FILTER, &bytes(&[0])), 0);
    guest.arrive(plain(), &[to(MAC)]);
    assert!(guest.received().is_empty());
}

#[test]
fn filters() {
    let (broadcast, other) = ([0xff; 6], [2, 0, 0, 0, 0, 1]);
    let (group, unlisted) = ([0x33, 0x33, 0, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 2]);
    let mut guest = Guest::new();
    assert_eq!(guest.set(0x0101_0103, &group), 0);
    let mut through = |filter: u32| {
        assert_eq!(guest.set(PACKET_FILTER, &bytes(&[filter])), 0);
        let frames = [MAC, broadcast, other, group, unlisted].map(to);
        guest.arrive(plain(), &frames);
        let received = guest.received();
        received.iter().map(|r| r.frame()[..6].try_into().unwrap()).collect::<Vec<[u8; 6]>>()
    };
    assert_eq!(through(1), [MAC]);
    assert_eq!(through(2), [group]);
    assert_eq!(through(4), [group, unlisted]);
    assert_eq!(through(8), [broadcast]);
    assert_eq!(through(0xd), [MAC, broadcast, group, unlisted]);
    assert_eq!(through(0x20).len(), 5);
}

#[test]
fn sections_come_back_once() {
    let mut guest = Guest::new();
    let sections = RECEIVE_BUFFER / 1728;
    let frames = vec![to(MAC); sections + 50];
    guest.arrive(plain(), &frames);
    let first = guest.peek();
    assert!(first.len() < sections && first.len() + 32 > sections, "{}", first.len());
    assert_eq!(guest.count("rx_no_section"), 1);
    // Control still works.
    assert_eq!(guest.query(0x10106).unwrap(), bytes(&[1500]));
    // The query gave everything back.
    assert_eq!(first.len() + guest.received().len(), frames.len());
    let stalls = guest.count("rx_no_section");
    for _ in 0..50 {
        guest.arrive(plain(), &vec![to(MAC); 100]);
        assert_eq!(guest.received().len(), 100);
    }
    assert_eq!(guest.count("rx_no_section"), stalls);
    assert!(!guest.bench.dead());

    guest.arrive(plain(), &[to(MAC)]);
    let id = guest.peek()[0].id;
    guest.complete(id);
    assert!(!guest.bench.dead());
    guest.complete(id);
    assert!(guest.bench.dead());
    for id in [0, 0x10000, u64::MAX] {
        let mut guest = Guest::new();
        guest.complete(id);
        assert!(guest.bench.dead());
    }
}

#[test]
fn a_full_ring_holds_frames_back() {
    let mut guest = Guest::opened(NetConfig::default());
    guest.receive = guest.bench.alloc(16 << 20);
    guest.handshake(version::V61);
    guest.rndis_initialize();
    assert_eq!(guest.set(PACKET_FILTER, &bytes(&[ALL_FILTERS])), 0);
    guest.arrive(plain(), &vec![to(MAC); 8000]);
    assert!(guest.net.lock().unwrap().queue.len() > 1000);
    let mut count = 0;
    while count < 8000 {
        let received = guest.received().len();
        assert_ne!(received, 0);
        count += received;
        guest.bench.kick();
    }
    assert_eq!((count, guest.count("rx_no_section")), (8000, 0));
}

#[test]
fn checksums() {
    let mut guest = Guest::new();
    for shape in Shape::ALL {
        let header = VnetHeader {
            flags: NEEDS_CSUM,
            csum_start: shape.l4() as u16,
            csum_offset: (shape.field() - shape.l4()) as u16,
            ..plain()
        };
        let good = if shape.udp { 1 << 4 } else { 1 << 3 } | if shape.v6 { 0 } else { 1 << 5 };
        guest.arrive(header, &[shape.unfinished()]);
        let received = guest.one();
        assert_eq!(received.frame(), shape.frame());
        assert_eq!(received.info(CHECKSUM), Some(good));
        guest.arrive(VnetHeader { flags: DATA_VALID, ..plain() }, &[shape.frame()]);
        assert_eq!(guest.one().info(CHECKSUM), Some(good));

        // The guest wants to look itself: the checksum must be there all the same.
        let off = [0x80, 3, 28, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1];
        let mut off = off.to_vec();
        off.resize(28, 0);
        assert_eq!(guest.set(OFFLOAD_PARAMETERS, &off), 0);
        guest.arrive(header, &[shape.unfinished()]);
        let received = guest.one();
        assert_eq!(received.frame(), shape.frame());
        assert_eq!(received.info(CHECKSUM), None);
        guest.enable_offloads();
    }
}

#[test]
fn bad_packets_of_the_network_are_dropped() {
    let mut guest = Guest::new();
    let far = VnetHeader { flags: NEEDS_CSUM, csum_start: 9000, csum_offset: 16, ..plain() };
    guest.arrive(far, &[to(MAC)]);
    guest.arrive(VnetHeader { gso_type: 1, ..plain() }, &[to(MAC)]);
    guest.arrive(plain(), &[vec![0xff; 13]]);
    assert_eq!(guest.count("rx_bad_frame"), 3);
    guest.arrive(plain(), &[Shape { payload: 3000, ..Shape::TCP4 }.frame()]);
    assert_eq!(guest.count("rx_too_long"), 1);
    assert!(guest.received().is_empty());
    guest.net.lock().unwrap().queue.push_back(vec![0; 4]);
    guest.bench.backend();
    assert_eq!(guest.count("rx_bad_frame"), 4);
}

#[test]
fn vlan_tags_travel_beside_the_frame() {
    let mut guest = Guest::new();
    let shape = Shape::TCP4;
    let tagged = |frame: Vec<u8>| [&frame[..12], &[0x81, 0, 0xb1, 0x23], &frame[12..]].concat();
    let header = VnetHeader {
        flags: NEEDS_CSUM,
        csum_start: shape.l4() as u16 + 4,
        csum_offset: 16,
        ..plain()
    };
    guest.arrive(header, &[tagged(shape.unfinished())]);
    let received = guest.one();
    assert_eq!(received.frame(), shape.frame());
    assert_eq!(received.info(VLAN), Some(5 | 1 << 3 | 0x123 << 4));
    assert_eq!(received.info(CHECKSUM), Some(1 << 3 | 1 << 5));
    // The longest frame still fits with a tag.
    let longest = Shape { payload: 1460, ..shape }.frame();
    guest.arrive(plain(), &[tagged(longest.clone())]);
    assert_eq!(guest.one().frame(), longest);

    // Version 1 has no way to say that it wants them.
    let mut old = Guest::running(NetConfig { max_version: version::V1, ..NetConfig::default() });
    old.arrive(plain(), &[tagged(shape.frame())]);
    assert_eq!(old.one().frame(), tagged(shape.frame()));
}

#[test]
fn no_frames_while_the_link_is_down() {
    let mut guest = Guest::new();
    guest.bench.command(&["link", "down"]).unwrap();
    guest.received();
    guest.arrive(plain(), &[to(MAC)]);
    assert!(guest.received().is_empty());
    assert_eq!(guest.transmit(&to(MAC), &[]), STATUS_SUCCESS);
    assert!(guest.net.lock().unwrap().sent.is_empty());
    guest.bench.command(&["link", "up"]).unwrap();
    guest.received();
    guest.arrive(plain(), &[to(MAC)]);
    assert_eq!(guest.one().frame(), to(MAC));
}

#[test]
fn revoking_stops_frames_but_not_completions() {
    let mut guest = Guest::new();
    guest.arrive(plain(), &[to(MAC)]);
    let id = guest.peek()[0].id;
    guest.tell(&[REVOKE_RECEIVE_BUFFER, BUFFER_ID]);
    guest.arrive(plain(), &[to(MAC)]);
    assert!(guest.peek().is_empty());
    guest.complete(id);
    assert!(!guest.bench.dead());
}
