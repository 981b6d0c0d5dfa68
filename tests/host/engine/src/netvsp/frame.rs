// SPDX-License-Identifier: GPL-2.0

//! A frame of the network, and the RNDIS messages that it becomes.

use std::ops::Range;

use super::counters::Counter;
use super::offload::{self, be16, Layers, VnetHeader};
use super::offload::{ETHERTYPE_VLAN, ETH_HEADER, ETH_TYPE, VLAN_TAG};
use super::transmit::vlan_info;
use super::{Netvsp, PRIMARY, VNET_HEADER};
use crate::rndis::{HEADER, MSG_PACKET};

/// Room in front of a received frame for its [`VnetHeader`], aligned.
pub(super) const ROOM: usize = 16;
/// The longest packet that a network can have, headers and segments that came as one included.
pub(super) const PAYLOAD: usize = (64 << 10) + 128;
/// What a packet is read into.
pub(super) const BUFFER: usize = ROOM + PAYLOAD;

const FIELDS: usize = 9;
const PPI_CHECKSUM: u32 = 0;
const PPI_VLAN: u32 = 6;
const PPI_HASH: u32 = 8;
/// Internal information 1: which part of segments that came as one this is.
const PPI_ID: u32 = 1 << 31 | 1;
/// Size, type, and offset of the value.
const PPI_SIZE: usize = 16;
const PPI_OFFSET: u32 = 12;
const MAX_PPI: usize = 4;
/// The longest RNDIS header.
pub(super) const MAX_HEAD: usize = HEADER + FIELDS * 4 + MAX_PPI * PPI_SIZE;

// struct rndis_pktinfo_id: version, flags, id.
const ID_VERSION: u32 = 1;
const ID_PART: u32 = 1 << 8;
const ID_FIRST: u32 = 1 << 9;
const ID_LAST: u32 = 1 << 10;

// struct ndis_tcp_ip_checksum_info, towards the guest.
const TCP_SUCCEEDED: u32 = 1 << 3;
const UDP_SUCCEEDED: u32 = 1 << 4;
const IP_SUCCEEDED: u32 = 1 << 5;
const IP_VALUE_INVALID: u32 = 1 << 8;

/// The RNDIS header of a packet message with its per-packet information.
#[derive(Clone)]
pub(super) struct Head {
    bytes: [u8; MAX_HEAD],
    len: usize,
}

impl Head {
    pub fn new() -> Self {
        Self { bytes: [0; MAX_HEAD], len: HEADER + FIELDS * 4 }
    }

    fn put(&mut self, at: usize, words: &[u32]) {
        for (to, from) in self.bytes[at..].chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&from.to_le_bytes());
        }
    }

    /// Adds information, at most [`MAX_PPI`] times.
    pub fn push(&mut self, kind: u32, value: u32) {
        self.put(self.len, &[PPI_SIZE as u32, kind, PPI_OFFSET, value]);
        self.len += PPI_SIZE;
    }

    /// Fills in the fields, for a frame of `data` bytes behind the header.
    pub fn finish(mut self, data: usize) -> Self {
        let fields = FIELDS * 4;
        let info = self.len - HEADER - fields;
        let info_at = if info == 0 { 0 } else { fields };
        let body = [self.len - HEADER, data, 0, 0, 0, info_at, info, 0, 0];
        self.put(0, &[MSG_PACKET, (self.len + data) as u32]);
        self.put(HEADER, &body.map(|word| word as u32));
        self
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A frame that goes to the guest; ranges are places in the buffer that it was read into.
pub(super) struct Frame {
    pub channel: usize,
    head: Head,
    at: Range<usize>,
    /// Where the first segment's payload begins, and how much each segment has.
    coalesced: Option<(usize, usize)>,
    id: u32,
}

impl Frame {
    pub fn len(&self) -> usize {
        self.at.len()
    }

    pub fn is_coalesced(&self) -> bool {
        self.coalesced.is_some()
    }

    /// The messages that carry the frame, each in one section, and the part that each carries.
    pub fn messages(&self, rx: &[u8], section: usize) -> Vec<(Head, Range<usize>)> {
        let Range { start, end } = self.at;
        let end = end.min(rx.len());
        let Some((payload, segment)) = self.coalesced else {
            return vec![(self.head.clone().finish(end - start), start..end)];
        };
        // As many whole segments as fit; a segment that does not fit is cut.
        let fits = |room: usize| match room / segment {
            0 => room,
            count => count * segment,
        };
        let room = section.saturating_sub(MAX_HEAD).max(1);
        let first = payload + fits(room.saturating_sub(payload - start)).max(1);
        let mut parts = Vec::new();
        parts.push(start..first.min(end));
        let mut at = first;
        while at < end {
            let next = (at + fits(room)).min(end);
            parts.push(at..next);
            at = next;
        }
        let last = parts.len() - 1;
        let parts = parts.into_iter().enumerate().map(|(n, part)| {
            let mut head = self.head.clone();
            let flags =
                ID_PART | if n == 0 { ID_FIRST } else { 0 } | if n == last { ID_LAST } else { 0 };
            head.push(PPI_ID, ID_VERSION | flags | self.id << 16);
            (head.finish(part.len()), part)
        });
        parts.collect()
    }
}

impl Netvsp {
    /// Looks at the packet of `len` bytes in `rx`; says how it goes to the guest, or why it is
    /// dropped.
    pub(super) fn frame_from_network(&mut self, len: usize) -> Result<Frame, Counter> {
        let packet = ROOM - VNET_HEADER;
        let end = packet + len;
        let header = self.rx[packet..].first_chunk().map(VnetHeader::read).unwrap_or_default();
        let frame = self.rx.get_mut(ROOM..end).ok_or(Counter::RxBadFrame)?;
        if frame.len() < ETH_HEADER {
            return Err(Counter::RxBadFrame);
        }
        if !self.adapter.accepts(&frame[..6]) {
            return Err(Counter::RxFiltered);
        }
        let tagged = self.session.vlan && be16(frame, ETH_TYPE) == Some(ETHERTYPE_VLAN);
        let tag = if tagged { be16(frame, ETH_TYPE + 2) } else { None };
        let start = ROOM + if tag.is_some() { VLAN_TAG } else { 0 };
        let known = offload::receive(frame, &header, self.coalescing).ok_or(Counter::RxBadFrame)?;
        let too_long = end - start > self.session.frame as usize + VLAN_TAG;
        if too_long && known.coalesced.is_none() {
            return Err(Counter::RxTooLong);
        }
        let mut head = Head::new();
        let mut channel = PRIMARY;
        if let Some(rss) = &self.adapter.rss {
            let flow = Layers::of(frame, known.coalesced.is_some());
            if let Some(input) = flow.and_then(|layers| layers.flow(frame, rss)) {
                let hash = rss.hash(&input);
                channel = rss.channel(hash);
                head.push(PPI_HASH, hash);
                self.counters.add(Counter::RxHash, 1);
            }
        }
        if let Some(tag) = tag {
            self.rx.copy_within(ROOM..ROOM + ETH_TYPE, start);
            head.push(PPI_VLAN, vlan_info(tag));
            self.counters.add(Counter::RxVlan, 1);
        }

        let offloads = &self.adapter.offloads;
        let transport = offloads.transport(known.v6, known.udp).rx;
        let bit = |right: bool, bit: u32| if right { bit } else { 0 };
        let checksum = if known.coalesced.is_some() {
            // Nobody can coalesce segments without having looked.
            TCP_SUCCEEDED | bit(!known.v6, IP_SUCCEEDED | IP_VALUE_INVALID)
        } else {
            bit(transport && known.tcp, TCP_SUCCEEDED)
                | bit(transport && known.udp, UDP_SUCCEEDED)
                | bit(offloads.ip4.rx && known.ip, IP_SUCCEEDED)
        };
        if checksum != 0 {
            head.push(PPI_CHECKSUM, checksum);
            self.counters.add(Counter::RxChecksum, 1);
        }
        self.packet_id = self.packet_id.wrapping_add(1) & 0xffff;
        let coalesced = known.coalesced.map(|(payload, segment)| (ROOM + payload, segment));
        Ok(Frame { channel, head, at: start..end, coalesced, id: self.packet_id })
    }
}
