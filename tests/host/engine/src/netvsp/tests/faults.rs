// SPDX-License-Identifier: GPL-2.0

use super::frames::Shape;
use super::*;

fn bad(guest: &mut Guest, kind: &str) {
    guest.bench.command(&["bad", kind]).unwrap();
}

#[test]
fn a_paused_host_reads_nothing() {
    let mut guest = Guest::new();
    guest.bench.command(&["pause"]).unwrap();
    guest.send.write(&*guest.bench.mem, 0, &packet(&Shape::TCP4.frame(), &[])).unwrap();
    for _ in 0..100 {
        let mut data = bytes(&[SEND_RNDIS_PACKET, 0, 0, 44 + Shape::TCP4.frame().len() as u32]);
        data.resize(MESSAGE, 0);
        guest.bench.guest_send(PacketKind::InBand, 5, true, &[], &data);
    }
    assert_eq!(guest.count("tx_packets"), 0);
    guest.bench.command(&["resume"]).unwrap();
    assert_eq!(guest.count("tx_packets"), 100);
    assert!(!guest.bench.dead());
}

#[test]
fn no_more_than_the_quota_is_taken() {
    let mut guest = Guest::running(NetConfig { tx_quota: 3, ..NetConfig::default() });
    guest.bench.command(&["hold"]).unwrap();
    let message = packet(&Shape::TCP4.frame(), &[]);
    guest.send.write(&*guest.bench.mem, 0, &message).unwrap();
    for id in 0..8 {
        let mut data = bytes(&[SEND_RNDIS_PACKET, 0, 0, message.len() as u32]);
        data.resize(MESSAGE, 0);
        guest.bench.guest_send(PacketKind::InBand, id, true, &[], &data);
    }
    assert_eq!(guest.count("tx_packets"), 3);
    assert!(guest.bench.guest_recv().is_none());
    guest.bench.command(&["release"]).unwrap();
    for id in 0..8 {
        assert_eq!(guest.bench.guest_recv().unwrap().transaction_id, id);
    }
    assert_eq!(guest.count("tx_packets"), 8);
}

#[test]
fn bad_messages_are_sent_as_asked() {
    let kinds = [
        ("length-short", 1, 4),
        ("length-long", 1, 4096),
        ("data-offset", 2, 0xffff_fff0),
        ("data-length", 3, 4096),
        ("info-offset", 7, 0xffff_fff0),
        ("info-length", 8, 4096),
        ("item-long", 11, 4096),
        ("item-empty", 11, 0),
        ("item-offset", 13, 4096),
    ];
    for (kind, field, value) in kinds {
        let mut guest = Guest::new();
        bad(&mut guest, kind);
        let sent = guest.bench.guest_recv().unwrap();
        let mut message = vec![0; sent.ranges[0].len as usize];
        guest
            .receive
            .read(&*guest.bench.mem, sent.ranges[0].offset as usize, &mut message)
            .unwrap();
        assert_eq!(word(&message, field), value, "{kind}");
        // The guest gives the section back whatever it thinks of it.
        guest.complete(sent.transaction_id);
        assert!(!guest.bench.dead());
        assert_eq!(guest.count("bad"), 1);
    }
}

#[test]
fn bad_packets_are_sent_as_asked() {
    let mut guest = Guest::new();
    for kind in ["range-outside", "range-wraps", "range-long", "ranges-none", "ranges-many"] {
        bad(&mut guest, kind);
        let sent = guest.bench.guest_recv().unwrap();
        assert_eq!(sent.kind, PacketKind::TransferPages);
        guest.complete(sent.transaction_id);
    }
    for kind in ["table-entry", "table-huge-entry", "table-count", "table-offset"] {
        bad(&mut guest, kind);
        let sent = guest.bench.guest_recv().unwrap();
        assert_eq!(word(&sent.data, 0), SEND_INDIRECTION_TABLE, "{kind}");
    }
    bad(&mut guest, "type");
    assert_eq!(word(&guest.bench.guest_recv().unwrap().data, 0), 0x7777);
    bad(&mut guest, "completion-unknown");
    assert_eq!(guest.bench.guest_recv().unwrap().kind, PacketKind::Completion);
    guest.bench.command(&["bad", "part-first", "2"]).unwrap();
    assert_eq!(guest.received().len(), 2);
    bad(&mut guest, "frame-long");
    assert!(guest.received().iter().map(|part| part.frame().len()).sum::<usize>() > 65553);
    bad(&mut guest, "header-long");
    assert_eq!(guest.one().frame()[12..15], [8, 0, 0x4f]);
    bad(&mut guest, "range-end");
    let sent = guest.bench.guest_recv().unwrap();
    assert_eq!((sent.ranges[0].len, sent.ranges[0].offset), (0, RECEIVE_BUFFER as u32));
    guest.complete(sent.transaction_id);
    assert_eq!(guest.count("bad"), 16);
    assert!(guest.bench.command(&["bad", "manners"]).is_err());
    assert!(!guest.bench.dead());
    let mut early = Guest::opened(NetConfig::default());
    assert!(early.bench.command(&["bad", "type"]).is_err());
}

#[test]
fn bad_answers() {
    let mut guest = Guest::new();
    bad(&mut guest, "answer-id");
    let first = guest.control(QUERY, &[PACKET_FILTER, 0, 20, 0]);
    let second = guest.inbox.remove(0).message;
    assert_eq!(word(&first, 2) ^ 0x5555, word(&second, 2));
    bad(&mut guest, "answer-status");
    assert_eq!(guest.query(PACKET_FILTER), Err(0xc000_0001));
    bad(&mut guest, "answer-short");
    assert_eq!(guest.control(QUERY, &[PACKET_FILTER, 0, 20, 0]).len(), 12);
    bad(&mut guest, "answer-lost");
    assert!(guest.control_bytes(QUERY, &bytes(&[PACKET_FILTER, 0, 20, 0])).is_none());
    assert_eq!(guest.query(PACKET_FILTER).unwrap(), bytes(&[ALL_FILTERS]));
    assert_eq!(guest.count("bad"), 4);
    bad(&mut guest, "completion-twice");
    assert_eq!(guest.transmit(&Shape::TCP4.frame(), &[]), STATUS_SUCCESS);
    let twice = guest.bench.guest_recv().unwrap();
    assert_eq!((twice.kind, twice.transaction_id), (PacketKind::Completion, guest.id));
}

#[test]
fn a_flood_of_link_changes() {
    let mut guest = Guest::new();
    guest.bench.command(&["bad", "link-flood", "500"]).unwrap();
    let mut last = Vec::new();
    let mut count = 0;
    while let Some(indication) = guest.received().pop() {
        count += 1;
        last = indication.message;
        guest.bench.kick();
    }
    assert!(count > 2);
    assert_eq!(last[8..12], bytes(&[0x4001_000b]));
    assert_eq!(guest.count("bad"), 500);
}

#[test]
fn noise_follows_from_its_seed() {
    let heard = |seed: &str| {
        let mut guest = Guest::new();
        guest.bench.command(&["noise", seed, "20"]).unwrap();
        assert_eq!(guest.count("bad"), 20);
        let mut packets = Vec::new();
        while let Some(packet) = guest.bench.guest_recv() {
            packets.push((packet.transaction_id, packet.data));
        }
        packets
    };
    let first = heard("1");
    assert!(!first.is_empty());
    assert!(heard("1") == first);
    assert!(heard("2") != first);
}
