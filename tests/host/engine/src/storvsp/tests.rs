// SPDX-License-Identifier: GPL-2.0

//! A controller, from the guest's end of its channel.

use super::*;
use crate::disk::{DiskConfig, MemoryBacking};
use crate::mock::Bench;

const MIB: u64 = 1 << 20;

fn controller() -> Storvsp {
    let disk = |lun| {
        let config = DiskConfig::new(Address::lun(lun), format!("S{lun}"));
        Disk::new(Box::new(MemoryBacking::new(4 * MIB)), config)
    };
    Storvsp::new(0, vec![disk(0), disk(3)])
}

fn message(operation: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Message::new_zeroed();
    out.operation = operation.into();
    out.flags = 1.into();
    out.payload[..payload.len()].copy_from_slice(payload);
    out.as_bytes().to_vec()
}

/// Sends a packet; returns the completion.
fn ask(bench: &mut Bench, ranges: &[PageRange], data: &[u8]) -> Option<Message> {
    let kind = if ranges.is_empty() { PacketKind::InBand } else { PacketKind::GpaDirect };
    bench.guest_send(kind, 0x1234, true, ranges, data);
    let answer = bench.guest_recv()?;
    assert_eq!((answer.kind, answer.transaction_id), (PacketKind::Completion, 0x1234));
    assert_eq!(answer.data.len(), data.len());
    let mut out = Message::new_zeroed();
    out.as_mut_bytes()[..data.len()].copy_from_slice(&answer.data);
    assert_eq!(out.operation.get(), operation::COMPLETE_IO);
    Some(out)
}

fn step(bench: &mut Bench, operation: u32, payload: &[u8]) -> u32 {
    ask(bench, &[], &message(operation, payload)).unwrap().status.get()
}

/// A controller after Linux's handshake.
fn ready() -> Bench {
    let mut bench = Bench::new(Box::new(controller()));
    assert_eq!(step(&mut bench, operation::BEGIN_INITIALIZATION, &[]), status::SUCCESS);
    let query = operation::QUERY_VERSION;
    assert_eq!(step(&mut bench, query, &[0x02, 0x06]), status::REVISION_MISMATCH);
    assert_eq!(step(&mut bench, query, &[0x00, 0x06]), status::SUCCESS);
    let answer = ask(&mut bench, &[], &message(operation::QUERY_PROPERTIES, &[])).unwrap();
    let (properties, _) = Properties::read_from_prefix(&answer.payload).unwrap();
    assert_eq!(properties.max_transfer.get(), 256 << 10);
    assert_eq!((properties.flags.get(), properties.max_sub_channels.get()), (0, 0));
    assert_eq!(step(&mut bench, operation::END_INITIALIZATION, &[]), status::SUCCESS);
    bench
}

fn srb(lun: u8, direction: u8, len: usize, cdb: &[u8]) -> Vec<u8> {
    let mut srb = Srb::new_zeroed();
    srb.length = (PAYLOAD as u16).into();
    srb.lun = lun;
    srb.cdb_length = cdb.len() as u8;
    srb.sense_length = 0x14;
    srb.data_in = direction;
    srb.data_length = (len as u32).into();
    srb.cdb[..cdb.len()].copy_from_slice(cdb);
    message(operation::EXECUTE_SRB, srb.as_bytes())
}

fn execute(bench: &mut Bench, ranges: &[PageRange], data: &[u8]) -> (u32, Srb) {
    let answer = ask(bench, ranges, data).unwrap();
    (answer.status.get(), Srb::read_from_bytes(&answer.payload).unwrap())
}

/// A command with data in.
fn fetch(bench: &mut Bench, lun: u8, len: usize, cdb: &[u8]) -> (Srb, Vec<u8>) {
    let range = bench.alloc(len);
    let (_, answer) = execute(bench, std::slice::from_ref(&range), &srb(lun, DATA_IN, len, cdb));
    let mut data = vec![0; answer.data_length.get() as usize];
    range.read(&*bench.mem, 0, &mut data).unwrap();
    (answer, data)
}

#[test]
fn layouts() {
    assert_eq!((size_of::<Message>(), size_of::<Srb>()), (0x40, PAYLOAD));
    let offer = Storvsp::new(2, vec![]).offer();
    assert_eq!(offer.instance.to_string(), "f8b3781c-1e82-4818-a1c3-63d806ec15bb");
}

#[test]
fn steps_out_of_order_are_refused() {
    let mut bench = Bench::new(Box::new(controller()));
    let wrong = status::INVALID_DEVICE_STATE;
    for operation in [3, 4, 5, 6, 8, 9, 10, 13] {
        assert_eq!(step(&mut bench, operation, &[0, 6]), wrong, "{operation}");
    }
    let mut bench = ready();
    for operation in [7, 8, 9, 10] {
        assert_eq!(step(&mut bench, operation, &[0, 6]), wrong, "{operation}");
    }
    assert_eq!(step(&mut bench, operation::CREATE_SUB_CHANNELS, &[0, 0]), status::SUCCESS);
    let refused = status::INVALID_PARAMETER;
    assert_eq!(step(&mut bench, operation::CREATE_SUB_CHANNELS, &[1, 0]), refused);
    for operation in 4..=6 {
        assert_eq!(step(&mut bench, operation, &[]), status::SUCCESS);
    }
    assert_eq!(bench.trace.counter("dev.resets"), 3);
    bench.reopen();
    assert_eq!(step(&mut bench, operation::BEGIN_INITIALIZATION, &[]), status::SUCCESS);
}

#[test]
fn what_no_guest_sends_ends_the_channel() {
    let page = Bench::new(Box::new(controller())).alloc(4096);
    let read = srb(0, DATA_IN, 512, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    let more = srb(0, DATA_IN, 4097, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    type Case<'a> = (PacketKind, &'a [PageRange], &'a [u8]);
    let cases: [Case<'_>; 7] = [
        (PacketKind::GpaDirect, &[page.clone(), page.clone()], &read),
        (PacketKind::GpaDirect, std::slice::from_ref(&page), &more),
        (PacketKind::InBand, &[], &read),
        (PacketKind::InBand, &[], &read[..0x30]),
        (PacketKind::InBand, &[], &message(11, &[])),
        (PacketKind::Completion, &[], &read),
        (PacketKind::InBand, &[], &[]),
    ];
    for (n, (kind, ranges, data)) in cases.into_iter().enumerate() {
        let mut bench = ready();
        bench.guest_send(kind, 1, true, ranges, data);
        assert!(bench.dead() && bench.guest_recv().is_none(), "case {n}");
        assert_eq!(bench.trace.counter("violations"), 1);
    }
}

#[test]
fn data_goes_to_the_disk_and_back() {
    let mut bench = ready();
    let len = 200 << 10;
    let mut range = bench.alloc(len + 512);
    // Begin in mid-page and take the pages in another order.
    (range.offset, range.len) = (512, len as u32);
    range.pfns.reverse();
    let data: Vec<u8> = (0..len).map(|i| (i / 3) as u8 ^ (i >> 9) as u8).collect();
    range.write(&*bench.mem, 0, &data).unwrap();
    let write = srb(3, DATA_OUT, len, &[op::WRITE_10, 0, 0, 0, 0, 7, 0, 1, 0x90, 0]);
    let (status, answer) = execute(&mut bench, &[range], &write);
    assert_eq!((status, answer.srb_status, answer.scsi_status), (status::SUCCESS, 1, GOOD));
    assert_eq!((answer.data_length.get() as usize, answer.sense_length), (len, 0));

    // More room than the command fills: the rest is residual.
    let read = [op::READ_16, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 1, 0x90, 0, 0];
    let (answer, back) = fetch(&mut bench, 3, len + 4096, &read);
    assert_eq!(answer.srb_status, srb_status::SUCCESS);
    assert!(back == data);
    let (_, back) = fetch(&mut bench, 0, len, &read);
    assert!(back.iter().all(|&b| b == 0));
    assert_eq!(bench.trace.counter("dev.bytes_read"), 2 * len as u64);
    assert_eq!(bench.trace.counter("dev.writes"), 1);

    use sha2::{Digest, Sha256};
    let hex: String = Sha256::digest(&data).iter().map(|b| format!("{b:02x}")).collect();
    let len = len.to_string();
    assert_eq!(bench.command(&["disk", "3", "hash", "3584", &len]), Ok(hex.clone()));
    assert_eq!(bench.command(&["hash", "3", "3584", &len]), Ok(hex));
    for words in [["hash", "1", "0", "1"], ["hash", "3", "0", "-1"], ["hash", "3", "0", "9999999"]]
    {
        assert!(bench.command(&words).is_err());
    }
}

#[test]
fn errors_carry_sense_data() {
    let mut bench = ready();
    let mut read = srb(0, DATA_IN, 0, &[op::READ_10, 0, 0xff, 0, 0, 0, 0, 0, 1, 0]);
    let (status, answer) = execute(&mut bench, &[], &read);
    assert_eq!((status, answer.srb_status), (status::UNSUCCESSFUL, 0x84));
    assert_eq!((answer.scsi_status, answer.sense_length, answer.cdb[12]), (2, 18, 0x21));
    assert_eq!(answer.data_length.get(), 0);
    // No room for sense data, a CDB that is too short, one that is too long.
    read[HEADER + 9] = 0;
    assert_eq!(execute(&mut bench, &[], &read).1.srb_status, srb_status::ERROR);
    for len in [9, 17, 255] {
        read[HEADER + 8] = len;
        assert_eq!(execute(&mut bench, &[], &read).1.srb_status, srb_status::INVALID_REQUEST);
    }
    // Wrong direction; more than the controller's limit.
    let page = bench.alloc(4096);
    let cdb = [op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    for direction in [DATA_OUT, 2] {
        let read = srb(0, direction, 4096, &cdb);
        let (_, answer) = execute(&mut bench, std::slice::from_ref(&page), &read);
        assert_eq!(answer.srb_status, srb_status::INVALID_REQUEST);
    }
    let (answer, _) = fetch(&mut bench, 0, (256 << 10) + 1, &cdb);
    assert_eq!(answer.srb_status, srb_status::INVALID_REQUEST);
    assert!(!bench.dead());
}

#[test]
fn units_that_are_there_and_that_are_not() {
    let mut bench = ready();
    let mut cdb = [0; 12];
    (cdb[0], cdb[9]) = (op::REPORT_LUNS, 64);
    let (_, luns) = fetch(&mut bench, 9, 256, &cdb);
    assert_eq!(luns.len(), 24);
    assert_eq!((luns[3], luns[9], luns[17]), (16, 0, 3));
    let inquiry = [op::INQUIRY, 0, 0, 0, 36, 0];
    let (answer, data) = fetch(&mut bench, 1, 36, &inquiry);
    assert_eq!((answer.srb_status, data[0]), (srb_status::SUCCESS, NO_UNIT));
    assert_eq!(fetch(&mut bench, 3, 36, &inquiry).1[0], 0);
    let ready = [op::TEST_UNIT_READY, 0, 0, 0, 0, 0];
    let (status, answer) = execute(&mut bench, &[], &srb(1, 2, 0, &ready));
    assert_eq!((status, answer.srb_status), (status::UNSUCCESSFUL, srb_status::INVALID_LUN));
    assert_eq!(answer.scsi_status, CHECK_CONDITION);
    // Another target and another path have no units at all.
    for at in [5, 6] {
        let mut data = srb(0, 2, 0, &ready);
        data[HEADER + at] = 1;
        let (_, answer) = execute(&mut bench, &[], &data);
        assert_eq!(answer.srb_status, srb_status::INVALID_LUN);
    }
}

#[test]
fn an_old_guest_sends_short_packets() {
    let mut bench = Bench::new(Box::new(controller().with_versions(&[version::V4_2])));
    let short = |data: Vec<u8>| data[..HEADER + SHORT_SRB].to_vec();
    for (operation, payload) in [(7, [0, 0]), (9, [2, 4]), (10, [0, 0]), (8, [0, 0])] {
        let answer = ask(&mut bench, &[], &short(message(operation, &payload))).unwrap();
        assert_eq!(answer.status.get(), status::SUCCESS);
    }
    let ready = short(srb(0, 2, 0, &[op::TEST_UNIT_READY, 0, 0, 0, 0, 0]));
    let answer = ask(&mut bench, &[], &ready).unwrap();
    assert_eq!((answer.status.get(), answer.payload[2]), (status::SUCCESS, 1));
    let refused = step(&mut bench, operation::CREATE_SUB_CHANNELS, &[0, 0]);
    assert_eq!(refused, status::INVALID_DEVICE_STATE);
}

#[test]
fn no_packet_makes_it_panic() {
    let codes = [
        0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1d, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41,
        0x42, 0x55, 0x5a, 0x5e, 0x5f, 0x88, 0x8a, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xff,
    ];
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (seed >> 33) as usize
    };
    let mut bench = ready();
    let range = bench.alloc(64 << 10);
    for _ in 0..20_000 {
        let mut cdb = [0; CDB];
        // Mostly small numbers: they get further.
        for byte in &mut cdb {
            *byte = if random() % 3 == 0 { random() as u8 } else { 0 };
        }
        cdb[0] = codes[random() % codes.len()];
        let (lun, direction, len) = (random() % 2, random() % 3, random() % (64 << 10));
        let mut data = srb(lun as u8, direction as u8, len, &cdb);
        if random() % 8 == 0 {
            data[HEADER + random() % PAYLOAD] = random() as u8;
        }
        let ranges = std::slice::from_ref(&range);
        bench.guest_send(PacketKind::GpaDirect, 1, true, ranges, &data);
        if bench.dead() {
            bench = ready();
            bench.alloc(64 << 10);
        } else {
            assert!(bench.guest_recv().is_some());
        }
    }
}

mod changes;
mod kinds;

#[test]
fn kept_reads_are_answered_later() {
    let mut bench = ready();
    bench.command(&["keep", "1"]).unwrap();
    let range = bench.alloc(512);
    let read = srb(0, DATA_IN, 512, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    bench.guest_send(PacketKind::GpaDirect, 7, true, std::slice::from_ref(&range), &read);
    assert!(bench.guest_recv().is_none());
    // What does not read, and what comes after, is answered.
    assert_eq!(fetch(&mut bench, 0, 512, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0]).1, [0; 512]);
    range.write(&*bench.mem, 0, &[0xd7; 512]).unwrap();
    bench.command(&["answer"]).unwrap();
    bench.kick();
    assert_eq!(bench.guest_recv().unwrap().transaction_id, 7);
    let mut bytes = [1; 512];
    range.read(&*bench.mem, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 512]);
    assert!(bench.command(&["keep", "many"]).is_err());
}
