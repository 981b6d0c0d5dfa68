// SPDX-License-Identifier: GPL-2.0

use super::frames::Shape;
use super::*;

#[test]
fn what_is_said_is_answered() {
    let mut guest = Guest::new();
    guest.bench.command(&["say", "0x10106", "00000000"]).unwrap();
    assert_eq!(guest.query(0x10106).unwrap(), bytes(&[0]));
    guest.bench.command(&["say", "0x20216"]).unwrap();
    assert!(guest.query(0x20216).unwrap().is_empty());
    guest.bench.command(&["say", "lso", "0"]).unwrap();
    assert_eq!(word(&guest.query(0xfc01_020d).unwrap(), 21), 0);
    guest.bench.command(&["say", "truth"]).unwrap();
    assert_eq!(guest.query(0x10106).unwrap(), bytes(&[1500]));
    assert_ne!(word(&guest.query(0xfc01_020d).unwrap(), 21), 0);
    for bad in [&["say"][..], &["say", "0x10106", "0g"], &["say", "what"], &["early", "bird"]] {
        assert!(guest.bench.command(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn sections_that_are_not_so() {
    let mut guest = Guest::opened(NetConfig::default());
    guest.bench.command(&["say", "sections", "4194304", "3"]).unwrap();
    guest.bench.command(&["say", "send-section", "67"]).unwrap();
    guest.negotiate(version::V61);
    let receive = guest.bench.gpadl(guest.receive.clone());
    let answer = guest.ask(&[SEND_RECEIVE_BUFFER, receive, BUFFER_ID]);
    assert_eq!(answer[16..24], bytes(&[4 << 20, 3]));
    let send = guest.bench.gpadl(guest.send.clone());
    assert_eq!(word(&guest.ask(&[SEND_SEND_BUFFER, send, 0]), 2), 67);
}

#[test]
fn too_early() {
    let mut guest = Guest::opened(NetConfig::default());
    guest.bench.command(&["early", "packet"]).unwrap();
    guest.tell(&[INIT, version::V61, version::V61]);
    let early = guest.bench.guest_recv().unwrap();
    assert_eq!((early.kind, early.ranges.len()), (PacketKind::TransferPages, 1));
    assert_eq!(word(&guest.bench.guest_recv().unwrap().data, 0), INIT_COMPLETE);
    guest.complete(early.transaction_id);
    assert!(!guest.bench.dead());
    guest.complete(early.transaction_id);
    assert!(guest.bench.dead(), "once");
}

#[test]
fn an_answer_before_the_question() {
    let mut guest = Guest::opened(NetConfig::default());
    guest.bench.command(&["early", "answer"]).unwrap();
    guest.negotiate(version::V61);
    let receive = guest.bench.gpadl(guest.receive.clone());
    guest.ask(&[SEND_RECEIVE_BUFFER, receive, BUFFER_ID]);
    let send = guest.bench.gpadl(guest.send.clone());
    guest.tell(&[SEND_SEND_BUFFER, send, 0]);
    let early = guest.bench.guest_recv().unwrap();
    assert_eq!(early.kind, PacketKind::TransferPages);
    assert_eq!(word(&guest.bench.guest_recv().unwrap().data, 0), SEND_SEND_BUFFER_COMPLETE);
    guest.complete(early.transaction_id);
    guest.rndis_initialize();
}

#[test]
fn completions_of_another_kind() {
    let mut guest = Guest::new();
    guest.bench.command(&["complete", "frame", "buffer", "2"]).unwrap();
    let message = packet(&Shape::TCP4.frame(), &[]);
    guest.send.write(&*guest.bench.mem, 0, &message).unwrap();
    for wanted in [SEND_SEND_BUFFER_COMPLETE, SEND_SEND_BUFFER_COMPLETE, SEND_RNDIS_PACKET_COMPLETE]
    {
        let mut data = bytes(&[SEND_RNDIS_PACKET, 0, 0, message.len() as u32]);
        data.resize(MESSAGE, 0);
        guest.bench.guest_send(PacketKind::InBand, 7, true, &[], &data);
        assert_eq!(word(&guest.bench.guest_recv().unwrap().data, 0), wanted);
    }
    guest.bench.command(&["complete", "exchange", "empty", "1"]).unwrap();
    guest.tell(&[SUBCHANNEL, ALLOCATE, 0]);
    assert!(guest.bench.guest_recv().unwrap().data.is_empty());
    assert_eq!(word(&guest.ask(&[SUBCHANNEL, ALLOCATE, 0]), 0), SUBCHANNEL);
    assert_eq!(guest.count("bad"), 3);
    assert!(guest.bench.command(&["complete", "all", "empty", "1"]).is_err());
}

#[test]
fn answers_come_again() {
    let mut guest = Guest::new();
    guest.bench.command(&["bad", "answer-again"]).unwrap();
    let first = guest.control(QUERY, &[PACKET_FILTER, 0, 20, 0]);
    assert_eq!(guest.inbox.remove(0).message, first);
}
