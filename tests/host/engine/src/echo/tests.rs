// SPDX-License-Identifier: GPL-2.0

//! The echo device from its guest's side.

use super::buffer::{sum, SET};
use super::*;
use crate::memory::PAGE;
use crate::mock::Bench;

const SECTION: u32 = 512;

fn bench() -> Bench {
    Bench::new(Box::new(Echo::new()))
}

fn figure(bench: &mut Bench, name: &str) -> u64 {
    let all = bench.command(&["counters"]).unwrap();
    let value = all.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.unwrap().parse().unwrap()
}

/// Sends a control packet; returns status and value.
fn control(bench: &mut Bench, fields: &[u32]) -> (u32, u32) {
    let data = words(&[&[CONTROL], fields].concat());
    bench.guest_send(PacketKind::InBand, 77, true, &[], &data);
    let answer = bench.guest_recv().unwrap();
    assert_eq!((answer.kind, answer.transaction_id), (PacketKind::Completion, 77));
    assert_eq!(answer.data[..8], data[..8]);
    (word(&answer.data, 2).unwrap(), word(&answer.data, 3).unwrap())
}

/// Shares a buffer of 8 sections.
fn share(bench: &mut Bench) -> PageRange {
    let range = bench.alloc(8 * SECTION as usize);
    let gpadl = bench.gpadl(range.clone());
    assert_eq!(control(bench, &[SET_BUFFER, gpadl, SECTION]), (STATUS_SUCCESS, 8));
    range
}

/// Takes a transfer-page packet; returns its id and the sum of its ranges.
fn take_pages(bench: &mut Bench, channel: usize, buffer: &PageRange) -> Option<(u64, u32)> {
    let packet = bench.guest_recv_on(channel)?;
    assert_eq!((packet.kind, packet.completion_requested), (PacketKind::TransferPages, true));
    let fields = [0, 1, 2, 3].map(|n| word(&packet.data, n).unwrap());
    assert_eq!((fields[0], fields[2] as usize), (PAGES, packet.ranges.len()));
    let mut total = 0u32;
    for range in &packet.ranges {
        assert_eq!((range.len, range.offset % SECTION), (fields[3], 0));
        let mut bytes = vec![0; range.len as usize];
        buffer.read(&*bench.mem, range.offset as usize, &mut bytes).unwrap();
        assert_eq!(word(&bytes, 0), Some(fields[1]));
        assert!((4..bytes.len()).all(|at| bytes[at] == pattern(fields[1], at)));
        total = total.wrapping_add(sum(&bytes));
    }
    Some((packet.transaction_id, total))
}

fn complete_pages(bench: &mut Bench, channel: usize, id: u64, sum: u32) {
    let data = words(&[PAGES, sum]);
    bench.guest_send_on(channel, PacketKind::Completion, id, false, &[], &data);
}

#[test]
fn data_comes_back_the_way_it_asked_for() {
    let mut bench = bench();
    for (id, asked) in [(1, true), (2, false), (3, true)] {
        bench.guest_send(PacketKind::InBand, id, asked, &[], &[id as u8; 40]);
        let back = bench.guest_recv().unwrap();
        let kind = if asked { PacketKind::Completion } else { PacketKind::InBand };
        assert_eq!((back.kind, back.transaction_id), (kind, id));
        assert_eq!(back.data, [id as u8; 40]);
    }
    let mut range = bench.alloc(3 * PAGE);
    (range.offset, range.len) = (100, 5000);
    range.pfns.truncate(2);
    range.write(&*bench.mem, 0, &[0x5a; 5000]).unwrap();
    bench.guest_send(PacketKind::GpaDirect, 4, true, &[range.clone()], &[9; 8]);
    assert_eq!(bench.guest_recv().unwrap().data, [9; 8]);
    let mut bytes = [0; 5000];
    range.read(&*bench.mem, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [0xa5; 5000]);
    assert_eq!(figure(&mut bench, "completed"), 3);
    assert_eq!(figure(&mut bench, "echoed"), 1);
    assert_eq!(figure(&mut bench, "inverted"), 5000);
}

#[test]
fn held_data_comes_back_later() {
    let mut bench = bench();
    bench.command(&["hold"]).unwrap();
    (1..=3).for_each(|id| bench.guest_send(PacketKind::InBand, id, true, &[], &[1; 8]));
    assert!(bench.guest_recv().is_none());
    assert_eq!(figure(&mut bench, "held"), 3);
    bench.command(&["release"]).unwrap();
    (1..=3).for_each(|id| assert_eq!(bench.guest_recv().unwrap().transaction_id, id));
    bench.guest_send(PacketKind::InBand, 4, true, &[], &[1; 8]);
    assert!(bench.guest_recv().is_some());
    // A guest that closes has given up what it waited for.
    bench.command(&["hold"]).unwrap();
    bench.guest_send(PacketKind::InBand, 5, true, &[], &[1; 8]);
    bench.reopen();
    bench.command(&["release"]).unwrap();
    assert!(bench.guest_recv().is_none());
}

#[test]
fn the_hosts_packets_are_checked_when_they_return() {
    let mut bench = bench();
    bench.command(&["send", "2000", "100"]).unwrap();
    // They do not fit the ring at once.
    assert!(figure(&mut bench, "to_send") > 0);
    let mut seen = 0;
    while let Some(packet) = bench.guest_recv() {
        assert_eq!((packet.kind, packet.data.len()), (PacketKind::InBand, 104));
        assert_eq!(word(&packet.data, 0), Some(SENT));
        bench.guest_send(PacketKind::InBand, 0, false, &[], &packet.data);
        seen += 1;
    }
    assert_eq!((seen, bench.dead()), (2000, false));
    assert_eq!(figure(&mut bench, "returned"), 2000);
    assert_eq!(figure(&mut bench, "to_return"), 0);
    assert_eq!(figure(&mut bench, "reordered"), 0);

    bench.command(&["send", "2", "16"]).unwrap();
    let (first, second) = (bench.guest_recv().unwrap(), bench.guest_recv().unwrap());
    bench.guest_send(PacketKind::InBand, 0, false, &[], &second.data);
    bench.guest_send(PacketKind::InBand, 0, false, &[], &first.data);
    assert_eq!(figure(&mut bench, "reordered"), 1);
    assert!(!bench.dead());
    bench.guest_send(PacketKind::InBand, 0, false, &[], &first.data);
    assert!(bench.dead());
}

#[test]
fn a_changed_packet_ends_the_channel() {
    for at in [4, 8, 19] {
        let mut bench = bench();
        bench.command(&["send", "1", "20"]).unwrap();
        let mut data = bench.guest_recv().unwrap().data;
        data[at] ^= 1;
        bench.guest_send(PacketKind::InBand, 0, false, &[], &data);
        assert!(bench.dead(), "byte {at}");
    }
}

#[test]
fn sub_channels_on_request() {
    let mut bench = bench();
    assert_eq!(control(&mut bench, &[SUB_CHANNELS, 9]), (STATUS_REFUSED, 0));
    assert_eq!(bench.sub_channels, None);
    assert_eq!(control(&mut bench, &[SUB_CHANNELS, 2]), (STATUS_SUCCESS, 2));
    assert_eq!(bench.sub_channels, Some(2));
    bench.open_next();
    // Each channel has its own traffic.
    bench.command(&["send", "1", "8", "1"]).unwrap();
    assert!(bench.guest_recv().is_none());
    let packet = bench.guest_recv_on(1).unwrap();
    bench.guest_send_on(1, PacketKind::InBand, 0, false, &[], &packet.data);
    assert_eq!(figure(&mut bench, "returned"), 1);
    assert!(bench.command(&["send", "1", "8", "2"]).is_err());
}

#[test]
fn sections_are_used_again_only_when_completed() {
    let mut bench = bench();
    assert!(bench.command(&["pages", "1", "64"]).is_err());
    let buffer = share(&mut bench);
    assert!(bench.command(&["pages", "1", "513"]).is_err());
    bench.command(&["pages", "20", "500", "0", "3"]).unwrap();
    let first = take_pages(&mut bench, 0, &buffer).unwrap();
    let second = take_pages(&mut bench, 0, &buffer).unwrap();
    // Two sections are left, and three are wanted.
    assert!(take_pages(&mut bench, 0, &buffer).is_none());
    complete_pages(&mut bench, 0, second.0, second.1);
    let third = take_pages(&mut bench, 0, &buffer).unwrap();
    assert!(take_pages(&mut bench, 0, &buffer).is_none());
    let mut waiting = VecDeque::from([first, third]);
    let mut done = 1;
    while let Some((id, sum)) = waiting.pop_front() {
        complete_pages(&mut bench, 0, id, sum);
        done += 1;
        waiting.extend(take_pages(&mut bench, 0, &buffer));
    }
    assert_eq!((done, bench.dead()), (20, false));
    assert_eq!(figure(&mut bench, "pages_completed"), 20);
    assert_eq!(figure(&mut bench, "to_complete"), 0);
    // What was completed is gone.
    let mut bytes = [0; 8];
    buffer.read(&*bench.mem, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [0xee; 8]);
    assert_eq!(SET, 0xec80);
}

#[test]
fn a_wrong_completion_ends_the_channel() {
    // Of another packet, with a wrong sum, a second time.
    for case in 0..3 {
        let mut bench = bench();
        let buffer = share(&mut bench);
        bench.command(&["pages", "1", "64"]).unwrap();
        let (id, sum) = take_pages(&mut bench, 0, &buffer).unwrap();
        match case {
            0 => complete_pages(&mut bench, 0, id + 1, sum),
            1 => complete_pages(&mut bench, 0, id, sum + 1),
            _ => {
                complete_pages(&mut bench, 0, id, sum);
                assert!(!bench.dead());
                complete_pages(&mut bench, 0, id, sum);
            }
        }
        assert!(bench.dead(), "case {case}");
    }
}

#[test]
fn a_buffer_is_taken_back() {
    let mut bench = bench();
    assert_eq!(control(&mut bench, &[REVOKE_BUFFER]), (STATUS_REFUSED, 0));
    let buffer = share(&mut bench);
    bench.command(&["pages", "5", "64", "0", "8"]).unwrap();
    let (id, sum) = take_pages(&mut bench, 0, &buffer).unwrap();
    let again = bench.gpadl(buffer.clone());
    assert_eq!(control(&mut bench, &[SET_BUFFER, again, SECTION]), (STATUS_REFUSED, 0));
    assert_eq!(control(&mut bench, &[REVOKE_BUFFER]), (STATUS_SUCCESS, 1));
    assert_eq!(control(&mut bench, &[SET_BUFFER, again, SECTION]), (STATUS_REFUSED, 0));
    complete_pages(&mut bench, 0, id, sum);
    assert!(bench.guest_recv().is_none() && !bench.dead());
    assert!(bench.command(&["pages", "1", "64"]).is_err());
    assert_eq!(control(&mut bench, &[SET_BUFFER, again, SECTION]), (STATUS_SUCCESS, 8));
    for (gpadl, section) in [(again + 1, SECTION), (again, 0), (again, 12), (again, 8192)] {
        assert_eq!(control(&mut bench, &[REVOKE_BUFFER]).0, STATUS_SUCCESS);
        assert_eq!(control(&mut bench, &[SET_BUFFER, gpadl, section]), (STATUS_REFUSED, 0));
        assert_eq!(control(&mut bench, &[SET_BUFFER, again, SECTION]), (STATUS_SUCCESS, 8));
    }
}

#[test]
fn a_sub_channel_that_closes_returns_its_sections() {
    let mut bench = bench();
    let buffer = share(&mut bench);
    bench.open_next();
    bench.command(&["pages", "1", "64", "1", "8"]).unwrap();
    assert!(take_pages(&mut bench, 1, &buffer).is_some());
    bench.command(&["pages", "1", "64"]).unwrap();
    assert!(take_pages(&mut bench, 0, &buffer).is_none());
    bench.close(1);
    bench.kick();
    let (id, sum) = take_pages(&mut bench, 0, &buffer).unwrap();
    complete_pages(&mut bench, 0, id, sum);
    assert!(!bench.dead());
}
