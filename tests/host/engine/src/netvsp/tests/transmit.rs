// SPDX-License-Identifier: GPL-2.0

use super::frames::{add, Shape};
use super::*;

const CHECKSUM: u32 = 0;
const LSO: u32 = 2;
const VLAN: u32 = 6;
const HASH: u32 = 8;

fn checksum_info(shape: &Shape) -> u32 {
    let family = if shape.v6 { 2 } else { 1 };
    let protocol = if shape.udp { 8 } else { 4 };
    family | protocol | (shape.l4() as u32) << 16
}

fn lso_info(shape: &Shape, mss: u32) -> u32 {
    mss | (shape.l4() as u32) << 20 | 1 << 30 | u32::from(shape.v6) << 31
}

/// What a TAP does with a frame that is not segmented.
fn finish(header: &VnetHeader, mut frame: Vec<u8>) -> Vec<u8> {
    assert_eq!(header.gso_type, 0);
    if header.flags & 1 != 0 {
        let start = usize::from(header.csum_start);
        let at = start + usize::from(header.csum_offset);
        let sum = !add(&frame[start..], 0);
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

#[test]
fn plain_frames() {
    let mut guest = Guest::new();
    let frame = Shape::TCP4.frame();
    assert_eq!(guest.transmit(&frame, &[(HASH, 0x1234_5678)]), STATUS_SUCCESS);
    assert_eq!(guest.sent(), (VnetHeader::default(), frame.clone()));
    let header = guest.store(&packet(&frame, &[])[..44], 100);
    let first = guest.store(&frame[..33], 4000);
    let second = guest.store(&frame[33..], 4090);
    assert_eq!(guest.rndis(0, None, &[header, first, second]), STATUS_SUCCESS);
    assert_eq!(guest.sent().1, frame);
    assert_eq!((guest.count("tx_packets"), guest.count("tx_bytes")), (2, 2 * frame.len() as u64));
    assert_eq!(guest.count("tx_refused"), 0);
}

#[test]
fn several_frames_in_a_section_and_behind_it() {
    let mut guest = Guest::new();
    let frames = Shape::ALL.map(|shape| shape.frame());
    let mut messages = Vec::new();
    for frame in &frames {
        let mut message = packet(frame, &[]);
        message.resize(message.len().next_multiple_of(8), 0);
        let len = message.len() as u32;
        message[4..8].copy_from_slice(&len.to_le_bytes());
        messages.extend(message);
    }
    // The last has only its header in the section.
    let last = Shape { payload: 1400, ..Shape::TCP4 }.frame();
    messages.extend(&packet(&last, &[])[..44]);
    guest.send.write(&*guest.bench.mem, SEND_SECTION, &messages).unwrap();
    let rest = guest.store(&last, 3000);
    assert_eq!(guest.rndis(0, Some((1, messages.len() as u32)), &[rest]), STATUS_SUCCESS);
    assert_eq!(guest.sent().1, last);
    for frame in frames.iter().rev() {
        assert_eq!(&guest.sent().1, frame);
    }
    let nine = packet(&[0; 20], &[]).repeat(9);
    assert_eq!(guest.send_section(0, &nine), STATUS_FAIL);
    assert_eq!(guest.count("tx_too_many_messages"), 1);
    assert_eq!(guest.send_section(0, &nine[..nine.len() / 9 * 8]), STATUS_SUCCESS);
}

#[test]
fn header_across_pages() {
    for refuse in [false, true] {
        let mut guest = Guest::running(NetConfig {
            refuse_header_across_pages: refuse,
            ..NetConfig::default()
        });
        let frame = Shape::TCP4.frame();
        let message = packet(&frame, &[(HASH, 1)]);
        let fits = guest.store(&message, PAGE - 60);
        assert_eq!(guest.rndis(0, None, &[fits]), STATUS_SUCCESS);
        assert_eq!(guest.count("tx_header_crosses_page"), 0);
        let crosses = guest.store(&message, PAGE - 59);
        let status = if refuse { STATUS_FAIL } else { STATUS_SUCCESS };
        assert_eq!(guest.rndis(0, None, &[crosses]), status);
        assert_eq!(guest.count("tx_header_crosses_page"), 1);
        assert_eq!(guest.count("tx_header_split"), 0);
        // In two ranges it is refused in any case.
        let (first, second) = (guest.store(&message[..50], 0), guest.store(&message[50..], 0));
        assert_eq!(guest.rndis(0, None, &[first, second]), STATUS_FAIL);
        assert_eq!(guest.count("tx_header_split"), 1);
        assert!(!guest.bench.dead());
    }
}

#[test]
fn checksums() {
    let mut guest = Guest::new();
    for shape in Shape::ALL {
        let info = checksum_info(&shape);
        let mut frame = shape.unfinished();
        assert_eq!(guest.transmit(&frame, &[(CHECKSUM, info)]), STATUS_SUCCESS);
        let (header, sent) = guest.sent();
        assert_eq!(usize::from(header.csum_start), shape.l4());
        assert_eq!(finish(&header, sent), shape.frame());
        assert_eq!(guest.count("tx_pseudo_checksum_wrong"), 0);
        // A wrong sum is counted and put right; what follows the packet does not matter.
        shape.put(&mut frame, 0x4711);
        frame.extend([1, 2, 3]);
        assert_eq!(guest.transmit(&frame, &[(CHECKSUM, info)]), STATUS_SUCCESS);
        let (header, mut sent) = guest.sent();
        sent.truncate(sent.len() - 3);
        assert_eq!(finish(&header, sent), shape.frame());
        assert_eq!(guest.count("tx_pseudo_checksum_wrong"), 1);
        guest = Guest::new();
    }
    let mut frame = Shape::TCP4.frame();
    frame[24..26].fill(0xee);
    assert_eq!(guest.transmit(&frame, &[(CHECKSUM, 1 | 16)]), STATUS_SUCCESS);
    assert_eq!(guest.sent().1, Shape::TCP4.frame());
}

#[test]
fn bad_checksum_information() {
    let mut guest = Guest::new();
    let shape = Shape::TCP4;
    let right = checksum_info(&shape);
    let bad = [right ^ 3, right | 2, right ^ 12, right | 8, right + 0x10000, right & 0xffff];
    for (n, info) in bad.into_iter().enumerate() {
        let status = guest.transmit(&shape.unfinished(), &[(CHECKSUM, info)]);
        assert_eq!(status, STATUS_FAIL, "{info:#x}");
        assert_eq!(guest.count("tx_bad_csum_info"), n as u64 + 1);
    }
    let mut fragment = shape.unfinished();
    fragment[20] |= 0x20;
    assert_eq!(guest.transmit(&fragment, &[(CHECKSUM, right)]), STATUS_FAIL);
    let mut too_long = shape.unfinished();
    too_long[17] += 1;
    assert_eq!(guest.transmit(&too_long, &[(CHECKSUM, right)]), STATUS_FAIL);
    assert_eq!(guest.transmit(&[0; 60], &[(CHECKSUM, right)]), STATUS_FAIL);
    assert!(guest.net.lock().unwrap().sent.is_empty());
    assert!(!guest.bench.dead());
}

#[test]
fn large_sends() {
    for shape in [Shape::TCP4, Shape::TCP6] {
        let mut guest = Guest::new();
        let shape = Shape { payload: 20_000, ..shape };
        let info = lso_info(&shape, 1400);
        let message = packet(&shape.large(), &[(LSO, info)]);
        let header = guest.store(&message[..60], 0);
        let frame = guest.store(&message[60..], 123);
        assert_eq!(guest.rndis(0, None, &[header, frame]), STATUS_SUCCESS);
        let (header, mut sent) = guest.sent();
        let expected = VnetHeader {
            flags: 1,
            gso_type: if shape.v6 { 4 } else { 1 },
            hdr_len: shape.header() as u16,
            gso_size: 1400,
            csum_start: shape.l4() as u16,
            csum_offset: 16,
        };
        assert_eq!(header, expected);
        // But for the checksum of TCP, this is the frame that a network without offloads sees.
        let whole = shape.frame();
        let sum = shape.pseudo(&whole, whole.len() - shape.l4());
        assert_eq!(sent[shape.field()..shape.field() + 2], sum.to_be_bytes());
        sent[shape.field()..shape.field() + 2]
            .copy_from_slice(&whole[shape.field()..shape.field() + 2]);
        assert_eq!(sent, whole);
        assert_eq!((guest.count("tx_lso"), guest.count("tx_pseudo_checksum_wrong")), (1, 0));
        assert_eq!(guest.count("tx_offload_not_enabled"), 0);
        // One segment needs no segmentation.
        let single = Shape { payload: 500, ..shape };
        let info = lso_info(&single, 500);
        assert_eq!(guest.transmit(&single.large(), &[(LSO, info)]), STATUS_SUCCESS);
        let (header, sent) = guest.sent();
        assert_eq!(finish(&header, sent), single.frame());
        assert_eq!(guest.count("tx_lso_single_segment"), 1);
    }
}

#[test]
fn bad_large_sends() {
    let mut guest = Guest::new();
    let shape = Shape { payload: 4000, ..Shape::TCP4 };
    let right = lso_info(&shape, 1000);
    let bad = [right ^ 1 << 30, right ^ 1 << 31, right + (1 << 20), right & !0xfffff];
    for (n, info) in bad.into_iter().enumerate() {
        assert_eq!(guest.transmit(&shape.large(), &[(LSO, info)]), STATUS_FAIL, "{info:#x}");
        assert_eq!(guest.count("tx_bad_lso"), n as u64 + 1);
    }
    let udp = Shape { udp: true, ..shape };
    assert_eq!(guest.transmit(&udp.large(), &[(LSO, right)]), STATUS_FAIL);
    let huge = Shape { payload: 0xf53c, ..shape };
    let range = guest.store(&packet(&huge.large(), &[(LSO, right)]), 0);
    assert_eq!(guest.rndis(0, None, &[range]), STATUS_FAIL);
    let mut cut = shape.large();
    cut.truncate(shape.l4() + 15);
    assert_eq!(guest.transmit(&cut, &[(LSO, right)]), STATUS_FAIL);
    assert!(guest.net.lock().unwrap().sent.is_empty() && !guest.bench.dead());
}

#[test]
fn vlan_tags_go_into_the_frame() {
    let mut guest = Guest::new();
    let shape = Shape::TCP4;
    let (info, vlan) = (checksum_info(&shape), 5 | 1 << 3 | 0x123 << 4);
    let items = [(VLAN, vlan), (CHECKSUM, info)];
    assert_eq!(guest.transmit(&shape.unfinished(), &items), STATUS_SUCCESS);
    let (header, sent) = guest.sent();
    assert_eq!(usize::from(header.csum_start), shape.l4() + 4);
    let frame = finish(&header, sent);
    assert_eq!(frame[12..16], [0x81, 0x00, 0xb1, 0x23]);
    assert_eq!([&frame[..12], &frame[16..]].concat(), shape.frame());
}

#[test]
fn malformed_messages() {
    let mut guest = Guest::new();
    let good = packet(&Shape::TCP4.frame(), &[(CHECKSUM, checksum_info(&Shape::TCP4))]);
    // (Word of the message, value).
    let bad = [
        (0, 2),           // no packet message
        (1, 43),          // shorter than its header
        (1, 0xffff_fff8), // longer than the packet
        (2, 0),           // the frame begins in the header
        (2, u32::MAX),
        (3, u32::MAX),
        (3, 13), // no Ethernet header
        (4, 36), // out-of-band data
        (6, 1),
        (7, 0), // information in the header
        (7, u32::MAX),
        (8, u32::MAX),
        (8, 15), // half an item
        (11, 0), // items without size, or too large
        (11, 17),
        (11, 0xffff_fffc),
        (13, 0), // the value in the item's header, or behind the item
        (13, 16),
        (13, u32::MAX),
    ];
    for (n, (at, value)) in bad.into_iter().enumerate() {
        let mut message = good.clone();
        message[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
        assert_eq!(guest.send_section(0, &message), STATUS_FAIL, "word {at} = {value:#x}");
        assert_eq!(guest.count("tx_refused"), n as u64 + 1);
    }
    assert_eq!(guest.rndis(0, None, &[]), STATUS_FAIL);
    let long = Shape { payload: 1600, ..Shape::TCP4 }.frame();
    assert_eq!(guest.transmit(&long, &[]), STATUS_FAIL);
    assert!(guest.net.lock().unwrap().sent.is_empty() && !guest.bench.dead());
    assert_eq!(guest.send_section(0, &good), STATUS_SUCCESS);
}

#[test]
fn garbage_does_no_harm() {
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    let shape = Shape { payload: 3000, ..Shape::TCP6 };
    let mut guest = Guest::new();
    let items = [(VLAN, 0x1230), (LSO, lso_info(&shape, 1000))];
    let large = packet(&shape.large(), &items);
    let items = [(CHECKSUM, checksum_info(&Shape::UDP4)), (HASH, 7)];
    let small = packet(&Shape::UDP4.unfinished(), &items);
    for _ in 0..5000 {
        let mut message = if random() % 2 == 0 { large.clone() } else { small.clone() };
        for _ in 0..random() % 4 + 1 {
            let at = random() % 160;
            message[at] = random() as u8;
        }
        guest.send_section(0, &message);
        assert!(!guest.bench.dead());
        guest.net.lock().unwrap().sent.clear();
    }
}
