// SPDX-License-Identifier: GPL-2.0

use super::frames::Shape;
use super::*;

const RSS: u32 = 0x10204;
const HASH: u32 = 8;
/// Toeplitz over the addresses of IPv4 and IPv6 and the ports of TCP.
const TYPES: u32 = 0x1701;
const INVALID_DATA: u32 = 0xc001_0015;

/// `NDIS_RECEIVE_SCALE_PARAMETERS` with this table.
fn parameters(flags: u32, types: u32, table: &[u32]) -> Vec<u8> {
    let size = 4 * table.len() as u32;
    let mut out = bytes(&[0x0028_0289, flags, types, size, 40, 40, 40 + size, 0, 0, 0]);
    out.extend(bytes(table));
    out.extend((0..40u8).map(|n| n.wrapping_mul(37) | 1));
    out
}

/// A card with that many channels, all open.
fn with_queues(queues: u32) -> Guest {
    let mut guest = Guest::running(NetConfig { queues, ..NetConfig::default() });
    let answer = guest.ask(&[SUBCHANNEL, ALLOCATE, queues - 1]);
    assert_eq!(answer[..12], bytes(&[SUBCHANNEL, STATUS_SUCCESS, queues - 1]));
    assert_eq!(guest.bench.sub_channels, Some(queues as usize - 1));
    for channel in 1..queues {
        assert!(guest.bench.guest_recv().is_none());
        guest.bench.open_next();
        guest.bench.kick();
        assert_eq!(channel == queues - 1, has_table(&mut guest, queues));
    }
    guest
}

fn has_table(guest: &mut Guest, queues: u32) -> bool {
    let Some(packet) = guest.bench.guest_recv() else { return false };
    assert_eq!(packet.kind, PacketKind::InBand);
    assert_eq!(packet.data[..12], bytes(&[SEND_INDIRECTION_TABLE, 16, MESSAGE as u32]));
    let table: Vec<u32> = (0..16).map(|n| n % queues).collect();
    assert_eq!(packet.data[MESSAGE..], bytes(&table));
    true
}

#[test]
fn sub_channels_are_granted_as_configured() {
    let mut one = Guest::new();
    for count in [0, 1, u32::MAX] {
        let answer = one.ask(&[SUBCHANNEL, ALLOCATE, count]);
        assert_eq!(answer[..12], bytes(&[SUBCHANNEL, STATUS_FAIL, 0]));
    }
    assert_eq!(one.bench.sub_channels, None);
    let mut guest = Guest::running(NetConfig { queues: 4, ..NetConfig::default() });
    let caps = guest.query(0x10203).unwrap();
    assert_eq!((word(&caps, 3), caps[16]), (4, 128));
    let answer = guest.ask(&[SUBCHANNEL, ALLOCATE, 4]);
    assert_eq!(answer[..12], bytes(&[SUBCHANNEL, STATUS_FAIL, 0]));
    guest.bench.command(&["grant", "2"]).unwrap();
    guest.bench.command(&["offer", "1"]).unwrap();
    let answer = guest.ask(&[SUBCHANNEL, ALLOCATE, 3]);
    assert_eq!(answer[..12], bytes(&[SUBCHANNEL, STATUS_SUCCESS, 2]));
    assert_eq!(guest.bench.sub_channels, Some(1));
    // Once is enough.
    let answer = guest.ask(&[SUBCHANNEL, ALLOCATE, 1]);
    assert_eq!(answer[..12], bytes(&[SUBCHANNEL, STATUS_FAIL, 0]));
    // The knobs count once.
    guest.bench.reopen();
    guest.handshake(version::V61);
    guest.rndis_initialize();
    let answer = guest.ask(&[SUBCHANNEL, ALLOCATE, 3]);
    assert_eq!(answer[..12], bytes(&[SUBCHANNEL, STATUS_SUCCESS, 3]));
    assert!(!guest.bench.dead());
}

#[test]
fn every_channel_transmits() {
    let mut guest = with_queues(3);
    let frame = Shape::TCP4.frame();
    for channel in 0..3 {
        let at = channel * SEND_SECTION;
        let message = packet(&frame, &[]);
        guest.send.write(&*guest.bench.mem, at, &message).unwrap();
        let mut data = bytes(&[SEND_RNDIS_PACKET, 0, channel as u32, message.len() as u32]);
        data.resize(MESSAGE, 0);
        guest.bench.guest_send_on(channel, PacketKind::InBand, 7, true, &[], &data);
        let answer = guest.bench.guest_recv_on(channel).unwrap();
        assert_eq!((answer.kind, answer.transaction_id), (PacketKind::Completion, 7));
        assert_eq!(guest.sent().1, frame);
    }
    assert_eq!(guest.bench.command(&["queues"]).unwrap(), "tx0=1 rx0=0 tx1=1 rx1=0 tx2=1 rx2=0");
    // The handshake and control messages are the primary channel's.
    for words in [&[INIT, version::V61, version::V61][..], &[SEND_RNDIS_PACKET, CONTROL, 0, 60]] {
        let mut guest = with_queues(2);
        let mut data = bytes(words);
        data.resize(MESSAGE, 0);
        guest.bench.guest_send_on(1, PacketKind::InBand, 7, true, &[], &data);
        assert_eq!(guest.bench.trace.counter("violations"), 1);
    }
}

#[test]
fn the_table_spreads_what_is_received() {
    let mut guest = with_queues(2);
    let frames = |guest: &mut Guest| {
        guest.arrive(VnetHeader::default(), &Shape::ALL.map(|shape| shape.frame()));
        [0, 1].map(|channel| guest.peek_on(channel))
    };
    // Not before the guest says so.
    let [first, second] = frames(&mut guest);
    assert_eq!((first.len(), second.len()), (4, 0));
    assert!(first.iter().all(|received| received.info(HASH).is_none()));
    for (table, expected) in [(&[0, 0], [4, 0]), (&[1, 1], [0, 4])] {
        assert_eq!(guest.set(RSS, &parameters(0, TYPES, table)), 0);
        let all = frames(&mut guest);
        assert_eq!([all[0].len(), all[1].len()], expected);
        assert!(all.iter().flatten().all(|received| received.info(HASH).is_some()));
    }
    // Each flow goes where its hash says.
    assert_eq!(guest.set(RSS, &parameters(0, TYPES, &[0, 1, 0, 1])), 0);
    for (channel, received) in frames(&mut guest).iter().enumerate() {
        assert!(received.iter().all(|r| r.info(HASH).unwrap() as usize % 2 == channel));
    }
    // Nothing is hashed but what was asked for.
    assert_eq!(guest.set(RSS, &parameters(0, 0x101, &[1])), 0);
    let [first, second] = frames(&mut guest);
    assert_eq!((first.len(), second.len()), (2, 2));
    assert_eq!(second[0].info(HASH), second[1].info(HASH));
    // Off.
    assert_eq!(guest.set(RSS, &parameters(0x10, TYPES, &[1])), 0);
    assert_eq!(frames(&mut guest)[0].len(), 4);
    guest.give_back();
    assert!(!guest.bench.dead());
}

#[test]
fn parts_of_the_parameters_stay() {
    let mut guest = with_queues(2);
    // There is nothing to keep yet.
    assert_eq!(guest.set(RSS, &parameters(4, TYPES, &[])), INVALID_DATA);
    assert_eq!(guest.set(RSS, &parameters(0, TYPES, &[1])), 0);
    let hash = |guest: &mut Guest| {
        guest.arrive(VnetHeader::default(), &[Shape::TCP4.frame()]);
        guest.peek_on(1)[0].info(HASH).unwrap()
    };
    let first = hash(&mut guest);
    let mut other = parameters(4, TYPES, &[]);
    other[40..].fill(0x55);
    assert_eq!(guest.set(RSS, &other), 0);
    let second = hash(&mut guest);
    assert_ne!(first, second);
    // Types and key stay.
    assert_eq!(guest.set(RSS, &parameters(2 | 8, 0, &[1, 1])), 0);
    assert_eq!(hash(&mut guest), second);
}

#[test]
fn bad_tables_are_refused() {
    let mut guest = with_queues(2);
    let good = parameters(0, TYPES, &[0, 1, 1]);
    assert_eq!(guest.set(RSS, &good), 0);
    assert_eq!(guest.set(RSS, &parameters(0, TYPES, &[0, 2])), INVALID_DATA);
    assert_eq!(guest.set(RSS, &parameters(0, TYPES, &[])), INVALID_DATA);
    assert_eq!(guest.set(RSS, &parameters(0, TYPES, &[0; 129])), INVALID_DATA);
    assert_eq!(guest.set(RSS, &parameters(0, 0x700, &[0])), INVALID_DATA);
    assert_eq!(guest.set(RSS, &parameters(0, TYPES | 1 << 14, &[0])), INVALID_DATA);
    // (Byte, value): object type; size and offset of the table and of the key.
    for (at, value) in [(0, 0x88), (12, 11), (17, 0xff), (20, 39), (25, 0xff)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(guest.set(RSS, &bad), INVALID_DATA, "byte {at}");
    }
    assert_eq!(guest.set(RSS, &good[..39]), 0xc001_0014);
    guest.arrive(VnetHeader::default(), &[Shape::TCP4.frame()]);
    assert!(guest.peek_on(0).iter().chain(&guest.peek_on(1)).all(|r| r.info(HASH).is_some()));
}

#[test]
fn completions_belong_to_their_channel() {
    let mut guest = with_queues(2);
    assert_eq!(guest.set(RSS, &parameters(0, TYPES, &[1])), 0);
    guest.arrive(VnetHeader::default(), &[Shape::TCP4.frame()]);
    let id = guest.peek_on(1)[0].id;
    guest.complete_on(0, id);
    assert!(guest.bench.dead());
}

#[test]
fn a_closed_channel_gives_its_sections_back() {
    let mut guest = with_queues(2);
    assert_eq!(guest.set(RSS, &parameters(0, TYPES, &[1])), 0);
    guest.arrive(VnetHeader::default(), &vec![Shape::TCP4.frame(); 20]);
    assert_eq!(guest.peek_on(1).len(), 20);
    guest.owed.clear();
    guest.bench.close(1);
    // What would go there goes to the primary channel; all but the reserved sections are free.
    let count = RECEIVE_BUFFER / 1728 - 16;
    guest.arrive(VnetHeader::default(), &vec![Shape::TCP4.frame(); count]);
    assert_eq!(guest.peek_on(0).len(), count);
    assert_eq!(guest.count("rx_no_channel"), count as u64);
    guest.arrive(VnetHeader::default(), &[Shape::TCP4.frame()]);
    assert_eq!(guest.peek_on(0).len(), 0);
    guest.give_back();
    assert_eq!(guest.peek_on(0).len(), 1);
    assert!(!guest.bench.dead());
}

#[test]
fn the_table_comes_when_the_version_wants_it() {
    // Before 6.1 the guest looks for it behind the shorter message.
    let config = NetConfig { queues: 2, max_version: version::V5, ..NetConfig::default() };
    let mut guest = Guest::running(config);
    guest.ask(&[SUBCHANNEL, ALLOCATE, 1]);
    guest.bench.open_next();
    guest.bench.kick();
    let packet = guest.bench.guest_recv().unwrap();
    assert_eq!(packet.data[..12], bytes(&[SEND_INDIRECTION_TABLE, 16, OLD_MESSAGE as u32]));
    assert_eq!(word(&packet.data[OLD_MESSAGE..], 1), 1);
}

#[test]
fn segments_arrive_as_one() {
    let large = |shape: &Shape, size: u16| VnetHeader {
        flags: 1,
        gso_type: if shape.v6 { 4 } else { 1 },
        hdr_len: shape.header() as u16,
        gso_size: size,
        csum_start: shape.l4() as u16,
        csum_offset: 16,
    };
    for shape in [Shape::TCP4, Shape::TCP6] {
        let mut guest = Guest::new();
        assert_eq!(guest.net.lock().unwrap().coalesce, (false, false));
        let mut on = vec![0x80, 3, 28, 0];
        on.resize(28, 0);
        on[22..24].fill(2);
        assert_eq!(guest.set(OFFLOAD_PARAMETERS, &on), 0);
        assert_eq!(guest.net.lock().unwrap().coalesce, (true, true));
        for (payload, size) in
            [(60_000, 1400), (4000, 1448), (2801, 1400), (9000, 88), (5000, 3000)]
        {
            let shape = Shape { payload, ..shape };
            guest.arrive(large(&shape, size), &[shape.unfinished()]);
            let parts = guest.received();
            assert!(parts.iter().all(|part| part.id == parts[0].id));
            let last = parts.len() - 1;
            let mut whole: Vec<u8> = Vec::new();
            for (n, part) in parts.iter().enumerate() {
                let id = part.info(1 << 31 | 1).unwrap();
                let flags = 1 | if n == 0 { 2 } else { 0 } | if n == last { 4 } else { 0 };
                assert_eq!(id & 0xffff, 1 | flags << 8);
                let v4 = if shape.v6 { 0 } else { 1 << 5 | 1 << 8 };
                assert_eq!(part.info(0), Some(1 << 3 | v4));
                whole.extend(part.frame());
            }
            let mut expected = shape.frame();
            if !shape.v6 {
                expected[24..26].fill(0);
            }
            assert_eq!(whole, expected);
        }
        on[22..24].fill(1);
        assert_eq!(guest.set(OFFLOAD_PARAMETERS, &on), 0);
        assert_eq!(guest.net.lock().unwrap().coalesce, (false, false));
        let shape = Shape { payload: 4000, ..shape };
        guest.arrive(large(&shape, 1400), &[shape.unfinished()]);
        assert_eq!((guest.received().len(), guest.count("rx_bad_frame")), (0, 1));
        // A guest that closes is no longer asked.
        on[22..24].fill(2);
        assert_eq!(guest.set(OFFLOAD_PARAMETERS, &on), 0);
        guest.bench.reopen();
        assert_eq!(guest.net.lock().unwrap().coalesce, (false, false));
    }
}

#[test]
fn coalescing_needs_both_sides() {
    let old = NetConfig { max_version: version::V6, ..NetConfig::default() };
    let off = NetConfig { rsc: false, ..NetConfig::default() };
    for config in [old, off] {
        let mut guest = Guest::running(config);
        let caps = guest.query(0xfc01_020d).unwrap();
        assert_eq!(caps[144..146], [0, 0]);
        let mut on = vec![0x80, 3, 28, 0];
        on.resize(28, 0);
        on[22..24].fill(2);
        assert_eq!(guest.set(OFFLOAD_PARAMETERS, &on), INVALID_DATA);
    }
    assert_eq!(Guest::new().query(0xfc01_020d).unwrap()[144..146], [1, 1]);
}
