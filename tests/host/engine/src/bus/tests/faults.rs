// SPDX-License-Identifier: GPL-2.0

//! Each fault, seen from the guest.

use super::*;

/// A guest with channel 1 (device "one", which sends everything back) open.
struct Bed {
    guest: Guest,
    rings: RingPair,
}

const MEMORY: u64 = 16;

impl Bed {
    fn new() -> Self {
        let mut guest = Guest::connected();
        assert_eq!(guest.gpadl(1, 7, MEMORY, 8), Some(STATUS_SUCCESS));
        assert_eq!(guest.open(1, 7, 4), Some(STATUS_SUCCESS));
        let pfns = (MEMORY..MEMORY + 8).collect();
        let memory = PageRange { offset: 0, len: 8 * PAGE as u32, pfns };
        let rings = RingPair::guest_end(&memory, 4, &*guest.mem);
        let mut bed = Self { guest, rings };
        bed.serve();
        bed.interrupts();
        bed
    }

    fn command(&mut self, line: &str) -> String {
        self.guest.host.command(line).unwrap()
    }

    fn serve(&mut self) {
        while self.guest.host.serve() {}
    }

    fn send(&mut self, id: u64) {
        self.rings.guest_send(&*self.guest.mem, PacketKind::InBand, id, true, &[], b"12345678");
        self.guest.host.guest_signal(0x2001);
        self.serve();
    }

    /// Ids of the packets in the ring.
    fn ids(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.packet()).map(|packet| packet.transaction_id).collect()
    }

    fn packet(&mut self) -> Option<Packet> {
        self.rings.receive(&*self.guest.mem).unwrap()
    }

    fn interrupts(&self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.guest.wire.0.lock().unwrap().signals)
    }

    fn word(&self, page: u64, at: u64) -> u32 {
        self.guest.mem.load((MEMORY + page) * PAGE as u64 + at).unwrap()
    }
}

const HOST_TO_GUEST: u64 = 4;

#[test]
fn messages_dropped_doubled_late_and_changed() {
    let mut bed = Bed::new();
    let teardown = |bed: &mut Bed, gpadl| {
        bed.guest.gpadl(1, gpadl, 40, 1);
        bed.guest.post(kind::GPADL_TEARDOWN, &msg::GpadlTeardown { relid: 1, gpadl });
        bed.guest.messages()
    };
    bed.command("fault message GPADL_TORNDOWN drop 1 skip 1");
    assert_eq!(teardown(&mut bed, 1).len(), 1, "skipped");
    assert_eq!(teardown(&mut bed, 2).len(), 0);
    bed.command("fault message GPADL_TORNDOWN duplicate");
    assert_eq!(teardown(&mut bed, 3).len(), 2);
    bed.command("fault message GPADL_TORNDOWN byte 1 0xab");
    assert_eq!(teardown(&mut bed, 4)[0].1, [4, 0xab, 0, 0]);
    assert_eq!(teardown(&mut bed, 5)[0].1, [5, 0, 0, 0], "once");

    bed.guest.host.advance(100);
    bed.command("fault message GPADL_TORNDOWN delay 50");
    assert_eq!(teardown(&mut bed, 6).len(), 0);
    assert_eq!(teardown(&mut bed, 8).len(), 1, "overtakes");
    assert_eq!(bed.guest.host.next_event(), Some(150));
    bed.guest.host.advance(149);
    assert!(bed.guest.kinds().is_empty());
    bed.guest.host.advance(150);
    assert_eq!(bed.guest.messages()[0].1, [6, 0, 0, 0]);
    assert_eq!(bed.guest.host.next_event(), None);
    assert_eq!(bed.guest.host.trace.counter("faults"), 4);
    assert_eq!(bed.guest.violations(), 0);
}

#[test]
fn statuses() {
    let mut guest = Guest::connected();
    for (line, relid, gpadl, open) in [
        ("fault message GPADL_CREATED status 0xc0000001", 1, 0xc000_0001, 0),
        ("fault message OPEN_RESULT status 0xc0000001", 2, 0, 0xc000_0001),
    ] {
        guest.host.command(line).unwrap();
        assert_eq!(guest.gpadl(relid, relid, u64::from(relid) * 8, 8), Some(gpadl));
        let open = if gpadl == 0 { open } else { STATUS_UNSUCCESSFUL };
        assert_eq!(guest.open(relid, relid, 4), Some(open));
        assert!(guest.wire.0.lock().unwrap().connections.is_empty(), "the host means it");
        // The next attempt is as if there had been none.
        if gpadl != 0 {
            assert_eq!(guest.gpadl(relid, relid, u64::from(relid) * 8, 8), Some(STATUS_SUCCESS));
        }
        assert_eq!(guest.open(relid, relid, 4), Some(STATUS_SUCCESS));
        guest.post(kind::CLOSE_CHANNEL, &msg::Relid { relid });
    }
    guest.host.command("fault message VERSION_RESPONSE status 0").unwrap();
    assert!(!guest.contact(V6));
    assert!(guest.contact(V6));
    for wrong in [
        "fault message GPADL_TORNDOWN status 1",
        "fault message OPEN_RESULT flip 1 1",
        "fault message OPEN_RESULT truncate 8",
        "fault message NOTHING drop",
        "fault message OPEN_RESULT drop x",
        "fault message OPEN_RESULT byte 1",
        "fault message OPEN_RESULT byte 1 256",
        "fault packet one status 1",
        "fault packet nobody drop",
        "fault ring one 0 write 8",
        "fault ring one 0 nothing 8",
        "fault rescind one never",
        "fault offer one relid",
        "fault",
        "inject NOTHING 00",
        "inject RESCIND_CHANNEL_OFFER 0",
        "inject RESCIND_CHANNEL_OFFER xx",
        "interrupt x",
        "stop one x",
    ] {
        assert!(guest.host.command(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn any_message_at_any_time() {
    let mut guest = Guest::connected();
    guest.host.command("inject RESCIND_CHANNEL_OFFER 55000000").unwrap();
    guest.host.command("inject UNLOAD_COMPLETE -").unwrap();
    let expected =
        [(kind::RESCIND_CHANNEL_OFFER, vec![0x55, 0, 0, 0]), (kind::UNLOAD_COMPLETE, vec![])];
    assert_eq!(guest.messages(), expected);
}

#[test]
fn messages_held_and_posts_refused() {
    let mut bed = Bed::new();
    bed.command("fault hold 200");
    bed.guest.post(kind::GPADL_TEARDOWN, &msg::GpadlTeardown { relid: 1, gpadl: 7 });
    bed.guest.host.advance(199);
    assert!(bed.guest.kinds().is_empty());
    assert_eq!(bed.guest.host.next_event(), Some(200));
    bed.guest.host.advance(200);
    assert_eq!(bed.guest.kinds(), [kind::GPADL_TORNDOWN]);
    bed.command("fault post 0x33 5");
    assert_eq!(bed.guest.wire.0.lock().unwrap().refused, [(0x33, 5)]);
}

#[test]
fn packets_dropped_doubled_late_and_of_nobody() {
    let mut bed = Bed::new();
    bed.command("fault packet one drop 1 skip 1");
    (1..=3).for_each(|id| bed.send(id));
    assert_eq!(bed.ids(), [1, 3]);
    bed.command("fault packet one duplicate");
    bed.send(4);
    assert_eq!(bed.ids(), [4, 4]);
    bed.command("fault packet one unknown-id");
    bed.send(5);
    assert!(bed.ids()[0] > 1 << 62);

    bed.command("fault packet one delay 30");
    bed.interrupts();
    bed.send(6);
    assert!(bed.interrupts().is_empty());
    bed.send(7);
    assert_eq!(bed.ids(), [7]);
    bed.interrupts();
    bed.guest.host.advance(30);
    assert_eq!(bed.interrupts(), [(0, 1)]);
    assert_eq!(bed.ids(), [6]);

    // On another channel, or of another kind: not touched.
    bed.command("fault packet one drop channel 1");
    bed.send(8);
    assert_eq!(bed.ids(), [8]);
    assert_eq!(bed.guest.violations(), 0);
}

#[test]
fn a_late_packet_dies_with_its_channel() {
    let mut bed = Bed::new();
    bed.command("fault packet one delay 30");
    bed.send(6);
    bed.guest.post(kind::CLOSE_CHANNEL, &msg::Relid { relid: 1 });
    assert_eq!(bed.guest.open(1, 7, 4), Some(STATUS_SUCCESS));
    bed.guest.host.advance(100);
    assert!(bed.ids().is_empty());
}

#[test]
fn packets_cut_stretched_and_changed() {
    let mut bed = Bed::new();
    bed.command("fault packet one truncate 20");
    bed.send(1);
    assert_eq!(bed.packet().unwrap().data, [0u8; 0], "the descriptor alone");
    bed.command("fault packet one extend 9");
    bed.send(2);
    let data = bed.packet().unwrap().data;
    assert_eq!((data.len(), &data[..8]), (24, &b"12345678"[..]));
    bed.command("fault packet one byte 17 0x20");
    bed.send(3);
    assert_eq!(bed.packet().unwrap().data, b"1 345678");
    // A descriptor that says less than there is.
    bed.command("fault packet one byte 4 2");
    bed.send(4);
    assert!(bed.packet().unwrap().data.is_empty());
}

#[test]
fn a_byte_changes_after_the_index() {
    let mut bed = Bed::new();
    bed.command("fault packet one flip 16 0x21");
    bed.send(1);
    assert_eq!(bed.packet().unwrap().data, b"!2345678");
    assert_eq!(bed.guest.host.trace.counter("one.fault.flip"), 1);
}

#[test]
fn interrupts_for_nothing_early_and_late() {
    let mut bed = Bed::new();
    bed.command("interrupt 77");
    bed.command("interrupt 78 3");
    assert_eq!(bed.interrupts(), [(0, 77), (3, 78)]);

    bed.command("fault no-interrupt one 40");
    bed.send(1);
    assert!(bed.interrupts().is_empty());
    assert_eq!(bed.ids(), [1]);
    bed.guest.host.advance(39);
    assert!(bed.interrupts().is_empty());
    bed.guest.host.advance(40);
    assert_eq!(bed.interrupts(), [(0, 1)], "the one that was owed");
    bed.command("fault no-interrupt one forever");
    bed.send(2);
    bed.guest.host.advance(1 << 40);
    assert!(bed.interrupts().is_empty());
    bed.command("fault clear");
    bed.guest.host.advance((1 << 40) + 1);
    assert_eq!(bed.interrupts(), [(0, 1)]);

    bed.command("fault early-interrupt two 1");
    bed.command("fault early-interrupt two 1 gpadl");
    assert_eq!(bed.guest.gpadl(2, 9, 40, 8), Some(STATUS_SUCCESS));
    assert_eq!(bed.interrupts(), [(0, 2)]);
    bed.guest.wire.0.lock().unwrap().slot_full = true;
    let user = [0; msg::USER_BYTES];
    let (relid, gpadl) = (2, 9);
    bed.guest.post(
        kind::OPEN_CHANNEL,
        &msg::OpenChannel { relid, open_id: 2, gpadl, target_vp: 0, second_ring_page: 4, user },
    );
    assert_eq!(bed.interrupts(), [(0, 2)], "and the answer is not even out");
}

#[test]
fn a_ring_that_is_not_read() {
    let mut bed = Bed::new();
    bed.command("stop one 0");
    bed.send(1);
    bed.send(2);
    assert!(bed.ids().is_empty());
    assert_eq!(bed.guest.host.next_event(), None);
    bed.command("go one 0");
    bed.serve();
    assert_eq!(bed.ids(), [1, 2]);
}

#[test]
fn pauses_at_each_position_of_a_batch() {
    let mut bed = Bed::new();
    bed.command("fault pause one 0 sweep 10");
    let mem = bed.guest.mem.clone();
    for id in 1..=10 {
        bed.rings.guest_send(&*mem, PacketKind::InBand, id, true, &[], b"12345678");
    }
    bed.guest.host.guest_signal(0x2001);
    for (now, expected) in [(0, 1..=1), (10, 2..=3), (20, 4..=6), (30, 7..=10)] {
        bed.guest.host.advance(now);
        bed.serve();
        assert_eq!(bed.ids(), expected.collect::<Vec<_>>(), "{now} ms");
    }
    assert_eq!(bed.guest.host.trace.counter("one.fault.pause"), 4);
}

#[test]
fn words_of_the_control_pages() {
    let mut bed = Bed::new();
    bed.send(1);
    for (field, page, at) in [
        ("write", HOST_TO_GUEST, 0),
        ("read", 0, 4),
        ("mask", 0, 8),
        ("pending", HOST_TO_GUEST, 12),
    ] {
        let right = bed.word(page, at);
        bed.command(&format!("fault ring one 0 {field} 0xfffffff0"));
        assert_eq!(bed.word(page, at), 0xffff_fff0, "{field}");
        bed.command(&format!("fault ring one 0 {field} back"));
        assert_eq!(bed.word(page, at), 0xffff_ffe8, "{field}");
        bed.command("fault mend one 0");
        assert_eq!(bed.word(page, at), right, "{field}");
    }
    assert_eq!(bed.ids(), [1]);
    bed.send(2);
    assert_eq!(bed.ids(), [2]);
    assert_eq!(bed.guest.violations(), 0);
}

#[test]
fn taken_away_at_each_step() {
    let rescind = [kind::RESCIND_CHANNEL_OFFER];
    for step in ["offered", "gpadl", "open", "opened", "close"] {
        let mut guest = Guest::connected();
        guest.host.command("rescind one").unwrap();
        guest.host.command("offer one").unwrap();
        guest.messages();
        guest.host.command(&format!("fault rescind one {step}")).unwrap();
        guest.post(kind::RELID_RELEASED, &msg::Relid { relid: 1 });
        let news = guest.kinds();
        if step == "offered" {
            assert_eq!(news, [kind::OFFER_CHANNEL, kind::RESCIND_CHANNEL_OFFER]);
            continue;
        }
        let header = msg::GpadlHeader { relid: 1, gpadl: 7, range_bytes: 72, range_count: 1 };
        let mut message = msg::build(kind::GPADL_HEADER, &header);
        message.extend((8 * PAGE as u64).to_le_bytes());
        (0..8u64).for_each(|pfn| message.extend(pfn.to_le_bytes()));
        guest.host.guest_message(&message);
        let news = guest.kinds();
        if step == "gpadl" {
            assert_eq!(news, [kind::RESCIND_CHANNEL_OFFER, kind::GPADL_CREATED]);
            continue;
        }
        let (relid, gpadl, user) = (1, 7, [0; msg::USER_BYTES]);
        let open =
            msg::OpenChannel { relid, open_id: 1, gpadl, target_vp: 0, second_ring_page: 4, user };
        guest.post(kind::OPEN_CHANNEL, &open);
        match step {
            "open" => assert_eq!(guest.kinds(), rescind, "and no answer"),
            "opened" => assert_eq!(guest.kinds(), [kind::OPEN_RESULT, rescind[0]]),
            _ => {
                assert_eq!(guest.kinds(), [kind::OPEN_RESULT]);
                guest.post(kind::CLOSE_CHANNEL, &msg::Relid { relid });
                assert_eq!(guest.kinds(), rescind);
            }
        }
        assert_eq!(guest.violations(), 0, "{step}");
    }
}

#[test]
fn taken_away_instead_of_an_answer() {
    let mut bed = Bed::new();
    bed.command("fault packet one rescind skip 1");
    bed.send(1);
    assert_eq!(bed.ids(), [1]);
    assert!(bed.guest.kinds().is_empty());
    bed.send(2);
    assert!(bed.ids().is_empty());
    assert_eq!(bed.guest.kinds(), [kind::RESCIND_CHANNEL_OFFER]);
    assert_eq!(bed.guest.violations(), 0);

    let mut guest = Guest::connected();
    guest.host.command("fault message GPADL_CREATED rescind").unwrap();
    let header = msg::GpadlHeader { relid: 1, gpadl: 7, range_bytes: 16, range_count: 1 };
    let mut message = msg::build(kind::GPADL_HEADER, &header);
    message.extend([PAGE as u64, MEMORY].as_bytes());
    guest.host.guest_message(&message);
    assert_eq!(guest.kinds(), [kind::RESCIND_CHANNEL_OFFER]);
    assert!(guest.host.command("fault message GPADL_TORNDOWN rescind").is_err());
    assert_eq!(guest.violations(), 0);
}

#[test]
fn offers_that_are_wrong() {
    let mut guest = Guest::connected();
    let mut offer = |words: &str| {
        let relid = guest.host.command(&format!("fault offer one {words}")).unwrap();
        let (kind, body) = guest.messages().pop().unwrap();
        assert_eq!(kind, kind::OFFER_CHANNEL);
        let offer: msg::OfferChannel = get(&body).unwrap();
        let sent = offer.relid;
        assert_eq!(relid, sent.to_string());
        (sent, offer)
    };
    for (words, relid) in [("relid=0", 0), ("relid=4096", 4096), ("relid=2", 2), ("", 3)] {
        assert_eq!(offer(words).0, relid);
    }
    let (relid, sub) = offer("sub=5");
    assert_eq!((relid, { sub.sub_channel }), (4, 5));
    assert_ne!(sub.instance, Guid([1; 16]));
    let twin = offer("class=same instance=same").1;
    assert_eq!((twin.interface, twin.instance), (INTERFACE, Guid([1; 16])));
    let monitor = offer("monitor=200").1;
    assert_eq!((monitor.monitor_id, monitor.monitor_allocated), (200, 1));

    // The guest's answers to those are nobody's, and channel 2 is still the device's.
    guest.post(kind::OPEN_CHANNEL, &msg::Relid { relid: 3 });
    guest.post(kind::RELID_RELEASED, &msg::Relid { relid: 3 });
    assert_eq!(guest.violations(), 0);
    assert_eq!(guest.host.trace.counter("ghost_messages"), 2);
    assert_eq!(guest.gpadl(2, 9, 40, 8), Some(STATUS_SUCCESS));
    assert_eq!(guest.open(2, 9, 4), Some(STATUS_SUCCESS));
}

#[test]
fn storms_repeat_with_their_seed() {
    let run = |seed: u64, rate: &str| {
        let mut bed = Bed::new();
        bed.command(&format!("fault seed {seed}"));
        bed.command(&format!("fault storm {rate}"));
        let mut seen = Vec::new();
        for id in 1..=200 {
            bed.guest.host.advance(id * 20);
            bed.send(id);
            let mut packet = [0; 32];
            // As bytes: not every one is a packet any more.
            bed.guest.mem.read((MEMORY + 5) * PAGE as u64, &mut packet).unwrap();
            seen.push((bed.word(HOST_TO_GUEST, 0), packet));
            bed.guest.host.command("fault mend one 0").unwrap();
            let write = bed.word(HOST_TO_GUEST, 0);
            bed.guest.mem.store((MEMORY + HOST_TO_GUEST) * PAGE as u64 + 4, write).unwrap();
        }
        assert_eq!(bed.guest.violations(), 0);
        (seen, bed.guest.host.trace.counters().clone())
    };
    assert_eq!(run(1, "300"), run(1, "300"));
    assert_ne!(run(1, "300"), run(2, "300"));
    assert_eq!(run(3, "300 hard"), run(3, "300 hard"));
    let counters = run(4, "300").1;
    assert!(counters["one.fault.delay"] > 20);
    assert!(!counters.contains_key("one.fault.drop"), "not without being asked");
    let counters = run(4, "500 hard").1;
    for what in ["drop", "duplicate", "truncate", "extend", "byte", "flip", "unknown-id"] {
        assert!(counters.contains_key(&format!("one.fault.{what}")), "{what}");
    }
}

#[test]
fn broken_rules_count() {
    let mut bed = Bed::new();
    let mem = bed.guest.mem.clone();
    bed.command("stop one 0");
    bed.send(1);
    bed.send(1);
    bed.command("go one 0");
    // The device answers the first before the second is read: no rule is broken.
    bed.serve();
    assert_eq!(bed.guest.violations(), 0);
    bed.rings.guest_send(&*mem, PacketKind::Completion, 9, false, &[], b"");
    bed.guest.host.guest_signal(0x2001);
    bed.serve();
    assert_eq!(bed.guest.violations(), 1, "the host has not sent 9");
    bed.guest.host.guest_signal(0x2001);
    bed.serve();
    assert_eq!(bed.guest.host.trace.counter("one.empty_signals"), 1);
    // After a fault on the channel it is not the guest's doing alone.
    bed.command("fault packet one duplicate");
    bed.send(3);
    bed.rings.guest_send(&*mem, PacketKind::Completion, 9, false, &[], b"");
    bed.guest.host.guest_signal(0x2001);
    bed.serve();
    assert_eq!(bed.guest.violations(), 1);
    assert_eq!(bed.guest.host.trace.counter("one.breaches_after_faults"), 1);
    bed.guest.post(kind::UNLOAD, &[0u8; 0]);
    assert_eq!(bed.guest.host.trace.counter("gpadls_at_unload"), 1);
}

#[test]
fn a_bus_full_of_devices() {
    let mut guest = Guest::connected();
    assert!(guest.host.command("null 2046").is_err());
    guest.host.command("null 2045").unwrap();
    let relids: BTreeSet<u32> = guest
        .messages()
        .iter()
        .map(|(_, body)| get::<msg::OfferChannel>(body).unwrap().relid)
        .collect();
    assert_eq!(relids, (3..=MAX_RELID).collect());
    assert!(guest.host.command("null 1").is_err());
    guest.host.command("rescind null5").unwrap();
    assert_eq!(guest.kinds(), [kind::RESCIND_CHANNEL_OFFER]);
}

#[test]
fn a_strict_host_reads_nothing_by_chance() {
    for strict in [false, true] {
        let mut guest = Guest::connected();
        if strict {
            guest.host.be_strict();
            guest.host.add("three", Box::new(Echo(Guid([3; 16]))));
            guest.messages();
        }
        let relid = if strict { 3 } else { 1 };
        assert_eq!(guest.gpadl(relid, 7, MEMORY, 8), Some(STATUS_SUCCESS));
        let memory = PageRange { offset: 0, len: 8 * PAGE as u32, pfns: (16..24).collect() };
        let mut rings = RingPair::guest_end(&memory, 4, &*guest.mem);
        let mem = guest.mem.clone();
        let mut send = |id| rings.guest_send(&*mem, PacketKind::InBand, id, true, &[], b"");
        send(1);
        assert_eq!(guest.open(relid, 7, 4), Some(STATUS_SUCCESS));
        while guest.host.serve() {}
        let name = if strict { "three" } else { "one" };
        let taken = |guest: &Guest| guest.host.trace.counter(&format!("{name}.packets"));
        assert_eq!(taken(&guest), u64::from(!strict));
        guest.host.guest_signal(signal_connection(relid));
        while guest.host.serve() {}
        assert_eq!(taken(&guest), 1);
        // The same after a pause: what came without a signal stays where it is.
        guest.host.command(&format!("stop {name} 0")).unwrap();
        send(2);
        guest.host.command(&format!("go {name} 0")).unwrap();
        while guest.host.serve() {}
        assert_eq!(taken(&guest), if strict { 1 } else { 2 });
        guest.host.command(&format!("stop {name} 0")).unwrap();
        guest.host.guest_signal(signal_connection(relid));
        while guest.host.serve() {}
        guest.host.command(&format!("go {name} 0")).unwrap();
        while guest.host.serve() {}
        assert_eq!(taken(&guest), 2, "a signal that came in between is not lost");
    }
}

#[test]
fn memory_is_written_to_until_the_guest_has_it_back() {
    let mut guest = Guest::connected();
    guest.host.write_patterns();
    let bytes = |guest: &Guest, page: u64| {
        let mut bytes = [0; PAGE];
        guest.mem.read(page * PAGE as u64, &mut bytes).unwrap();
        (bytes[0], bytes[PAGE - 1])
    };
    assert_eq!(guest.gpadl(1, 7, MEMORY, 8), Some(STATUS_SUCCESS));
    assert_eq!(guest.gpadl(1, 8, MEMORY + 8, 1), Some(STATUS_SUCCESS));
    assert_eq!(bytes(&guest, MEMORY), (0, 0));
    guest.post(kind::GPADL_TEARDOWN, &msg::GpadlTeardown { relid: 1, gpadl: 7 });
    assert!(guest.kinds().is_empty());
    assert_eq!(bytes(&guest, MEMORY + 7), (0xd7, 0xd7));
    // A guest that does not wait finds its data gone.
    guest.mem.write((MEMORY + 3) * PAGE as u64, &[1; PAGE]).unwrap();
    guest.host.advance(10);
    assert_eq!(bytes(&guest, MEMORY + 3), (0xd7, 0xd7));
    assert_eq!(bytes(&guest, MEMORY + 8), (0, 0), "somebody else's");
    guest.host.advance(20);
    assert_eq!(guest.kinds(), [kind::GPADL_TORNDOWN]);
    guest.mem.write(MEMORY * PAGE as u64, &[1; PAGE]).unwrap();
    guest.host.advance(30);
    assert_eq!(bytes(&guest, MEMORY), (1, 1));

    // A rescind gives everything back at once.
    guest.post(kind::GPADL_TEARDOWN, &msg::GpadlTeardown { relid: 1, gpadl: 8 });
    guest.host.command("rescind one").unwrap();
    guest.mem.write((MEMORY + 8) * PAGE as u64, &[1; PAGE]).unwrap();
    guest.host.advance(40);
    assert_eq!(bytes(&guest, MEMORY + 8), (1, 1));
}

/// Never answers.
struct Keeper;

impl Device for Keeper {
    fn offer(&self) -> crate::device::Offer {
        crate::device::Offer::new(INTERFACE, Guid([4; 16]))
    }

    fn packet(&mut self, io: &mut Io<'_>, channel: usize, packet: Packet) -> Result<(), Violation> {
        io.keep(channel, &packet.ranges);
        Ok(())
    }
}

#[test]
fn a_request_without_answer_is_written_to_until_the_rings_are_back() {
    for rescind in [false, true] {
        let mut guest = Guest::connected();
        guest.host.write_patterns();
        guest.host.add("keeper", Box::new(Keeper));
        guest.messages();
        assert_eq!(guest.gpadl(3, 7, MEMORY, 8), Some(STATUS_SUCCESS));
        let ring =
            PageRange { offset: 0, len: 8 * PAGE as u32, pfns: (MEMORY..MEMORY + 8).collect() };
        let mut rings = RingPair::guest_end(&ring, 4, &*guest.mem);
        let buffer = PageRange { offset: 8, len: 16, pfns: vec![MEMORY + 8] };
        let direct = PacketKind::GpaDirect;
        rings.guest_send(&*guest.mem, direct, 1, true, std::slice::from_ref(&buffer), b"");
        assert_eq!(guest.open(3, 7, 4), Some(STATUS_SUCCESS));
        while guest.host.serve() {}
        let again = |guest: &mut Guest, now| {
            buffer.write(&*guest.mem, 0, &[1; 16]).unwrap();
            guest.host.advance(now);
            let mut bytes = [0; 24];
            guest.mem.read((MEMORY + 8) * PAGE as u64, &mut bytes).unwrap();
            assert_eq!(bytes[..8], [0; 8], "somebody else's");
            assert_eq!(bytes[8..], [bytes[8]; 16]);
            bytes[8]
        };
        assert_eq!((again(&mut guest, 5), again(&mut guest, 10)), (0xd7, 0xd7));
        if rescind {
            guest.host.command("rescind keeper").unwrap();
            assert_eq!(again(&mut guest, 15), 1);
            continue;
        }
        guest.post(kind::CLOSE_CHANNEL, &msg::Relid { relid: 3 });
        assert_eq!(again(&mut guest, 15), 0xd7);
        guest.post(kind::GPADL_TEARDOWN, &msg::GpadlTeardown { relid: 3, gpadl: 7 });
        assert_eq!(again(&mut guest, 20), 0xd7);
        guest.messages();
        guest.host.advance(40);
        assert_eq!(guest.kinds(), [kind::GPADL_TORNDOWN]);
        assert_eq!(again(&mut guest, 45), 1);
    }
}
