// SPDX-License-Identifier: GPL-2.0

//! RNDIS, the protocol inside the network device's packets: the adapter behind it, with its
//! address, filter and offloads, and the control messages that ask about and set them.

use std::collections::BTreeMap;

use crate::device::Violation;
use crate::netvsp::counters::{Counter, Counters};
use crate::netvsp::offload::ETH_HEADER;
use crate::netvsp::version;

mod offload;
mod rss;

pub(crate) use offload::Offloads;
pub(crate) use rss::Rss;

/// Largest frame that the adapter segments.
pub(crate) const LSO_MAX: u32 = 0xf53c;
/// RNDIS messages that one packet may hold.
pub(crate) const MAX_MESSAGES: u32 = 8;

/// Type and length, before every message.
pub(crate) const HEADER: usize = 8;
pub(crate) const MSG_PACKET: u32 = 1;
const MSG_INITIALIZE: u32 = 2;
const MSG_HALT: u32 = 3;
const MSG_QUERY: u32 = 4;
const MSG_SET: u32 = 5;
const MSG_INDICATE: u32 = 7;
const MSG_KEEPALIVE: u32 = 8;
const COMPLETION: u32 = 0x8000_0000;

const STATUS_SUCCESS: u32 = 0;
const STATUS_FAILURE: u32 = 0xc000_0001;
const STATUS_NOT_SUPPORTED: u32 = 0xc000_00bb;
const STATUS_MULTICAST_FULL: u32 = 0xc001_0009;
const STATUS_INVALID_LENGTH: u32 = 0xc001_0014;
const STATUS_INVALID_DATA: u32 = 0xc001_0015;
const STATUS_MEDIA_CONNECT: u32 = 0x4001_000b;
const STATUS_MEDIA_DISCONNECT: u32 = 0x4001_000c;
const STATUS_LINK_SPEED_CHANGE: u32 = 0x4001_0013;
const STATUS_NETWORK_CHANGE: u32 = 0x4001_0018;

const MAJOR_VERSION: u32 = 1;
const CONNECTIONLESS: u32 = 1;
const MEDIUM_802_3: u32 = 0;
const MAX_TRANSFER: u32 = 0xefff_ffff;
/// Messages in one packet are padded to 2 to this power.
const ALIGNMENT: u32 = 3;

const FILTER_DIRECTED: u32 = 1;
const FILTER_MULTICAST: u32 = 1 << 1;
const FILTER_ALL_MULTICAST: u32 = 1 << 2;
const FILTER_BROADCAST: u32 = 1 << 3;
const FILTER_PROMISCUOUS: u32 = 1 << 5;
const FILTERS: u32 = FILTER_DIRECTED
    | FILTER_MULTICAST
    | FILTER_ALL_MULTICAST
    | FILTER_BROADCAST
    | FILTER_PROMISCUOUS;
const MULTICAST_LIST: usize = 32;

const MAC: usize = 6;

/// Reads a `u32` of the guest's; `None` behind the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

/// `len` bytes at `at`, both the guest's.
pub(crate) fn slice_at(bytes: &[u8], at: u32, len: u32) -> Option<&[u8]> {
    bytes.get(at as usize..(at as usize).checked_add(len as usize)?)
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Builds a message of `fields` and what follows them.
fn message(kind: u32, fields: &[u32], rest: &[u8]) -> Vec<u8> {
    let len = HEADER + fields.len() * 4 + rest.len();
    let mut out = words(&[kind, len as u32]);
    out.extend(words(fields));
    out.extend(rest);
    out
}

fn indication(status: u32, info: &[u8]) -> Vec<u8> {
    const FIELDS: u32 = 12;
    let offset = if info.is_empty() { 0 } else { FIELDS };
    message(MSG_INDICATE, &[status, info.len() as u32, offset], info)
}

/// The indication that the link is up, or down.
pub(crate) fn link_indication(up: bool) -> Vec<u8> {
    indication(if up { STATUS_MEDIA_CONNECT } else { STATUS_MEDIA_DISCONNECT }, &[])
}

/// The answer to a question that nobody has asked.
pub(crate) fn early_answer() -> Vec<u8> {
    message(MSG_INITIALIZE | COMPLETION, &[1, STATUS_SUCCESS, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[])
}

/// Whether a message of the adapter's answers one of the guest's.
pub(crate) fn is_answer(message: &[u8]) -> bool {
    u32_at(message, 0).is_some_and(|kind| kind & COMPLETION != 0)
}

/// Why a request was refused: an RNDIS status.
type Refused = u32;

/// Reads a MAC address as the configuration parameter that sets it has it.
fn network_address(info: &[u8]) -> Result<[u8; MAC], Refused> {
    const STRING: u32 = 2;
    let field = |at| u32_at(info, at).ok_or(STATUS_INVALID_LENGTH);
    let text = |at| slice_at(info, field(at)?, field(at + 4)?).ok_or(STATUS_INVALID_DATA);
    let (name, value) = (text(0)?, text(12)?);
    if name != utf16("NetworkAddress") || field(8)? != STRING || value.len() != MAC * 4 {
        return Err(STATUS_INVALID_DATA);
    }
    let mut mac = [0; MAC];
    for (byte, digits) in mac.iter_mut().zip(value.chunks_exact(4)) {
        let &[high, 0, low, 0] = digits else { return Err(STATUS_INVALID_DATA) };
        let digit = |c| char::from(c).to_digit(16).ok_or(STATUS_INVALID_DATA);
        *byte = (digit(high)? << 4 | digit(low)?) as u8;
    }
    if mac[0] & 1 != 0 || mac == [0; MAC] {
        return Err(STATUS_INVALID_DATA);
    }
    Ok(mac)
}

macro_rules! oids {
    ($($name:ident = $value:literal,)+) => {
        $(pub const $name: u32 = $value;)+
        /// The answer to the first.
        pub const ALL: &[u32] = &[$($name,)+];
    };
}

/// Object identifiers: what can be asked and set.
mod oid {
    oids! {
        SUPPORTED_LIST = 0x10101,
        HARDWARE_STATUS = 0x10102,
        MEDIA_SUPPORTED = 0x10103,
        MEDIA_IN_USE = 0x10104,
        MAXIMUM_LOOKAHEAD = 0x10105,
        MAXIMUM_FRAME_SIZE = 0x10106,
        LINK_SPEED = 0x10107,
        TRANSMIT_BLOCK_SIZE = 0x1010a,
        RECEIVE_BLOCK_SIZE = 0x1010b,
        VENDOR_ID = 0x1010c,
        VENDOR_DESCRIPTION = 0x1010d,
        CURRENT_PACKET_FILTER = 0x1010e,
        CURRENT_LOOKAHEAD = 0x1010f,
        MAXIMUM_TOTAL_SIZE = 0x10111,
        MAC_OPTIONS = 0x10113,
        MEDIA_CONNECT_STATUS = 0x10114,
        MAXIMUM_SEND_PACKETS = 0x10115,
        VENDOR_DRIVER_VERSION = 0x10116,
        PHYSICAL_MEDIUM = 0x10202,
        RSS_CAPABILITIES = 0x10203,
        RSS_PARAMETERS = 0x10204,
        RNDIS_CONFIG_PARAMETER = 0x1021b,
        XMIT_OK = 0x20101,
        RCV_OK = 0x20102,
        XMIT_ERROR = 0x20103,
        RCV_ERROR = 0x20104,
        RCV_NO_BUFFER = 0x20105,
        FRIENDLY_NAME = 0x20216,
        PERMANENT_ADDRESS = 0x101_0101,
        CURRENT_ADDRESS = 0x101_0102,
        MULTICAST_LIST = 0x101_0103,
        MAXIMUM_LIST_SIZE = 0x101_0104,
        OFFLOAD_ENCAPSULATION = 0x101_010a,
        OFFLOAD_PARAMETERS = 0xfc01_020c,
        OFFLOAD_CAPABILITIES = 0xfc01_020d,
    }
}

/// What the device knows that its adapter is asked about.
pub(crate) struct About<'a> {
    /// NVSP's.
    pub version: u32,
    /// The longest frame.
    pub frame: u32,
    /// The guest knows coalesced segments.
    pub rsc: bool,
    /// Most channels that the card can have.
    pub max_queues: u32,
    /// Channels that it has now.
    pub queues: u32,
    pub counters: &'a Counters,
}

/// The network adapter as RNDIS shows it.
pub(crate) struct Adapter {
    permanent: [u8; MAC],
    /// As the guest set it; stays when the channel is closed.
    current: [u8; MAC],
    friendly_name: String,
    link_up: bool,
    speed_mbps: u32,
    initialized: bool,
    filter: u32,
    multicast: Vec<[u8; MAC]>,
    pub offloads: Offloads,
    pub rss: Option<Rss>,
    pub lies: Lies,
}

/// What the adapter says of itself although it is not so, until it is told to say something else.
#[derive(Default)]
pub(crate) struct Lies {
    /// What it says when it is asked about an object.
    pub about: BTreeMap<u32, Vec<u8>>,
    /// Messages that one packet may hold, and how they are padded.
    pub batch: Option<(u32, u32)>,
    /// The largest frame that it segments.
    pub lso: Option<u32>,
}

impl Adapter {
    pub fn new(mac: [u8; MAC], friendly_name: String, speed_mbps: u32) -> Self {
        Self {
            permanent: mac,
            current: mac,
            friendly_name,
            link_up: true,
            speed_mbps,
            initialized: false,
            filter: 0,
            multicast: Vec::new(),
            offloads: Offloads::default(),
            rss: None,
            lies: Lies::default(),
        }
    }

    /// Forgets what the guest set, but for the address.
    pub fn reset(&mut self) {
        self.initialized = false;
        self.filter = 0;
        self.multicast.clear();
        self.offloads = Offloads::default();
        self.rss = None;
    }

    pub fn is_initialized(&self) -> bool {
        self.initialized
    }

    /// The address that the guest set, or the permanent one.
    pub fn address(&self) -> [u8; MAC] {
        self.current
    }

    pub fn is_link_up(&self) -> bool {
        self.link_up
    }

    /// Whether any frame gets through.
    pub fn is_receiving(&self) -> bool {
        self.initialized && self.link_up && self.filter != 0
    }

    /// Whether a frame to this address gets through.
    pub fn accepts(&self, to: &[u8]) -> bool {
        let wanted = if self.filter & FILTER_PROMISCUOUS != 0 {
            FILTER_PROMISCUOUS
        } else if to == [0xff; MAC] {
            FILTER_BROADCAST
        } else if to.first().is_some_and(|first| first & 1 != 0) {
            let listed = self.multicast.iter().any(|address| to == address);
            FILTER_ALL_MULTICAST | if listed { FILTER_MULTICAST } else { 0 }
        } else if to == self.current || to == self.permanent {
            // A driver that is loaded anew goes back to the permanent address by itself.
            FILTER_DIRECTED
        } else {
            0
        };
        self.filter & wanted != 0
    }

    /// Changes the link; what to tell the guest.
    pub fn set_link(&mut self, up: bool) -> Vec<u8> {
        self.link_up = up;
        link_indication(up)
    }

    /// The link went down and up: the guest looks for its addresses anew.
    pub fn network_change(&self) -> Vec<u8> {
        indication(STATUS_NETWORK_CHANGE, &[])
    }

    /// Changes the link's speed; what to tell the guest.
    pub fn set_speed(&mut self, mbps: u32) -> Vec<u8> {
        self.speed_mbps = mbps;
        indication(STATUS_LINK_SPEED_CHANGE, &self.speed().to_le_bytes())
    }

    /// In units of 100 bit/s.
    fn speed(&self) -> u32 {
        self.speed_mbps.saturating_mul(10_000)
    }

    /// Takes a control message; returns the answers.
    pub fn control(&mut self, bytes: &[u8], about: &About<'_>) -> Result<Vec<Vec<u8>>, Violation> {
        let short = || Violation::new("RNDIS control message is cut short");
        let (kind, len) = (u32_at(bytes, 0).ok_or_else(short)?, u32_at(bytes, 4));
        let body = slice_at(bytes, 0, len.ok_or_else(short)?)
            .and_then(|message| message.get(HEADER..))
            .ok_or_else(short)?;
        let id = u32_at(body, 0).ok_or_else(short)?;
        let done = kind | COMPLETION;
        let early = !self.initialized && !matches!(kind, MSG_INITIALIZE | MSG_HALT);
        if early || self.initialized && kind == MSG_INITIALIZE {
            return Err(Violation::new(format!("RNDIS message {kind} out of order")));
        }
        match kind {
            MSG_INITIALIZE => {
                let major = u32_at(body, 4).ok_or_else(short)?;
                self.initialized = major == MAJOR_VERSION;
                let status = if self.initialized { STATUS_SUCCESS } else { STATUS_FAILURE };
                let version = [MAJOR_VERSION, 0];
                let (messages, alignment) = self.lies.batch.unwrap_or((MAX_MESSAGES, ALIGNMENT));
                let limits = [messages, MAX_TRANSFER, alignment];
                let mut fields = vec![id, status];
                fields.extend(version);
                fields.extend([CONNECTIONLESS, MEDIUM_802_3]);
                fields.extend(limits);
                // No address families.
                fields.extend([0, 0]);
                let mut out = vec![message(done, &fields, &[])];
                if self.initialized {
                    out.push(link_indication(self.link_up));
                }
                Ok(out)
            }
            MSG_HALT => {
                self.reset();
                Ok(Vec::new())
            }
            MSG_QUERY => {
                const FIELDS: u32 = 16;
                let oid = u32_at(body, 4).ok_or_else(short)?;
                Ok(vec![match self.query(oid, about) {
                    Ok(info) => {
                        let fields = [id, STATUS_SUCCESS, info.len() as u32, FIELDS];
                        message(done, &fields, &info)
                    }
                    Err(status) => message(done, &[id, status, 0, 0], &[]),
                }])
            }
            MSG_SET => {
                let oid = u32_at(body, 4).ok_or_else(short)?;
                let (len, at) = (u32_at(body, 8), u32_at(body, 12));
                let info = slice_at(body, at.ok_or_else(short)?, len.ok_or_else(short)?);
                let result = match info {
                    Some(info) => self.set(oid, info, about),
                    None => Err(STATUS_INVALID_LENGTH),
                };
                let status = result.err().unwrap_or(STATUS_SUCCESS);
                Ok(vec![message(done, &[id, status], &[])])
            }
            MSG_KEEPALIVE => Ok(vec![message(done, &[id, STATUS_SUCCESS], &[])]),
            _ => Err(Violation::new(format!("RNDIS control message of type {kind:#x}"))),
        }
    }

    fn query(&self, oid: u32, about: &About<'_>) -> Result<Vec<u8>, Refused> {
        const VENDOR: u32 = 0x00ff_ffff;
        const VENDOR_VERSION: u32 = 0x000a_0000;
        // 802.1p priority, no loopback, full duplex.
        const MAC_OPTIONS: u32 = 0x40 | 0x10 | 0x8;
        let payload = about.frame - ETH_HEADER as u32;
        let count = |what| about.counters.get(what) as u32;
        if let Some(lie) = self.lies.about.get(&oid) {
            return Ok(lie.clone());
        }
        let value = match oid {
            oid::SUPPORTED_LIST => return Ok(words(oid::ALL)),
            oid::VENDOR_DESCRIPTION => return Ok(b"Hyper-V test host\0".to_vec()),
            oid::FRIENDLY_NAME => return Ok(utf16(&format!("{}\0", self.friendly_name))),
            oid::PERMANENT_ADDRESS => return Ok(self.permanent.to_vec()),
            oid::CURRENT_ADDRESS => return Ok(self.current.to_vec()),
            oid::MULTICAST_LIST => return Ok(self.multicast.concat()),
            oid::OFFLOAD_CAPABILITIES => {
                return Ok(offload::capabilities(about.version, about.rsc, self.lies.lso));
            }
            oid::RSS_CAPABILITIES if about.version >= version::V5 => {
                return Ok(rss::capabilities(about.max_queues));
            }
            oid::HARDWARE_STATUS => 0,
            oid::MEDIA_SUPPORTED | oid::MEDIA_IN_USE | oid::PHYSICAL_MEDIUM => MEDIUM_802_3,
            oid::MAXIMUM_FRAME_SIZE | oid::MAXIMUM_LOOKAHEAD | oid::CURRENT_LOOKAHEAD => payload,
            oid::MAXIMUM_TOTAL_SIZE | oid::TRANSMIT_BLOCK_SIZE | oid::RECEIVE_BLOCK_SIZE => {
                about.frame
            }
            oid::LINK_SPEED => self.speed(),
            oid::VENDOR_ID => VENDOR,
            oid::VENDOR_DRIVER_VERSION => VENDOR_VERSION,
            oid::CURRENT_PACKET_FILTER => self.filter,
            oid::MAC_OPTIONS => MAC_OPTIONS,
            oid::MEDIA_CONNECT_STATUS => (!self.link_up).into(),
            oid::MAXIMUM_SEND_PACKETS => MAX_MESSAGES,
            oid::MAXIMUM_LIST_SIZE => MULTICAST_LIST as u32,
            oid::XMIT_OK => count(Counter::TxPackets),
            oid::RCV_OK => count(Counter::RxPackets),
            oid::XMIT_ERROR => count(Counter::TxRefused),
            oid::RCV_ERROR => count(Counter::RxBadFrame),
            oid::RCV_NO_BUFFER => count(Counter::RxNoSection),
            _ => return Err(STATUS_NOT_SUPPORTED),
        };
        Ok(value.to_le_bytes().to_vec())
    }

    fn set(&mut self, oid: u32, info: &[u8], about: &About<'_>) -> Result<(), Refused> {
        match oid {
            oid::CURRENT_PACKET_FILTER => {
                let filter = u32_at(info, 0).ok_or(STATUS_INVALID_LENGTH)?;
                if filter & !FILTERS != 0 {
                    return Err(STATUS_NOT_SUPPORTED);
                }
                self.filter = filter;
                Ok(())
            }
            oid::MULTICAST_LIST => {
                let addresses = info.chunks_exact(MAC);
                if !addresses.remainder().is_empty() {
                    return Err(STATUS_INVALID_LENGTH);
                }
                if addresses.len() > MULTICAST_LIST {
                    return Err(STATUS_MULTICAST_FULL);
                }
                self.multicast = addresses.filter_map(|a| a.try_into().ok()).collect();
                Ok(())
            }
            oid::OFFLOAD_PARAMETERS => self.offloads.set(info, about.version, about.rsc),
            oid::RNDIS_CONFIG_PARAMETER => network_address(info).map(|mac| self.current = mac),
            oid::RSS_PARAMETERS if about.version >= version::V5 => {
                self.rss = Rss::read(info, self.rss.as_ref(), about.queues)?;
                Ok(())
            }
            oid::CURRENT_LOOKAHEAD | oid::OFFLOAD_ENCAPSULATION => Ok(()),
            _ => Err(STATUS_NOT_SUPPORTED),
        }
    }
}
