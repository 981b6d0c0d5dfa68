// SPDX-License-Identifier: GPL-2.0

//! What a network card does to frames: checksums, large sends, and the header by which a TAP
//! device is told of them.

use super::counters::Counter;
use crate::rndis::{Rss, LSO_MAX};

/// Length of an Ethernet header without tags.
pub(crate) const ETH_HEADER: usize = 14;
/// Length of an 802.1Q tag.
pub(crate) const VLAN_TAG: usize = 4;
/// Where the type, or a tag, begins in a frame.
pub(super) const ETH_TYPE: usize = 12;
pub(super) const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

const IPV4_HEADER: usize = 20;
const IPV4_LENGTH: usize = 2;
const IPV4_FRAGMENT: usize = 6;
const IPV4_PROTOCOL: usize = 9;
const IPV4_CHECKSUM: usize = 10;
const IPV4_ADDRESSES: usize = 12;
const IPV6_HEADER: usize = 40;
const IPV6_LENGTH: usize = 4;
const IPV6_NEXT: usize = 6;
const IPV6_ADDRESSES: usize = 8;
/// More fragments, or an offset.
const FRAGMENT_MASK: u16 = 0x3fff;
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_HEADER: usize = 20;
const TCP_LENGTH: usize = 12;
const TCP_FLAGS: usize = 13;
const TCP_CWR: u8 = 0x80;
const TCP_CHECKSUM: usize = 16;
const UDP_HEADER: usize = 8;
const UDP_CHECKSUM: usize = 6;

/// Length of a [`VnetHeader`] on the wire.
pub const VNET_HEADER: usize = 10;
const VNET_NEEDS_CSUM: u8 = 1;
const VNET_DATA_VALID: u8 = 2;
const VNET_GSO_TCPV4: u8 = 1;
const VNET_GSO_TCPV6: u8 = 4;
const VNET_GSO_ECN: u8 = 0x80;

/// `struct virtio_net_hdr`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// 1: the checksum is to be filled in; 2: it was found right.
    pub flags: u8,
    /// How to segment: 0 not at all, 1 as TCP over IPv4, 4 as TCP over IPv6; 0x80 with ECN.
    pub gso_type: u8,
    /// Length of the headers of a frame that is to be segmented.
    pub hdr_len: u16,
    /// Bytes of payload in each segment.
    pub gso_size: u16,
    /// Where the checksummed data begins.
    pub csum_start: u16,
    /// Where the checksum lies in that data.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Reads the little-endian form.
    pub fn read(bytes: &[u8; VNET_HEADER]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_le_bytes([a, b]),
            gso_size: u16::from_le_bytes([c, d]),
            csum_start: u16::from_le_bytes([e, f]),
            csum_offset: u16::from_le_bytes([g, h]),
        }
    }

    /// The little-endian form.
    pub fn bytes(&self) -> [u8; VNET_HEADER] {
        let [a, b] = self.hdr_len.to_le_bytes();
        let [c, d] = self.gso_size.to_le_bytes();
        let [e, f] = self.csum_start.to_le_bytes();
        let [g, h] = self.csum_offset.to_le_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }

    /// Says that a VLAN tag was put into the frame.
    pub(super) fn shift(&mut self) {
        if self.flags & VNET_NEEDS_CSUM != 0 {
            self.csum_start += VLAN_TAG as u16;
        }
        if self.gso_type != 0 {
            self.hdr_len += VLAN_TAG as u16;
        }
    }
}

pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(field.try_into().ok()?))
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// The one's complement sum of big-endian words, not yet folded.
fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let mut total = 0;
    for word in words.by_ref() {
        total += u64::from(u32::from_be_bytes(word.try_into().unwrap_or_default()));
    }
    let mut tail = [0; 4];
    for (to, from) in tail.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    total + u64::from(u32::from_be_bytes(tail))
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Where the headers of an IP packet lie in its frame.
pub(super) struct Layers {
    v6: bool,
    l3: usize,
    l4: usize,
    /// Behind the last byte of the packet.
    end: usize,
    protocol: u8,
    fragment: bool,
}

impl Layers {
    /// Finds the headers. With `large`, the packet's own length means nothing: it ends with the
    /// frame.
    pub fn of(frame: &[u8], large: bool) -> Option<Self> {
        let mut l3 = ETH_HEADER;
        let mut ethertype = be16(frame, ETH_TYPE)?;
        for _ in 0..2 {
            if matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN) {
                ethertype = be16(frame, l3 + 2)?;
                l3 += VLAN_TAG;
            }
        }
        let layers = match ethertype {
            ETHERTYPE_IPV4 => Self::v4(frame, l3, large),
            ETHERTYPE_IPV6 => Self::v6(frame, l3, large),
            _ => None,
        }?;
        (layers.l4 <= layers.end && layers.end <= frame.len()).then_some(layers)
    }

    fn v4(frame: &[u8], l3: usize, large: bool) -> Option<Self> {
        let ip = frame.get(l3..)?;
        let first = *ip.first()?;
        let header = usize::from(first & 0xf) * 4;
        if first >> 4 != 4 || header < IPV4_HEADER || ip.len() < header {
            return None;
        }
        let length = usize::from(be16(ip, IPV4_LENGTH)?);
        Some(Self {
            v6: false,
            l3,
            l4: l3 + header,
            end: if large { frame.len() } else { l3 + length },
            protocol: *ip.get(IPV4_PROTOCOL)?,
            fragment: be16(ip, IPV4_FRAGMENT)? & FRAGMENT_MASK != 0,
        })
    }

    fn v6(frame: &[u8], l3: usize, large: bool) -> Option<Self> {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const DESTINATION: u8 = 60;
        let ip = frame.get(l3..)?;
        if ip.first()? >> 4 != 6 || ip.len() < IPV6_HEADER {
            return None;
        }
        let length = usize::from(be16(ip, IPV6_LENGTH)?);
        let end = if large { frame.len() } else { l3 + IPV6_HEADER + length };
        let (mut protocol, mut at, mut fragment) = (*ip.get(IPV6_NEXT)?, IPV6_HEADER, false);
        loop {
            let size = match protocol {
                HOP_BY_HOP | ROUTING | DESTINATION => 8 * (usize::from(*ip.get(at + 1)?) + 1),
                FRAGMENT => {
                    fragment = true;
                    8
                }
                _ => break,
            };
            protocol = *ip.get(at)?;
            at += size;
        }
        Some(Self { v6: true, l3, l4: l3 + at, end, protocol, fragment })
    }

    /// What of the frame is hashed for receive-side scaling: source and destination, and the
    /// ports of TCP. `None` if frames of this kind are not.
    pub fn flow(&self, frame: &[u8], rss: &Rss) -> Option<Vec<u8>> {
        let ports = rss.with_ports(self.v6, self.protocol == TCP && !self.fragment)?;
        let (at, size) = if self.v6 { (IPV6_ADDRESSES, 32) } else { (IPV4_ADDRESSES, 8) };
        let mut input = frame.get(self.l3 + at..self.l3 + at + size)?.to_vec();
        if ports {
            input.extend(frame.get(self.l4..self.l4 + 4)?);
        }
        Some(input)
    }

    /// Sum of the pseudo-header for `len` bytes.
    fn pseudo(&self, frame: &[u8], len: usize) -> u16 {
        let (at, size) = if self.v6 { (IPV6_ADDRESSES, 32) } else { (IPV4_ADDRESSES, 8) };
        let addresses = frame.get(self.l3 + at..self.l3 + at + size).unwrap_or_default();
        fold(sum(addresses) + u64::from(self.protocol) + len as u64)
    }

    fn ip_sum(&self, frame: &[u8]) -> u16 {
        fold(sum(frame.get(self.l3..self.l4).unwrap_or_default()))
    }

    fn fill_ip_checksum(&self, frame: &mut [u8]) {
        put16(frame, self.l3 + IPV4_CHECKSUM, 0);
        let sum = self.ip_sum(frame);
        put16(frame, self.l3 + IPV4_CHECKSUM, !sum);
    }

    /// Puts the pseudo-header's sum over the whole packet into the checksum field at `offset` of
    /// the transport header, where the guest should have left one for `len` bytes. Returns
    /// whether it had.
    fn fix_pseudo(&self, frame: &mut [u8], offset: usize, len: usize) -> Option<bool> {
        let was = be16(frame, self.l4 + offset)?;
        // The two zeros of one's complement are the same sum.
        let right = was % 0xffff == self.pseudo(frame, len) % 0xffff;
        let sum = self.pseudo(frame, self.end - self.l4);
        put16(frame, self.l4 + offset, sum);
        Some(right)
    }
}

/// Completes a checksum over `start..end`, where the field at `start + offset` holds the
/// pseudo-header's sum. `None` if that is not inside the frame.
pub(super) fn fill_checksum(
    frame: &mut [u8],
    start: usize,
    offset: usize,
    end: usize,
) -> Option<()> {
    be16(frame.get(..end)?, start + offset)?;
    let checksum = match !fold(sum(frame.get(start..end)?)) {
        // On the wire zero means that there is none.
        0 if offset == UDP_CHECKSUM => 0xffff,
        checksum => checksum,
    };
    put16(frame, start + offset, checksum);
    Some(())
}

/// A frame that is ready for the network.
pub(super) struct Prepared {
    pub header: VnetHeader,
    /// The guest had left the right sum for us.
    pub pseudo_right: bool,
    pub v6: bool,
    pub udp: bool,
}

// struct ndis_tcp_ip_checksum_info, towards the host.
const CSUM_IPV4: u32 = 1;
const CSUM_IPV6: u32 = 1 << 1;
const CSUM_TCP: u32 = 1 << 2;
const CSUM_UDP: u32 = 1 << 3;
const CSUM_IP_HEADER: u32 = 1 << 4;
const CSUM_OFFSET_SHIFT: u32 = 16;
const OFFSET_MASK: u32 = 0x3ff;

/// Does what the checksum information `info` of a frame asks for; `None` if it asks for nothing.
pub(super) fn checksum(frame: &mut [u8], info: u32) -> Result<Option<Prepared>, Counter> {
    let refused = Counter::TxBadChecksumInfo;
    if info & (CSUM_TCP | CSUM_UDP | CSUM_IP_HEADER) == 0 {
        return Ok(None);
    }
    let layers = Layers::of(frame, false).ok_or(refused)?;
    let family = if layers.v6 { CSUM_IPV6 } else { CSUM_IPV4 };
    if info & (CSUM_IPV4 | CSUM_IPV6) != family {
        return Err(refused);
    }
    if info & CSUM_IP_HEADER != 0 && !layers.v6 {
        layers.fill_ip_checksum(frame);
    }
    let (protocol, header, field) = match info & (CSUM_TCP | CSUM_UDP) {
        0 => return Ok(None),
        CSUM_TCP => (TCP, TCP_HEADER, TCP_CHECKSUM),
        CSUM_UDP => (UDP, UDP_HEADER, UDP_CHECKSUM),
        _ => return Err(refused),
    };
    // Some guests give the offset for TCP only.
    let offset = (info >> CSUM_OFFSET_SHIFT & OFFSET_MASK) as usize;
    let offset_right = offset == layers.l4 || offset == 0 && protocol == UDP;
    let length = layers.end - layers.l4;
    if protocol != layers.protocol || layers.fragment || !offset_right || length < header {
        return Err(refused);
    }
    let pseudo_right = layers.fix_pseudo(frame, field, length).ok_or(refused)?;
    let mut header = VnetHeader::default();
    if layers.end == frame.len() {
        header.flags = VNET_NEEDS_CSUM;
        header.csum_start = layers.l4 as u16;
        header.csum_offset = field as u16;
    } else {
        // What follows the packet would be summed up with it.
        fill_checksum(frame, layers.l4, field, layers.end).ok_or(refused)?;
    }
    Ok(Some(Prepared { header, pseudo_right, v6: layers.v6, udp: protocol == UDP }))
}

// struct ndis_tcp_lso_info, version 2.
const LSO_MSS: u32 = 0xfffff;
const LSO_OFFSET_SHIFT: u32 = 20;
const LSO_V2: u32 = 1 << 30;
const LSO_IPV6: u32 = 1 << 31;

/// Makes a frame with large-send information `info` ready to be segmented by the network.
pub(super) fn large_send(frame: &mut [u8], info: u32) -> Result<Prepared, Counter> {
    let refused = Counter::TxBadLso;
    let layers = Layers::of(frame, true).ok_or(refused)?;
    let mss = u16::try_from(info & LSO_MSS).map_err(|_| refused)?;
    let offset = (info >> LSO_OFFSET_SHIFT & OFFSET_MASK) as usize;
    let v6 = info & LSO_IPV6 != 0;
    let tcp = frame.get(layers.l4..).unwrap_or_default();
    let tcp_header = usize::from(tcp.get(TCP_LENGTH).ok_or(refused)? >> 4) * 4;
    let ecn = tcp.get(TCP_FLAGS).is_some_and(|flags| flags & TCP_CWR != 0);
    if info & LSO_V2 == 0
        || mss == 0
        || v6 != layers.v6
        || offset != layers.l4
        || layers.protocol != TCP
        || layers.fragment
        || tcp_header < TCP_HEADER
        || tcp.len() < tcp_header
        || frame.len() > LSO_MAX as usize
    {
        return Err(refused);
    }
    let payload = tcp.len() - tcp_header;
    // Both fit because of LSO_MAX.
    if v6 {
        let length = frame.len() - layers.l3 - IPV6_HEADER;
        put16(frame, layers.l3 + IPV6_LENGTH, length as u16);
    } else {
        let length = frame.len() - layers.l3;
        put16(frame, layers.l3 + IPV4_LENGTH, length as u16);
        layers.fill_ip_checksum(frame);
    }
    // The guest does not know the segments' length: it leaves it out of the sum.
    let pseudo_right = layers.fix_pseudo(frame, TCP_CHECKSUM, 0).ok_or(refused)?;
    let mut header = VnetHeader {
        flags: VNET_NEEDS_CSUM,
        csum_start: layers.l4 as u16,
        csum_offset: TCP_CHECKSUM as u16,
        ..VnetHeader::default()
    };
    if payload > usize::from(mss) {
        header.gso_type = if v6 { VNET_GSO_TCPV6 } else { VNET_GSO_TCPV4 };
        header.gso_type |= if ecn { VNET_GSO_ECN } else { 0 };
        header.gso_size = mss;
        header.hdr_len = (layers.l4 + tcp_header) as u16;
    }
    Ok(Prepared { header, pseudo_right, v6, udp: false })
}

/// What is known of a received frame.
#[derive(Default)]
pub(super) struct Known {
    // Checksums that are right.
    pub ip: bool,
    pub tcp: bool,
    pub udp: bool,
    pub v6: bool,
    /// It is several segments of this much payload, and that is where the payload begins.
    pub coalesced: Option<(usize, usize)>,
}

/// Fills in the checksum that the network left to us. `None` if the frame cannot be passed on;
/// segments that came as one can if `coalesce` says so for IPv4 or IPv6.
pub(super) fn receive(
    frame: &mut [u8],
    header: &VnetHeader,
    coalesce: (bool, bool),
) -> Option<Known> {
    let large = match header.gso_type & !VNET_GSO_ECN {
        0 => false,
        VNET_GSO_TCPV4 if coalesce.0 => true,
        VNET_GSO_TCPV6 if coalesce.1 => true,
        _ => return None,
    };
    if header.flags & VNET_NEEDS_CSUM != 0 {
        let (start, offset) = (header.csum_start.into(), header.csum_offset.into());
        fill_checksum(frame, start, offset, frame.len())?;
    }
    if header.flags & (VNET_NEEDS_CSUM | VNET_DATA_VALID) == 0 {
        return (!large).then(Known::default);
    }
    let Some(layers) = Layers::of(frame, false) else { return (!large).then(Known::default) };
    let transport = |protocol| layers.protocol == protocol && !layers.fragment;
    let mut known = Known {
        ip: !layers.v6 && layers.ip_sum(frame) == 0xffff,
        tcp: transport(TCP),
        udp: transport(UDP),
        v6: layers.v6,
        coalesced: None,
    };
    if large {
        let tcp = frame.get(layers.l4..)?;
        let payload = layers.l4 + usize::from(tcp.get(TCP_LENGTH)? >> 4) * 4;
        if !known.tcp || header.gso_size == 0 || payload >= frame.len() {
            return None;
        }
        known.coalesced = Some((payload, header.gso_size.into()));
        if !layers.v6 {
            // Nobody sums up the header of coalesced segments on a real host; it is said aloud.
            put16(frame, layers.l3 + IPV4_CHECKSUM, 0);
        }
    }
    Some(known)
}
