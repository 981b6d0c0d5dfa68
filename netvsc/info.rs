// SPDX-License-Identifier: GPL-2.0

//! What is said about a frame beside its data: RNDIS packet headers and per-packet information.

use crate::{
    bytes::u32_at,
    rndis::{
        HEADER,
        MSG_PACKET,
        PACKET, //
    },
};
use zerocopy::IntoBytes;

/// Types of per-packet information.
const CHECKSUM: u32 = 0;
const LARGE_SEND: u32 = 2;
const VLAN: u32 = 6;
const HASH: u32 = 8;
/// The bit of types that are for hosts and guests of Hyper-V only.
const INTERNAL: u32 = 1 << 31;
const FRAGMENT: u32 = INTERNAL | 1;

/// Size, type and offset of the value.
const ITEM: usize = 12;

/// Words of an item that has one.
const WORD_ITEM: usize = 4;

/// Most items that a frame that is sent has: hash, VLAN, and checksum or segmentation.
const ITEMS: usize = 3;

/// Words before the items, and before the frame's data at most.
const FIXED: usize = (HEADER + PACKET) / 4;
const WORDS: usize = FIXED + ITEMS * WORD_ITEM;

/// What stands before the data of a frame that is sent.
pub(crate) struct Header {
    /// As they are in memory.
    words: [u32; WORDS],
    /// How many of them are used.
    used: usize,
}

impl Header {
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            words: [0; WORDS],
            used: FIXED,
        }
    }

    #[inline]
    fn push(&mut self, kind: u32, value: u32) {
        let place = self.words.get_mut(self.used..);

        if let Some(place) = place.and_then(|rest| rest.first_chunk_mut::<WORD_ITEM>()) {
            // CAST: Small constants.
            *place = [4 * WORD_ITEM as u32, kind, ITEM as u32, value].map(u32::to_le);
            self.used += WORD_ITEM;
        }
    }

    /// The hash of the frame's flow.
    #[inline]
    pub(crate) fn hash(&mut self, hash: u32) {
        self.push(HASH, hash);
    }

    /// The tag that the host is to insert.
    #[inline]
    pub(crate) fn vlan(&mut self, tci: u16) {
        self.push(VLAN, vlan_from_tci(tci));
    }

    /// The host segments the frame. `transport` is the offset of the TCP header, `mss` the payload
    /// of each segment.
    #[inline]
    pub(crate) fn segment(&mut self, ipv6: bool, transport: usize, mss: u16) {
        const VERSION_2: u32 = 1 << 30;
        const IPV6: u32 = 1 << 31;
        // CAST: Offsets in a frame's headers fit into 10 bits; others were refused.
        let value = u32::from(mss) | (transport as u32 & 0x3ff) << 20 | VERSION_2;

        self.push(LARGE_SEND, if ipv6 { value | IPV6 } else { value });
    }

    /// The host computes the checksum of the transport layer, whose header is at `transport`.
    #[inline]
    pub(crate) fn checksum(&mut self, ipv6: bool, udp: bool, transport: usize) {
        let network = if ipv6 { 1 << 1 } else { 1 };
        let protocol = if udp { 1 << 3 } else { 1 << 2 };

        // CAST: As above.
        self.push(
            CHECKSUM,
            network | protocol | (transport as u32 & 0x3ff) << 16,
        );
    }

    /// Fills in the lengths for a frame of so many bytes, behind which the message has `padding`.
    #[inline]
    pub(crate) fn finish(&mut self, frame: u32, padding: u32) -> &[u8] {
        // CAST: At most `4 * WORDS`.
        let len = self.len() as u32;
        let fields = len - HEADER as u32;

        if let Some(fixed) = self.words.first_chunk_mut::<FIXED>() {
            *fixed = [
                MSG_PACKET,
                len.wrapping_add(frame).wrapping_add(padding),
                fields,
                frame,
                0,
                0,
                0,
                PACKET as u32,
                fields - PACKET as u32,
                0,
                0,
            ]
            .map(u32::to_le);
        }
        self.words
            .get(..self.used)
            .map_or(&[], |words| words.as_bytes())
    }

    /// Bytes before the data.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        4 * self.used
    }
}

/// What the host says about a received frame.
#[derive(Clone, Copy, Default)]
pub(crate) struct Received {
    checksum: Option<u32>,
    vlan: Option<u32>,
    /// The hash of the frame's flow.
    pub(crate) hash: Option<u32>,
    fragment: Option<u8>,
}

/// Where a fragment of a coalesced frame belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) first: bool,
    pub(crate) last: bool,
}

impl Received {
    /// Reads a list of items, each once. [`None`] if it is malformed.
    #[inline]
    pub(crate) fn read(mut list: &[u8]) -> Option<Self> {
        let mut found = Self::default();

        while !list.is_empty() {
            let size = u32_at(list, 0)? as usize;
            let kind = u32_at(list, 4)?;
            let at = u32_at(list, 8)? as usize;
            let (item, rest) = list.split_at_checked(size)?;

            // An item has at least these fields, so the list gets shorter.
            if at < ITEM || at > item.len() {
                return None;
            }
            match kind {
                CHECKSUM => found.checksum = Some(u32_at(item, at)?),
                VLAN => found.vlan = Some(u32_at(item, at)?),
                HASH => found.hash = Some(u32_at(item, at)?),
                // Version, flags, and a number of the packet.
                FRAGMENT => found.fragment = Some(u32_at(item, at)?.to_le_bytes()[1]),
                _ => {}
            }
            list = rest;
        }
        Some(found)
    }

    /// The tag that the frame had.
    #[inline]
    pub(crate) fn vlan_tci(&self) -> Option<u16> {
        self.vlan.map(tci_from_vlan)
    }

    /// Whether the host has found the checksum of the transport layer right.
    #[inline]
    pub(crate) fn checksum_is_right(&self) -> bool {
        const TCP_SUCCEEDED: u32 = 1 << 3;
        const UDP_SUCCEEDED: u32 = 1 << 4;

        self.checksum.unwrap_or(0) & (TCP_SUCCEEDED | UDP_SUCCEEDED) != 0
    }

    /// Whether the checksum of IP was right in each segment, and is not in what was made of them.
    #[inline]
    pub(crate) fn needs_ip_checksum(&self) -> bool {
        const IP_SUCCEEDED: u32 = 1 << 5;
        const IP_VALUE_INVALID: u32 = 1 << 8;
        const BOTH: u32 = IP_SUCCEEDED | IP_VALUE_INVALID;

        self.checksum.unwrap_or(0) & BOTH == BOTH
    }

    /// Where it belongs, if it is a fragment.
    #[inline]
    pub(crate) fn fragment(&self) -> Option<Fragment> {
        const PART: u8 = 1;
        const FIRST: u8 = 2;
        const LAST: u8 = 4;

        self.fragment
            .filter(|flags| flags & PART != 0)
            .map(|flags| Fragment {
                first: flags & FIRST != 0,
                last: flags & LAST != 0,
            })
    }
}

/// Priority, CFI and VLAN, from the order on the wire to the one of NDIS.
#[inline]
fn vlan_from_tci(tci: u16) -> u32 {
    let tci = u32::from(tci);

    tci >> 13 | (tci >> 12 & 1) << 3 | (tci & 0xfff) << 4
}

/// The other way round.
#[inline]
fn tci_from_vlan(vlan: u32) -> u16 {
    // CAST: 16 bits.
    ((vlan & 7) << 13 | (vlan >> 3 & 1) << 12 | (vlan >> 4 & 0xfff)) as u16
}

#[kernel::macros::kunit_tests(hv_netvsc_info)]
mod tests {
    use super::*;
    use crate::bytes::put_u32;

    /// Bytes of an item with a word.
    const ITEM_LEN: usize = 4 * WORD_ITEM;

    /// An item of a list.
    fn item(size: u32, kind: u32, at: u32, value: u32) -> [u8; ITEM_LEN] {
        let mut bytes = [0; ITEM_LEN];

        for (n, word) in [size, kind, at, value].into_iter().enumerate() {
            put_u32(&mut bytes, 4 * n, word);
        }
        bytes
    }

    #[test]
    fn tags_keep_their_bits() {
        for tci in [0, 1, 0xfff, 0x1000, 0x2000, 0xe000, 0xffff, 0xa123] {
            assert_eq!(tci_from_vlan(vlan_from_tci(tci)), tci);
        }
        assert_eq!(vlan_from_tci(0xf123), 7 | 1 << 3 | 0x123 << 4);
    }

    #[test]
    fn a_list_is_read_once() {
        let mut list = [0; 4 * ITEM_LEN];
        let items = [
            item(16, VLAN, 12, vlan_from_tci(0x2005)),
            item(16, CHECKSUM, 12, 1 << 3),
            item(16, 77, 12, 5),
            item(16, FRAGMENT, 12, 0x0000_0301),
        ];
        for (place, item) in list.chunks_exact_mut(ITEM_LEN).zip(items) {
            place.copy_from_slice(&item);
        }
        let found = Received::read(&list);

        assert_eq!(found.and_then(|found| found.vlan_tci()), Some(0x2005));
        assert_eq!(found.map(|found| found.checksum_is_right()), Some(true));
        assert_eq!(found.map(|found| found.needs_ip_checksum()), Some(false));
        assert_eq!(found.and_then(|found| found.hash), None);
        let first = Fragment {
            first: true,
            last: false,
        };
        assert!(found.and_then(|found| found.fragment()) == Some(first));
        assert!(Received::read(&[]).is_some());
    }

    #[test]
    fn malformed_lists_are_refused() {
        // Empty, longer than the list, with a value outside, and cut.
        for (size, at) in [
            (0, 12),
            (17, 12),
            (u32::MAX, 12),
            (16, 13),
            (16, 16),
            (16, 0),
        ] {
            assert!(Received::read(&item(size, HASH, at, 1)).is_none());
        }
        let whole = item(16, HASH, 12, 1);
        for len in 1..whole.len() {
            assert!(Received::read(whole.get(..len).unwrap_or_default()).is_none());
        }
    }

    #[test]
    fn a_header_says_where_the_frame_is() {
        let mut header = Header::new();

        header.hash(9);
        header.vlan(0x1001);
        header.checksum(true, true, 54);
        let bytes = header.finish(100, 4);
        let word = |at| u32_at(bytes, at);

        assert_eq!(bytes.len(), 4 * WORDS);
        assert_eq!(word(0), Some(MSG_PACKET));
        assert_eq!(word(4), Some(4 * WORDS as u32 + 104));
        assert_eq!(word(8), Some(84));
        assert_eq!(word(12), Some(100));
        assert_eq!((word(28), word(32)), (Some(36), Some(48)));
        let list = bytes.get(HEADER + PACKET..).unwrap_or_default();
        let found = Received::read(list);
        assert_eq!(found.and_then(|found| found.hash), Some(9));
        assert_eq!(found.and_then(|found| found.vlan_tci()), Some(0x1001));
        assert_eq!(word(88), Some(2 | 1 << 3 | 54 << 16));
    }
}
