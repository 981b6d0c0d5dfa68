// SPDX-License-Identifier: GPL-2.0

//! Sub-channels, disks that come and go, and wrong answers.

use super::*;

const TEST_UNIT_READY: [u8; 6] = [op::TEST_UNIT_READY, 0, 0, 0, 0, 0];
const READ_ONE: [u8; 10] = [op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0];

fn command(bench: &mut Bench, line: &str) -> Result<String, String> {
    bench.command(&line.split(' ').collect::<Vec<_>>())
}

/// The next unsolicited packet's operation.
fn event(bench: &mut Bench) -> Option<u32> {
    let packet = bench.guest_recv()?;
    assert_eq!((packet.kind, packet.transaction_id), (PacketKind::InBand, 0));
    assert_eq!((packet.completion_requested, packet.data.len()), (false, HEADER + PAYLOAD));
    Some(u32::from_le_bytes(packet.data[..4].try_into().unwrap()))
}

/// SRB status, SCSI status, and key, code and qualifier of the sense data.
fn outcome(bench: &mut Bench, data: &[u8]) -> (u8, u8, [u8; 3]) {
    let range = bench.alloc(4096);
    let answer = execute(bench, std::slice::from_ref(&range), data).1;
    let sense = [answer.cdb[2], answer.cdb[12], answer.cdb[13]];
    (answer.srb_status, answer.scsi_status, sense)
}

#[test]
fn sub_channels_carry_commands() {
    let mut bench = Bench::new(Box::new(controller().with_sub_channels(3)));
    step(&mut bench, operation::BEGIN_INITIALIZATION, &[]);
    step(&mut bench, operation::QUERY_VERSION, &[0x00, 0x06]);
    let answer = ask(&mut bench, &[], &message(operation::QUERY_PROPERTIES, &[])).unwrap();
    let (properties, _) = Properties::read_from_prefix(&answer.payload).unwrap();
    assert_eq!((properties.flags.get(), properties.max_sub_channels.get()), (MULTI_CHANNEL, 3));
    step(&mut bench, operation::END_INITIALIZATION, &[]);
    let create = operation::CREATE_SUB_CHANNELS;
    assert_eq!(step(&mut bench, create, &[4, 0]), status::INVALID_PARAMETER);
    assert_eq!(bench.sub_channels, None);
    assert_eq!(step(&mut bench, create, &[2, 0]), status::SUCCESS);
    assert_eq!(bench.sub_channels, Some(2));
    bench.open_next();
    bench.open_next();

    // Data, through the last channel, answered there.
    let range = bench.alloc(4096);
    range.write(&*bench.mem, 0, &[0x5a; 512]).unwrap();
    let write = srb(0, DATA_OUT, 512, &[op::WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    bench.guest_send_on(2, PacketKind::GpaDirect, 7, true, &[range], &write);
    let answer = bench.guest_recv_on(2).unwrap();
    assert_eq!((answer.transaction_id, answer.data[HEADER + 2]), (7, srb_status::SUCCESS));
    assert!(bench.guest_recv().is_none() && bench.guest_recv_on(1).is_none());
    assert_eq!(fetch(&mut bench, 0, 512, &READ_ONE).1, [0x5a; 512]);
    assert_eq!(bench.trace.counter("dev.sub_channel_2_commands"), 1);
    // The handshake belongs to the primary channel.
    bench.guest_send_on(1, PacketKind::InBand, 8, true, &[], &message(create, &[1, 0]));
    let answer = bench.guest_recv_on(1).unwrap();
    assert_eq!(answer.data[8..12], status::INVALID_DEVICE_STATE.to_le_bytes());
}

#[test]
fn disks_come_and_go() {
    let mut bench = ready();
    command(&mut bench, "add 1 1M:ro").unwrap();
    assert_eq!(event(&mut bench), Some(operation::ENUMERATE_BUS));
    assert!(command(&mut bench, "add 1 1M").is_err());
    let (answer, _) = fetch(&mut bench, 1, 512, &READ_ONE);
    assert_eq!(answer.srb_status, srb_status::SUCCESS);
    let write = srb(1, DATA_OUT, 512, &[op::WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(outcome(&mut bench, &write), (0x84, 2, [7, 0x27, 0]));

    command(&mut bench, "remove 1 remove-device").unwrap();
    assert_eq!(event(&mut bench), Some(operation::REMOVE_DEVICE));
    let ready = srb(1, 2, 0, &TEST_UNIT_READY);
    assert_eq!(outcome(&mut bench, &ready).0, srb_status::INVALID_LUN);
    // Back with what it was; another one is another one.
    command(&mut bench, "add 1 silent").unwrap();
    assert_eq!(event(&mut bench), None);
    assert_eq!(outcome(&mut bench, &write), (0x84, 2, [7, 0x27, 0]));
    let serial = |bench: &mut Bench, lun| {
        fetch(bench, lun, 64, &[op::INQUIRY, 1, 0x80, 0, 64, 0]).1[4..].to_vec()
    };
    let before = serial(&mut bench, 1);
    command(&mut bench, "remove 1").unwrap();
    command(&mut bench, "add 1 1M").unwrap();
    assert_ne!(serial_after_events(&mut bench, serial), before);

    // Somewhere else on the controller.
    command(&mut bench, "add 1:0:5 1M silent").unwrap();
    let mut elsewhere = srb(5, 2, 0, &TEST_UNIT_READY);
    elsewhere[HEADER + 5] = 1;
    assert_eq!(outcome(&mut bench, &elsewhere).0, srb_status::SUCCESS);
    let mut luns = srb(0, DATA_IN, 64, &[op::REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0]);
    luns[HEADER + 5] = 1;
    let range = bench.alloc(4096);
    let (_, answer) = execute(&mut bench, std::slice::from_ref(&range), &luns);
    assert_eq!(answer.data_length.get(), 16);

    for wrong in [
        "remove 9",
        "resize 9 1M",
        "resize 0 1",
        "add 9",
        "add 9 1M loud",
        "add 9 silent",
        "hash 1",
        "attention 0 6/29",
        "notify b 1001",
        "notify xx",
        "rival 0 dance",
        "set colour red",
    ] {
        assert!(command(&mut bench, wrong).is_err(), "{wrong}");
    }
}

/// Takes the two events first.
fn serial_after_events(bench: &mut Bench, serial: impl Fn(&mut Bench, u8) -> Vec<u8>) -> Vec<u8> {
    for _ in 0..2 {
        assert_eq!(event(bench), Some(operation::ENUMERATE_BUS));
    }
    serial(bench, 1)
}

#[test]
fn unit_attentions_and_events() {
    let mut bench = ready();
    let ready = srb(0, 2, 0, &TEST_UNIT_READY);
    command(&mut bench, "resize 0 8M").unwrap();
    assert_eq!(event(&mut bench), None);
    assert_eq!(outcome(&mut bench, &ready), (0x84, 2, [6, 0x2a, 9]));
    assert_eq!(outcome(&mut bench, &ready).0, srb_status::SUCCESS);
    command(&mut bench, "resize 0 4M enumerate").unwrap();
    assert_eq!(event(&mut bench), Some(operation::ENUMERATE_BUS));
    assert_eq!(outcome(&mut bench, &ready), (0x84, 2, [6, 0x2a, 9]));
    command(&mut bench, "attention 0 6/3f/0e").unwrap();
    assert_eq!(outcome(&mut bench, &ready), (0x84, 2, [6, 0x3f, 0xe]));
    command(&mut bench, "notify 0xc 3").unwrap();
    for _ in 0..3 {
        assert_eq!(event(&mut bench), Some(12));
    }
    assert_eq!(event(&mut bench), None);
    // A guest that is not ready hears nothing.
    bench.reopen();
    command(&mut bench, "notify b").unwrap();
    assert_eq!(event(&mut bench), None);
}

#[test]
fn reservation_conflicts() {
    let mut bench = ready();
    command(&mut bench, "rival 0 register 0x77").unwrap();
    command(&mut bench, "rival 0 reserve 3").unwrap();
    let read = srb(0, DATA_IN, 512, &READ_ONE);
    assert_eq!(outcome(&mut bench, &read).1, RESERVATION_CONFLICT);
    command(&mut bench, "rival 0 clear").unwrap();
    assert_eq!(outcome(&mut bench, &read).0, srb_status::SUCCESS);
}

#[test]
fn commands_fail_on_request() {
    let mut bench = ready();
    let read = srb(0, DATA_IN, 512, &READ_ONE);
    let ready = srb(0, 2, 0, &TEST_UNIT_READY);
    let good = (srb_status::SUCCESS, GOOD);
    let status = |bench: &mut Bench, data: &[u8]| {
        let (srb, scsi, _) = outcome(bench, data);
        (srb, scsi)
    };
    command(&mut bench, "fail 2 3/11/00 opcode=28 lun=0 skip=1").unwrap();
    assert_eq!(status(&mut bench, &read), good);
    assert_eq!(command(&mut bench, "faults"), Ok("2".into()));
    assert_eq!(status(&mut bench, &ready), good);
    assert_eq!(status(&mut bench, &srb(3, DATA_IN, 512, &READ_ONE)), good);
    assert_eq!(outcome(&mut bench, &read), (0x84, 2, [3, 0x11, 0]));
    assert_eq!(outcome(&mut bench, &read), (0x84, 2, [3, 0x11, 0]));
    assert_eq!(status(&mut bench, &read), good);
    assert_eq!(bench.trace.counter("dev.faults"), 2);
    // Statuses as they are named; the commands are not done.
    command(&mut bench, "fail 1 30").unwrap();
    assert_eq!(status(&mut bench, &read), (0x30, GOOD));
    command(&mut bench, "fail 1 0x04 28").unwrap();
    assert_eq!(status(&mut bench, &read), (0x04, 0x28));
    let write = srb(0, DATA_OUT, 512, &[op::WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    command(&mut bench, "fail 1 4 opcode=2a").unwrap();
    assert_eq!(status(&mut bench, &write), (4, GOOD));
    assert_eq!(bench.trace.counter("dev.writes"), 0);
    // The oldest comes first; the rest can be called off.
    command(&mut bench, "fail 1 6").unwrap();
    command(&mut bench, "fail 9 9").unwrap();
    assert_eq!(status(&mut bench, &read), (6, GOOD));
    assert_eq!(status(&mut bench, &read), (9, GOOD));
    command(&mut bench, "faults off").unwrap();
    assert_eq!(status(&mut bench, &read), good);
    for wrong in
        ["fail", "fail x", "fail 1 100", "fail 1 3/11", "fail 1 colour=red", "alter 1 data=+"]
    {
        assert!(command(&mut bench, wrong).is_err(), "{wrong}");
    }
}

#[test]
fn answers_lie_on_request() {
    let mut bench = ready();
    let range = bench.alloc(4096);
    let read = srb(0, DATA_IN, 512, &READ_ONE);
    let told = |bench: &mut Bench, line: &str| {
        command(bench, line).unwrap();
        let (status, answer) = execute(bench, std::slice::from_ref(&range), &read);
        (status, answer.srb_status, answer.data_length.get(), answer.sense_length)
    };
    let good = srb_status::SUCCESS;
    assert_eq!(told(&mut bench, "alter 1 data=+4096"), (0, good, 4608, 0));
    assert_eq!(told(&mut bench, "alter 1 data=1 host=c0000001"), (0xc000_0001, good, 1, 0));
    assert_eq!(told(&mut bench, "alter 1 sense=ff"), (0, good, 512, 0xff));
    assert_eq!(told(&mut bench, "fail 1 3/11/0 sense=15 data=7"), (0xc000_0001, 0x84, 7, 0x15));
    assert_eq!(bench.trace.counter("dev.reads"), 3);
}

#[test]
fn the_handshake_goes_wrong_on_request() {
    let mut bench = ready();
    command(&mut bench, "set versions").unwrap();
    command(&mut bench, "set max-transfer 0").unwrap();
    command(&mut bench, "set sub-channels 5").unwrap();
    command(&mut bench, "fail 1 op=7 host=c0000184").unwrap();
    bench.reopen();
    let begin = operation::BEGIN_INITIALIZATION;
    assert_eq!(step(&mut bench, begin, &[]), status::INVALID_DEVICE_STATE);
    assert_eq!(step(&mut bench, begin, &[]), status::SUCCESS);
    let query = operation::QUERY_VERSION;
    assert_eq!(step(&mut bench, query, &[0, 6]), status::REVISION_MISMATCH);
    command(&mut bench, "set versions 6.2 6.0").unwrap();
    assert_eq!(step(&mut bench, query, &[2, 6]), status::SUCCESS);
    let answer = ask(&mut bench, &[], &message(operation::QUERY_PROPERTIES, &[])).unwrap();
    let (properties, _) = Properties::read_from_prefix(&answer.payload).unwrap();
    assert_eq!((properties.max_transfer.get(), properties.max_sub_channels.get()), (0, 5));
    // Another operation than "completed" as the answer.
    command(&mut bench, "alter 1 op=8 answer=3").unwrap();
    bench.guest_send(PacketKind::InBand, 1, true, &[], &message(8, &[]));
    assert_eq!(bench.guest_recv().unwrap().data[..4], [3, 0, 0, 0]);
    assert!(!bench.dead());
    for wrong in ["set versions 6", "set versions 6.x", "set max-transfer", "set sub-channels -1"] {
        assert!(command(&mut bench, wrong).is_err(), "{wrong}");
    }
}

#[test]
fn mad_answers_end() {
    let mut bench = ready();
    bench.command(&["chaos", "1000", "7"]).unwrap();
    let ready = srb(0, 2, 0, &[0; 6]);
    let mut answers = 0;
    for id in 0..300 {
        bench.guest_send(PacketKind::InBand, id, true, &[], &ready);
        while bench.guest_recv().is_some() {
            answers += 1;
        }
    }
    assert!(answers > 150, "{answers}");
    bench.command(&["chaos", "off"]).unwrap();
    let mut ids = Vec::new();
    while let Some(answer) = bench.guest_recv() {
        ids.push(answer.transaction_id);
    }
    assert_eq!(ids.len(), 16);
    let answer = ask(&mut bench, &[], &ready).unwrap();
    assert_eq!(answer.status.get(), status::SUCCESS);
}
