// SPDX-License-Identifier: GPL-2.0

//! A guest and a network around the device, as small as the tests allow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;
use crate::memory::{PageRange, PAGE};
use crate::mock::Bench;
use crate::rndis::HEADER;

mod channels;
mod faults;
mod frames;
mod handshake;
mod lies;
mod receive;
mod transmit;
mod vf;

const MAC: [u8; 6] = [0x00, 0x15, 0x5d, 0x01, 0x02, 0x03];
const BUFFER_ID: u32 = 0xcafe;
const QUERY: u32 = 4;
const SET: u32 = 5;
const PACKET_FILTER: u32 = 0x1010e;
const OFFLOAD_PARAMETERS: u32 = 0xfc01_020c;
const ALL_FILTERS: u32 = 0xd;
const RECEIVE_BUFFER: usize = 256 << 10;
const SEND_BUFFER: usize = 64 << 10;
const SEND_SECTION: usize = 6144;

/// The network: what was sent to it, and what it has for the guest.
#[derive(Default)]
struct Net {
    sent: Vec<Vec<u8>>,
    queue: VecDeque<Vec<u8>>,
    coalesce: (bool, bool),
}

struct Wire(Arc<Mutex<Net>>);

impl Backend for Wire {
    fn transmit(&mut self, packet: &[u8]) {
        self.0.lock().unwrap().sent.push(packet.to_vec());
    }

    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        let packet = self.0.lock().unwrap().queue.pop_front()?;
        buf[..packet.len()].copy_from_slice(&packet);
        Some(packet.len())
    }

    fn coalesce(&mut self, v4: bool, v6: bool) {
        self.0.lock().unwrap().coalesce = (v4, v6);
    }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn word(bytes: &[u8], n: usize) -> u32 {
    u32_at(bytes, n * 4).unwrap()
}

/// What the guest found in one range of its receive buffer.
struct Received {
    id: u64,
    control: bool,
    message: Vec<u8>,
}

impl Received {
    fn frame(&self) -> &[u8] {
        assert!(!self.control && word(&self.message, 0) == 1);
        let (at, len) = (word(&self.message, 2) as usize, word(&self.message, 3) as usize);
        &self.message[HEADER + at..HEADER + at + len]
    }

    /// Value of the per-packet information of this type.
    fn info(&self, kind: u32) -> Option<u32> {
        let (at, len) = (word(&self.message, 7) as usize, word(&self.message, 8) as usize);
        let list = &self.message[HEADER + at..HEADER + at + len];
        list.chunks_exact(16).find(|item| word(item, 1) == kind).map(|item| word(item, 3))
    }
}

struct Guest {
    bench: Bench,
    net: Arc<Mutex<Net>>,
    receive: PageRange,
    send: PageRange,
    id: u64,
    /// Channels and ids of the packets from the host that wait for a completion.
    owed: Vec<(usize, u64)>,
    /// Came with the answer to a control message.
    inbox: Vec<Received>,
}

impl Guest {
    /// The channel is open, and nothing else.
    fn opened(config: NetConfig) -> Self {
        let net = Arc::new(Mutex::new(Net::default()));
        let config = NetConfig { mac: MAC, ..config };
        let mut bench = Bench::new(Box::new(Netvsp::new(config, Box::new(Wire(net.clone())))));
        let (receive, send) = (bench.alloc(RECEIVE_BUFFER), bench.alloc(SEND_BUFFER));
        Self { bench, net, receive, send, id: 100, owed: Vec::new(), inbox: Vec::new() }
    }

    /// Everything is set up, and frames flow both ways.
    fn running(config: NetConfig) -> Self {
        let version = config.max_version;
        let mut guest = Self::opened(config);
        guest.handshake(version);
        guest.rndis_initialize();
        guest.enable_offloads();
        assert_eq!(guest.set(PACKET_FILTER, &bytes(&[ALL_FILTERS])), 0);
        guest
    }

    fn new() -> Self {
        Self::running(NetConfig::default())
    }

    /// Sends an NVSP message without waiting for anything.
    fn tell(&mut self, words: &[u32]) {
        self.id += 1;
        let mut data = bytes(words);
        data.resize(MESSAGE, 0);
        self.bench.guest_send(PacketKind::InBand, self.id, false, &[], &data);
    }

    /// Sends an NVSP message and returns the answer.
    fn ask(&mut self, words: &[u32]) -> Vec<u8> {
        self.tell(words);
        let answer = self.bench.guest_recv().expect("an answer");
        assert_eq!((answer.kind, answer.transaction_id), (PacketKind::Completion, self.id));
        answer.data
    }

    fn buffers(&mut self) {
        let receive = self.bench.gpadl(self.receive.clone());
        let answer = self.ask(&[SEND_RECEIVE_BUFFER, receive, BUFFER_ID]);
        assert_eq!(word(&answer, 0), SEND_RECEIVE_BUFFER_COMPLETE);
        assert_eq!(answer[4..16], bytes(&[STATUS_SUCCESS, 1, 0]));
        let send = self.bench.gpadl(self.send.clone());
        let answer = self.ask(&[SEND_SEND_BUFFER, send, 0]);
        let fields = [SEND_SEND_BUFFER_COMPLETE, STATUS_SUCCESS, SEND_SECTION as u32];
        assert_eq!(answer[..12], bytes(&fields));
    }

    fn negotiate(&mut self, version: u32) {
        let answer = self.ask(&[INIT, version, version]);
        let fields = [INIT_COMPLETE, version, MAX_MDL_CHAIN, STATUS_SUCCESS];
        assert_eq!(answer[..16], bytes(&fields));
        if version >= version::V2 {
            self.tell(&[
                SEND_NDIS_CONFIG,
                1514,
                0,
                CAPABILITY_SRIOV | CAPABILITY_8021Q | CAPABILITY_RSC,
                0,
            ]);
        }
        self.tell(&[SEND_NDIS_VERSION, 6, 30]);
    }

    fn handshake(&mut self, version: u32) {
        self.negotiate(version);
        self.buffers();
    }

    fn rndis_initialize(&mut self) {
        let complete = self.control(2, &[1, 0, 0x4000]);
        assert_eq!(word(&complete, 0), 0x8000_0002);
        assert_eq!((word(&complete, 3), word(&complete, 8), word(&complete, 10)), (0, 8, 3));
        // Media connect.
        let link = self.one();
        assert_eq!(link.message, bytes(&[7, 20, 0x4001_000b, 0, 0]));
    }

    fn enable_offloads(&mut self) {
        let mut params = vec![0x80, 3, 28, 0, 4, 4, 4, 4, 4, 0, 0, 2, 2];
        params.resize(28, 0);
        self.set(OFFLOAD_PARAMETERS, &params);
    }

    /// Sends an RNDIS control message; returns the answer to it.
    fn control(&mut self, kind: u32, fields: &[u32]) -> Vec<u8> {
        self.control_bytes(kind, &bytes(fields)).expect("an answer")
    }

    fn control_bytes(&mut self, kind: u32, body: &[u8]) -> Option<Vec<u8>> {
        let mut message = bytes(&[kind, 12 + body.len() as u32, self.id as u32]);
        message.extend(body);
        let range = self.store(&message, 64);
        assert_eq!(self.rndis(1, None, &[range]), STATUS_SUCCESS);
        let mut all = self.received();
        let place = all.iter().position(|received| received.control)?;
        let answer = all.remove(place);
        self.inbox = all;
        Some(answer.message)
    }

    fn query(&mut self, oid: u32) -> Result<Vec<u8>, u32> {
        let answer = self.control(QUERY, &[oid, 0, 20, 0]);
        let (status, len, at) = (word(&answer, 3), word(&answer, 4), word(&answer, 5));
        match status {
            0 => Ok(answer[HEADER + at as usize..][..len as usize].to_vec()),
            status => Err(status),
        }
    }

    /// Returns the status.
    fn set(&mut self, oid: u32, info: &[u8]) -> u32 {
        let mut body = bytes(&[oid, info.len() as u32, 20, 0]);
        body.extend(info);
        let answer = self.control_bytes(SET, &body).unwrap();
        word(&answer, 3)
    }

    /// Puts bytes into new pages, this far into the first.
    fn store(&mut self, bytes: &[u8], offset: usize) -> PageRange {
        let mut range = self.bench.alloc(offset + bytes.len());
        (range.offset, range.len) = (offset as u32, bytes.len() as u32);
        range.write(&*self.bench.mem, 0, bytes).unwrap();
        range
    }

    /// Sends an RNDIS packet; returns the status.
    fn rndis(&mut self, channel: u32, section: Option<(u32, u32)>, ranges: &[PageRange]) -> u32 {
        self.id += 1;
        let (index, size) = section.unwrap_or((NO_SECTION, 0));
        let mut data = bytes(&[SEND_RNDIS_PACKET, channel, index, size]);
        data.resize(MESSAGE, 0);
        let kind = if ranges.is_empty() { PacketKind::InBand } else { PacketKind::GpaDirect };
        self.bench.guest_send(kind, self.id, true, ranges, &data);
        let answer = self.bench.guest_recv().expect("a completion");
        assert_eq!((answer.kind, answer.transaction_id), (PacketKind::Completion, self.id));
        assert_eq!(word(&answer.data, 0), SEND_RNDIS_PACKET_COMPLETE);
        word(&answer.data, 1)
    }

    /// Copies messages to a send section and sends that; returns the status.
    fn send_section(&mut self, index: u32, messages: &[u8]) -> u32 {
        let at = index as usize * SEND_SECTION;
        self.send.write(&*self.bench.mem, at, messages).unwrap();
        self.rndis(0, Some((index, messages.len() as u32)), &[])
    }

    /// Sends a frame with per-packet information; returns the status.
    fn transmit(&mut self, frame: &[u8], info: &[(u32, u32)]) -> u32 {
        self.send_section(0, &packet(frame, info))
    }

    /// What the network got last.
    fn sent(&mut self) -> (VnetHeader, Vec<u8>) {
        let packet = self.net.lock().unwrap().sent.pop().expect("a frame");
        let (header, frame) = packet.split_first_chunk().unwrap();
        (VnetHeader::read(header), frame.to_vec())
    }

    /// The network has frames for the guest.
    fn arrive(&mut self, header: VnetHeader, frames: &[Vec<u8>]) {
        for frame in frames {
            let packet = [&header.bytes()[..], frame].concat();
            self.net.lock().unwrap().queue.push_back(packet);
        }
        self.bench.backend();
    }

    /// Everything that the host announced; the guest gives it back.
    fn received(&mut self) -> Vec<Received> {
        let all = self.peek();
        self.give_back();
        all
    }

    /// The same, but the guest keeps the sections.
    fn peek(&mut self) -> Vec<Received> {
        let mut all = std::mem::take(&mut self.inbox);
        all.extend(self.peek_on(0));
        all
    }

    fn peek_on(&mut self, channel: usize) -> Vec<Received> {
        let mut all = Vec::new();
        while let Some(packet) = self.bench.guest_recv_on(channel) {
            assert_eq!(packet.kind, PacketKind::TransferPages);
            assert_eq!(word(&packet.data, 0), SEND_RNDIS_PACKET);
            self.owed.push((channel, packet.transaction_id));
            for range in packet.ranges {
                let mut message = vec![0; range.len as usize];
                let at = range.offset as usize;
                self.receive.read(&*self.bench.mem, at, &mut message).unwrap();
                message.truncate(word(&message, 1) as usize);
                let control = word(&packet.data, 1) == CONTROL;
                all.push(Received { id: packet.transaction_id, control, message });
            }
        }
        all
    }

    fn one(&mut self) -> Received {
        let mut all = self.received();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn give_back(&mut self) {
        for (channel, id) in std::mem::take(&mut self.owed) {
            self.complete_on(channel, id);
        }
    }

    fn complete(&mut self, id: u64) {
        self.complete_on(0, id);
    }

    fn complete_on(&mut self, channel: usize, id: u64) {
        let data = bytes(&[SEND_RNDIS_PACKET_COMPLETE, STATUS_SUCCESS]);
        self.bench.guest_send_on(channel, PacketKind::Completion, id, false, &[], &data);
    }

    fn count(&self, name: &str) -> u64 {
        self.bench.trace.counter(&format!("dev.{name}"))
    }
}

/// An RNDIS packet message.
fn packet(frame: &[u8], info: &[(u32, u32)]) -> Vec<u8> {
    let info_len = 16 * info.len() as u32;
    let len = 44 + info_len + frame.len() as u32;
    let mut out = bytes(&[1, len, 36 + info_len, frame.len() as u32, 0, 0, 0]);
    out.extend(bytes(&[if info.is_empty() { 0 } else { 36 }, info_len, 0, 0]));
    for (kind, value) in info {
        out.extend(bytes(&[16, *kind, 12, *value]));
    }
    out.extend(frame);
    out
}
