// SPDX-License-Identifier: GPL-2.0

use super::*;

const NOT_SUPPORTED: u32 = 0xc000_00bb;
const INVALID_DATA: u32 = 0xc001_0015;

#[test]
fn every_version() {
    for version in version::ALL {
        let mut guest = Guest::running(NetConfig { max_version: version, ..NetConfig::default() });
        assert!(!guest.bench.dead(), "{version:#x}");
        assert_eq!(guest.query(0x0101_0101).unwrap(), MAC);
        assert_eq!(guest.query(0x0101_0102).unwrap(), MAC);
        assert_eq!(guest.query(0x10106).unwrap(), bytes(&[1500]));
        assert_eq!(guest.query(0x10114).unwrap(), bytes(&[0]));
        assert_eq!(guest.query(0x10107).unwrap(), bytes(&[100_000_000]));
        assert_eq!(guest.query(0x10101).unwrap()[..4], bytes(&[0x10101]));
        let caps = guest.query(0xfc01_020d).unwrap();
        let size = usize::from(u16::from_le_bytes([caps[2], caps[3]]));
        assert_eq!((caps[0], caps.len()), (0xa7, size));
        assert_eq!(word(&caps, 1), 2);
        assert_eq!((word(&caps, 21), word(&caps, 26)), (0xf53c, 5));
        let rss = guest.query(0x10203);
        if version >= version::V5 {
            assert_eq!((size, word(&caps, 2)), (156, 0x155));
            let rss = rss.unwrap();
            assert_eq!((rss.len(), word(&rss, 3)), (18, 1));
        } else {
            assert_eq!(rss, Err(NOT_SUPPORTED));
        }
        assert_eq!(guest.query(0x0dead).unwrap_err(), NOT_SUPPORTED);
    }
}

#[test]
fn falls_back_to_an_older_version() {
    let config = NetConfig { max_version: version::V5, ..NetConfig::default() };
    let mut guest = Guest::opened(config);
    for version in [version::V61, version::V6] {
        let answer = guest.ask(&[INIT, version, version]);
        assert_eq!(word(&answer, 1), version::NONE);
        assert_eq!(word(&answer, 3), STATUS_FAIL);
    }
    guest.handshake(version::V5);
    assert!(!guest.bench.dead());
}

#[test]
fn wrong_orders_end_the_channel() {
    let config = NetConfig::default;
    let messages: [&[u32]; 6] = [
        &[SEND_NDIS_CONFIG, 1514],
        &[SEND_NDIS_VERSION, 6, 30],
        &[SEND_RECEIVE_BUFFER, 0xe1e11, BUFFER_ID],
        &[SEND_RNDIS_PACKET, 0, NO_SECTION, 0],
        &[REVOKE_RECEIVE_BUFFER, BUFFER_ID],
        &[0x1234],
    ];
    for message in messages {
        let mut guest = Guest::opened(config());
        guest.tell(message);
        assert!(guest.bench.dead(), "{message:x?}");
    }
    let messages: [&[u32]; 5] = [
        &[INIT, version::V61, version::V61],
        &[SEND_NDIS_VERSION, 6, 30],
        &[SEND_RECEIVE_BUFFER, 0xe1e11, BUFFER_ID],
        &[SEND_RNDIS_PACKET, 2, NO_SECTION, 0],
        &[SEND_RNDIS_PACKET, 0, 10, 100],
    ];
    for message in messages {
        let mut guest = Guest::new();
        guest.tell(message);
        assert!(guest.bench.dead(), "{message:x?}");
    }
    // RNDIS: a query before the initialization.
    let mut guest = Guest::opened(config());
    guest.handshake(version::V61);
    let range = guest.store(&bytes(&[QUERY, 28, 1, 0x10106, 0, 20, 0]), 0);
    let mut data = bytes(&[SEND_RNDIS_PACKET, 1, NO_SECTION, 0]);
    data.resize(MESSAGE, 0);
    guest.bench.guest_send(PacketKind::GpaDirect, 1, true, &[range], &data);
    assert!(guest.bench.dead());
}

#[test]
fn bad_buffers_are_refused() {
    let mut guest = Guest::opened(NetConfig::default());
    guest.negotiate(version::V61);
    let small = PageRange { len: PAGE as u32, pfns: guest.receive.pfns[..1].to_vec(), offset: 0 };
    let gpadl = guest.bench.gpadl(small);
    let answer = guest.ask(&[SEND_RECEIVE_BUFFER, gpadl, BUFFER_ID]);
    assert_eq!(word(&answer, 1), STATUS_FAIL);
    guest.buffers();
    assert!(!guest.bench.dead());
}

#[test]
fn sections_as_configured() {
    let config =
        NetConfig { receive_section: Some(4096), send_section: 2048, ..NetConfig::default() };
    let mut guest = Guest::opened(config);
    guest.negotiate(version::V61);
    let receive = guest.bench.gpadl(guest.receive.clone());
    let answer = guest.ask(&[SEND_RECEIVE_BUFFER, receive, BUFFER_ID]);
    let count = RECEIVE_BUFFER as u32 / 4096;
    assert_eq!(answer[12..28], bytes(&[0, 4096, count, RECEIVE_BUFFER as u32]));
    let send = guest.bench.gpadl(guest.send.clone());
    let answer = guest.ask(&[SEND_SEND_BUFFER, send, 0]);
    assert_eq!(answer[..12], bytes(&[SEND_SEND_BUFFER_COMPLETE, STATUS_SUCCESS, 2048]));
}

#[test]
fn reopening_begins_anew() {
    let mut guest = Guest::new();
    assert_eq!(guest.set(PACKET_FILTER, &bytes(&[0])), 0);
    assert!(guest.control_bytes(3, &[]).is_none());
    guest.tell(&[REVOKE_RECEIVE_BUFFER, BUFFER_ID]);
    guest.tell(&[REVOKE_SEND_BUFFER, 0]);
    assert!(!guest.bench.dead());
    guest.bench.reopen();
    guest.handshake(version::V61);
    guest.rndis_initialize();
    assert_eq!(guest.query(PACKET_FILTER).unwrap(), bytes(&[0]));
    assert!(!guest.bench.dead());
}

#[test]
fn mtu_goes_up_to_the_hosts() {
    let mut guest = Guest::opened(NetConfig { max_mtu: 9000, ..NetConfig::default() });
    guest.ask(&[INIT, version::V61, version::V61]);
    guest.tell(&[SEND_NDIS_CONFIG, 20_000, 0, 0, 0]);
    guest.tell(&[SEND_NDIS_VERSION, 6, 30]);
    let gpadl = guest.bench.gpadl(guest.receive.clone());
    let answer = guest.ask(&[SEND_RECEIVE_BUFFER, gpadl, BUFFER_ID]);
    let (size, count) = (word(&answer, 4) as usize, word(&answer, 5) as usize);
    assert!(size > 9014 && size * count <= RECEIVE_BUFFER);
    guest.rndis_initialize();
    assert_eq!(guest.query(0x10106).unwrap(), bytes(&[9000]));
}

#[test]
fn address_changes_and_stays() {
    let mut guest = Guest::new();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let parameter = |value: &str| {
        let (name, value) = (utf16("NetworkAddress"), utf16(value));
        let at = 20 + name.len() as u32;
        let mut info = bytes(&[20, name.len() as u32, 2, at, value.len() as u32]);
        info.extend(name);
        info.extend(value);
        info
    };
    assert_eq!(guest.set(0x1021b, &parameter("02aabbCC0102")), 0);
    assert_eq!(guest.query(0x0101_0102).unwrap(), [2, 0xaa, 0xbb, 0xcc, 1, 2]);
    assert_eq!(guest.query(0x0101_0101).unwrap(), MAC);
    for bad in ["01aabbcc0102", "000000000000", "02aabbcc010", "02aabbcc01zz"] {
        assert_eq!(guest.set(0x1021b, &parameter(bad)), INVALID_DATA, "{bad}");
    }
    guest.bench.reopen();
    guest.handshake(version::V61);
    guest.rndis_initialize();
    assert_eq!(guest.query(0x0101_0102).unwrap(), [2, 0xaa, 0xbb, 0xcc, 1, 2]);
}

#[test]
fn sets_are_checked() {
    let mut guest = Guest::new();
    assert_eq!(guest.set(PACKET_FILTER, &bytes(&[0x8000_0000])), NOT_SUPPORTED);
    assert_eq!(guest.set(OFFLOAD_PARAMETERS, &[0x80, 3, 28, 0]), 0xc001_0014);
    assert_eq!(
        guest.set(OFFLOAD_PARAMETERS, &[0x80, 3, 28, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]),
        INVALID_DATA
    );
    let answer = guest.control(SET, &[PACKET_FILTER, u32::MAX, 20, 0]);
    assert_eq!(word(&answer, 3), 0xc001_0014);
    // Keepalive.
    assert_eq!(word(&guest.control(8, &[]), 0), 0x8000_0008);
    // What no guest sends: reset, indication, and what there is no number for.
    for kind in [6, 7, 9] {
        let mut guest = Guest::new();
        let range = guest.store(&bytes(&[kind, 16, 1, 0]), 0);
        let mut data = bytes(&[SEND_RNDIS_PACKET, 1, NO_SECTION, 0]);
        data.resize(MESSAGE, 0);
        guest.bench.guest_send(PacketKind::GpaDirect, 1, true, &[range], &data);
        assert!(guest.bench.dead(), "{kind}");
    }
}

#[test]
fn link_commands() {
    let mut guest = Guest::new();
    for (command, status) in [("down", 0x4001_000c), ("up", 0x4001_000b), ("change", 0x4001_0018)] {
        guest.bench.command(&["link", command]).unwrap();
        let indication = guest.one();
        assert!(indication.control);
        assert_eq!(indication.message[8..12], bytes(&[status]));
    }
    guest.bench.command(&["link", "speed", "1000"]).unwrap();
    let message = guest.one().message;
    assert_eq!(message, bytes(&[7, 24, 0x4001_0013, 4, 12, 10_000_000]));
    assert!(guest.bench.command(&["link", "sideways"]).is_err());
    guest.bench.command(&["link", "down"]).unwrap();
    guest.received();
    assert_eq!(guest.query(0x10114).unwrap(), bytes(&[1]));
    assert!(guest.bench.command(&["counters"]).unwrap().contains("control="));
}
