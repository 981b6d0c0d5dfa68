// SPDX-License-Identifier: GPL-2.0

//! The network device: NVSP, by which guest and host agree on a version and on shared buffers,
//! and then exchange RNDIS messages. Behind it is a [`Backend`], in practice a TAP device.
//!
//! The guest's frames lie in sections of its send buffer or in ranges of its pages. The
//! network's frames go into sections of its receive buffer, which stay the guest's until it
//! completes the packet that announced them.

use std::collections::VecDeque;

use serde_json::json;

use crate::device::{Device, Io, Offer, Violation};
use crate::guid::Guid;
use crate::ring::{Packet, PacketKind};
use crate::rndis::{u32_at, About, Adapter};
use crate::trace::Level;

mod channels;
mod commands;
pub(crate) mod counters;
mod faults;
mod frame;
mod lies;
pub(crate) mod offload;
mod receive;
mod transmit;
mod vf;

#[cfg(test)]
mod tests;

pub use offload::{VnetHeader, VNET_HEADER};

use channels::{Flow, Queue, SubChannels};
use counters::{Counter, Counters};
use faults::Faults;
use lies::{Lies, Of};
use offload::ETH_HEADER;
use receive::{Outgoing, ReceiveBuffer};
use transmit::SendBuffer;
use vf::{Path, Vf};

/// Kind of the device: "Synthetic Ethernet port".
const INTERFACE: Guid = Guid::new("f8615163-df3e-46c5-913f-f2d2f965ed0e");
/// The instances; a card's number takes the place of the last four bytes.
const INSTANCE: Guid = Guid::new("7f5d6e2a-4c1b-4b8e-9d36-000000000000");

/// The channel of the handshake and of control messages.
const PRIMARY: usize = 0;
/// Channels that a card can have.
pub const MAX_QUEUES: u32 = 64;

/// Versions of NVSP.
pub mod version {
    /// The first.
    pub const V1: u32 = 2;
    /// 3.2: NDIS configuration.
    pub const V2: u32 = 0x3_0002;
    /// 4.0: virtual functions.
    pub const V4: u32 = 0x4_0000;
    /// 5.0: sub-channels.
    pub const V5: u32 = 0x5_0000;
    /// 6.0.
    pub const V6: u32 = 0x6_0000;
    /// 6.1: longer messages.
    pub const V61: u32 = 0x6_0001;
    /// All that there are.
    pub(super) const ALL: [u32; 6] = [V1, V2, V4, V5, V6, V61];
    /// What is answered if there is none in common.
    pub(super) const NONE: u32 = u32::MAX;

    /// The one with this name: `1`, `2` (which is 3.2), `4`, `5`, `6`, `6.1`.
    pub fn named(name: &str) -> Option<u32> {
        let all = [("1", V1), ("2", V2), ("4", V4), ("5", V5), ("6", V6), ("6.1", V61)];
        all.into_iter().find(|(text, _)| *text == name).map(|(_, version)| version)
    }
}

// Message types.
const INIT: u32 = 1;
const INIT_COMPLETE: u32 = 2;
const SEND_NDIS_VERSION: u32 = 100;
const SEND_RECEIVE_BUFFER: u32 = 101;
const SEND_RECEIVE_BUFFER_COMPLETE: u32 = 102;
const REVOKE_RECEIVE_BUFFER: u32 = 103;
const SEND_SEND_BUFFER: u32 = 104;
const SEND_SEND_BUFFER_COMPLETE: u32 = 105;
const REVOKE_SEND_BUFFER: u32 = 106;
const SEND_RNDIS_PACKET: u32 = 107;
const SEND_RNDIS_PACKET_COMPLETE: u32 = 108;
const SEND_NDIS_CONFIG: u32 = 125;
const SEND_VF_ASSOCIATION: u32 = 128;
const SWITCH_DATA_PATH: u32 = 129;
const SUBCHANNEL: u32 = 133;
const SEND_INDIRECTION_TABLE: u32 = 134;

const STATUS_SUCCESS: u32 = 1;
const STATUS_FAIL: u32 = 2;

/// What a guest of version 6.1 sends and expects; and what an older one does.
const MESSAGE: usize = 0x28;
const OLD_MESSAGE: usize = 0x1c;

const MAX_MDL_CHAIN: u32 = 34;
const ALLOCATE: u32 = 1;
const CAPABILITY_SRIOV: u32 = 1 << 2;
const CAPABILITY_8021Q: u32 = 1 << 3;
const CAPABILITY_RSC: u32 = 1 << 7;

/// Control messages in RNDIS packets; data messages are 0.
const CONTROL: u32 = 1;
/// A packet that is not in the send buffer.
const NO_SECTION: u32 = u32::MAX;

/// The shortest longest frame.
const MIN_FRAME: u32 = 1514;

/// The network behind the device. A packet is a [`VnetHeader`] in its little-endian form and the
/// Ethernet frame behind it, as read from and written to a TAP device with IFF_VNET_HDR.
pub trait Backend: Send {
    /// Sends a packet. The network may lose it, so there is no error.
    fn transmit(&mut self, packet: &[u8]);

    /// Reads the next packet into `buf` and returns its length; `None` if none is there. Must not
    /// block.
    fn receive(&mut self, buf: &mut [u8]) -> Option<usize>;

    /// Whether TCP segments over IPv4 and IPv6 may come as one packet, whose [`VnetHeader`] says
    /// how long each is. Off at first; packets of before may still come.
    fn coalesce(&mut self, v4: bool, v6: bool);
}

/// What a network card is like.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// Tells the cards of a machine apart, also over boots.
    pub number: u32,
    /// The permanent address.
    pub mac: [u8; 6],
    /// Largest MTU that the guest can have.
    pub max_mtu: u32,
    /// Newest version of NVSP, one of [`version`].
    pub max_version: u32,
    /// Most channels, up to [`MAX_QUEUES`].
    pub queues: u32,
    /// Offer to coalesce received segments.
    pub rsc: bool,
    /// Size of a receive section, if it is larger than frames need.
    pub receive_section: Option<u32>,
    /// Size of a send section.
    pub send_section: u32,
    /// Packets of one channel that the host takes before it has completed any.
    pub tx_quota: usize,
    /// Speed of the link.
    pub speed_mbps: u32,
    /// Name of the network, which Linux makes the interface's alias unless it is
    /// "Network Adapter".
    pub friendly_name: String,
    /// Each range announced to the guest is a whole section, as some hosts do, and not only the
    /// message in it.
    pub whole_sections: bool,
    /// Refuse packets with an RNDIS header that crosses a page, even if it is in one range. Linux
    /// sends such ones; they are counted in any case.
    pub refuse_header_across_pages: bool,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            number: 0,
            mac: [0x00, 0x15, 0x5d, 0x00, 0x00, 0x01],
            max_mtu: 9202,
            max_version: version::V61,
            queues: 1,
            rsc: true,
            receive_section: None,
            send_section: transmit::SECTION,
            tx_quota: 1024,
            speed_mbps: 10_000,
            friendly_name: "Network Adapter".into(),
            whole_sections: false,
            refuse_header_across_pages: false,
        }
    }
}

/// How far the handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The channel is open.
    Opened,
    /// There is a version.
    Version,
    /// The NDIS configuration is known, or the version has none.
    Configured,
    /// The NDIS version is known.
    Ready,
}

/// What the guest set up since it opened the channel.
struct Session {
    stage: Stage,
    version: u32,
    /// Longest frame.
    frame: u32,
    /// VLAN tags travel beside the frame.
    vlan: bool,
    /// Coalesced segments are understood.
    rsc: bool,
    /// The guest knows what to do with a virtual function.
    sriov: bool,
    /// Where the guest sends.
    path: Path,
    receive: Option<ReceiveBuffer>,
    send: Option<SendBuffer>,
    /// Control messages that wait for a free section, and the channel that each goes to.
    replies: VecDeque<(usize, Vec<u8>)>,
    /// By channel.
    outgoing: Vec<Outgoing>,
    sub_channels: SubChannels,
    /// By channel.
    flow: Vec<Flow>,
}

impl Session {
    fn new() -> Self {
        Self {
            stage: Stage::Opened,
            version: 0,
            frame: MIN_FRAME,
            vlan: false,
            rsc: false,
            sriov: false,
            path: Path::Synthetic,
            receive: None,
            send: None,
            replies: VecDeque::new(),
            outgoing: Vec::new(),
            sub_channels: SubChannels::default(),
            flow: Vec::new(),
        }
    }

    fn message_size(&self) -> usize {
        if self.version >= version::V61 {
            MESSAGE
        } else {
            OLD_MESSAGE
        }
    }
}

/// A message to the guest, padded with zeros; at most [`OLD_MESSAGE`] bytes of fields.
fn message(fields: &[u32]) -> [u8; MESSAGE] {
    let mut out = [0; MESSAGE];
    for (to, from) in out.chunks_exact_mut(4).zip(fields) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    out
}

/// The device.
pub struct Netvsp {
    config: NetConfig,
    backend: Box<dyn Backend>,
    /// The backend may have packets that were not read.
    pending: bool,
    /// What the backend was told last.
    coalescing: (bool, bool),
    /// Tells coalesced frames apart.
    packet_id: u32,
    adapter: Adapter,
    session: Session,
    counters: Counters,
    queues: Vec<Queue>,
    /// The host reads no ring.
    paused: bool,
    /// The host completes no packet.
    holding: bool,
    /// Rings may hold packets that nobody will signal.
    catching_up: bool,
    faults: Faults,
    lies: Lies,
    vf: Vf,
    tx: Vec<u8>,
    rx: Vec<u8>,
}

impl Netvsp {
    /// A card that is plugged into `backend`.
    pub fn new(config: NetConfig, backend: Box<dyn Backend>) -> Self {
        let name = config.friendly_name.clone();
        Self {
            adapter: Adapter::new(config.mac, name, config.speed_mbps),
            config,
            backend,
            pending: false,
            coalescing: (false, false),
            packet_id: 0,
            session: Session::new(),
            counters: Counters::new(),
            queues: Vec::new(),
            paused: false,
            holding: false,
            catching_up: false,
            faults: Faults::default(),
            lies: Lies::default(),
            vf: Vf::default(),
            tx: vec![0; transmit::BUFFER],
            rx: vec![0; frame::BUFFER],
        }
    }

    /// Completes the guest's NVSP message `id`.
    fn reply(&mut self, io: &mut Io<'_>, channel: usize, id: u64, fields: &[u32]) {
        // A guest that gets no version asks for another, which would be out of order.
        let first = fields.first() == Some(&INIT_COMPLETE);
        if first || !self.complete_otherwise(io, channel, id, Of::Exchange) {
            self.complete(io, channel, id, fields);
        }
    }

    /// Completes the guest's packet `id`.
    fn complete(&self, io: &mut Io<'_>, channel: usize, id: u64, fields: &[u32]) {
        io.complete(channel, id, &message(fields)[..self.session.message_size()]);
    }

    /// Takes a message; those of the handshake in their order only, and on the primary channel.
    fn message(
        &mut self,
        io: &mut Io<'_>,
        channel: usize,
        packet: &Packet,
    ) -> Result<(), Violation> {
        let field = |at| {
            u32_at(&packet.data, at).ok_or_else(|| Violation::new("NVSP message is cut short"))
        };
        let kind = field(0)?;
        if kind == SEND_RNDIS_PACKET {
            let section = (field(8)?, field(12)?);
            return self.rndis(io, channel, packet, field(4)?, section);
        }
        if io.trace.wants(Level::Messages) {
            let body = [4, 8, 12].map(|at| u32_at(&packet.data, at));
            let (name, id) = (io.name, packet.transaction_id);
            let fields = json!({ "device": name, "kind": kind, "id": id, "body": body });
            io.trace.event(Level::Messages, "nvsp", fields);
        }
        let stage = self.session.stage;
        let wrong = || Violation::new(format!("NVSP message {kind} at stage {stage:?}"));
        if packet.kind != PacketKind::InBand || channel != PRIMARY {
            return Err(wrong());
        }
        let id = packet.transaction_id;
        match (kind, stage) {
            (INIT, Stage::Opened) => self.init(io, id, field(4)?, field(8)?),
            (SEND_NDIS_CONFIG, Stage::Version) => {
                let longest = self.config.max_mtu + ETH_HEADER as u32;
                self.session.frame = field(4)?.min(longest).max(MIN_FRAME);
                let capabilities = field(12)?;
                self.session.vlan = capabilities & CAPABILITY_8021Q != 0;
                self.session.rsc = self.session.version >= version::V61
                    && capabilities & CAPABILITY_RSC != 0
                    && self.config.rsc;
                self.session.sriov =
                    self.session.version >= version::V4 && capabilities & CAPABILITY_SRIOV != 0;
                self.session.stage = Stage::Configured;
            }
            (SEND_NDIS_VERSION, Stage::Configured) => self.session.stage = Stage::Ready,
            (SEND_RECEIVE_BUFFER, Stage::Ready) => {
                // A 16-bit field.
                self.set_receive_buffer(io, id, field(4)?, field(8)? as u16)?;
            }
            (SEND_SEND_BUFFER, Stage::Ready) => {
                self.set_send_buffer(io, id, field(4)?, field(8)? as u16)?;
            }
            (REVOKE_RECEIVE_BUFFER, Stage::Ready) => self.revoke_receive_buffer(field(4)? as u16)?,
            (REVOKE_SEND_BUFFER, Stage::Ready) => self.revoke_send_buffer(field(4)? as u16)?,
            (SUBCHANNEL, Stage::Ready) if self.session.version >= version::V5 => {
                if field(4)? != ALLOCATE {
                    return Err(wrong());
                }
                self.allocate(io, id, field(8)?);
            }
            (SWITCH_DATA_PATH, Stage::Ready) if self.session.version >= version::V4 => {
                let path = Path::from_wire(field(4)?).ok_or_else(wrong)?;
                self.switch(io, id, path)?;
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn init(&mut self, io: &mut Io<'_>, id: u64, min: u32, max: u32) {
        self.send_early(io);
        let max = max.min(self.config.max_version);
        let common = version::ALL.into_iter().rev().find(|v| (min..=max).contains(v));
        let Some(version) = common else {
            let none = [INIT_COMPLETE, version::NONE, MAX_MDL_CHAIN, STATUS_FAIL];
            return self.reply(io, PRIMARY, id, &none);
        };
        self.session.version = version;
        self.session.stage =
            if version >= version::V2 { Stage::Version } else { Stage::Configured };
        let fields = [INIT_COMPLETE, version, MAX_MDL_CHAIN, STATUS_SUCCESS];
        self.reply(io, PRIMARY, id, &fields);
    }

    /// Takes a control message of RNDIS, and answers it.
    fn control(&mut self, io: &mut Io<'_>, len: usize) -> Result<(), Violation> {
        /// Answers that may wait: no correct guest has so many requests under way.
        const MAX_REPLIES: usize = 64;
        let message = self.tx.get(..len).unwrap_or_default();
        if io.trace.wants(Level::Messages) {
            let word = |n: usize| u32_at(message, n * 4);
            let (name, kind, id, oid) = (io.name, word(0), word(2), word(3));
            let fields = json!({ "device": name, "kind": kind, "id": id, "oid": oid });
            io.trace.event(Level::Messages, "rndis", fields);
        }
        let about = About {
            version: self.session.version,
            frame: self.session.frame,
            rsc: self.session.rsc,
            max_queues: self.config.queues,
            queues: self.channels().end as u32,
            counters: &self.counters,
        };
        let answers = self.adapter.control(message, &about)?;
        self.counters.add(Counter::Control, 1);
        let answers = self.spoil(answers);
        self.session.replies.extend(answers);
        self.tell_backend();
        if self.session.replies.len() > MAX_REPLIES {
            return Err(Violation::new("too many RNDIS requests at once"));
        }
        Ok(())
    }

    /// Tells the backend what the guest has switched on and has the room for.
    fn tell_backend(&mut self) {
        let room = self.session.receive.as_ref().is_some_and(ReceiveBuffer::can_coalesce);
        let offloads = &self.adapter.offloads;
        let wanted = (room && offloads.rsc4, room && offloads.rsc6);
        if wanted != self.coalescing {
            self.coalescing = wanted;
            self.backend.coalesce(wanted.0, wanted.1);
        }
    }
}

impl Device for Netvsp {
    fn offer(&self) -> Offer {
        let mut instance = INSTANCE;
        instance.0[12..].copy_from_slice(&self.config.number.to_be_bytes());
        Offer::new(INTERFACE, instance)
    }

    fn is_reading(&self, channel: usize) -> bool {
        !self.paused && self.session.flow.get(channel).is_none_or(Flow::is_open)
    }

    fn opened(&mut self, io: &mut Io<'_>, channel: usize) {
        if channel == PRIMARY {
            self.session = Session::new();
            self.vf.due = self.vf.serial.is_some();
        } else {
            self.sub_channel_opened(io);
        }
    }

    fn packet(&mut self, io: &mut Io<'_>, channel: usize, packet: Packet) -> Result<(), Violation> {
        match packet.kind {
            PacketKind::InBand | PacketKind::GpaDirect => self.message(io, channel, &packet),
            PacketKind::Completion => self.received(channel, &packet),
            PacketKind::TransferPages => Err(Violation::new("transfer pages from the guest")),
        }
    }

    fn idle(&mut self, io: &mut Io<'_>, _channel: usize) {
        self.send_table_if_due(io);
        self.send_association_if_due(io);
        self.pump(io);
        self.flood(io);
        self.counters.tell(io);
    }

    fn backend(&mut self, io: &mut Io<'_>) {
        self.pending = true;
        self.pump(io);
        self.counters.tell(io);
    }

    fn closed(&mut self, io: &mut Io<'_>, channel: usize) {
        if channel == PRIMARY {
            self.session = Session::new();
            self.adapter.reset();
            self.tell_backend();
            self.counters.tell(io);
        } else {
            self.sub_channel_closed(channel);
        }
    }

    fn tick(&mut self, io: &mut Io<'_>, _now: u64) {
        self.catch_up(io);
    }

    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        self.carry_out(io, words)
    }
}
