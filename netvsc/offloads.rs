// SPDX-License-Identifier: GPL-2.0

//! What the card does for the stack: checksums, segmentation, coalescing.

use crate::{
    attached::Attached,
    bytes::{
        put_u32,
        u32_at, //
    },
    nvsp::Version,
    queue::Session,
    rndis::{
        self,
        Oid, //
    },
};
use kernel::{
    net::{
        skb::{
            Network,
            Transport, //
        },
        Feature,
        Features, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// Frames to be segmented are not longer, whatever the host says (`GSO_LEGACY_MAX_SIZE`).
const MAX_SEGMENTED: u32 = 65536;

/// Bytes of the offload object, by its revision.
const OBJECT: usize = 156;
const OBJECT_REVISION_2: usize = 144;
const OBJECT_REVISION_1: usize = 112;

const TYPE_OFFLOAD: u8 = 0xa7;
const TYPE_DEFAULT: u8 = 0x80;

/// Values of parameters. 0 is "as it is".
const OFF: u8 = 1;
const LSO_ON: u8 = 2;
const RSC_ON: u8 = 2;
const BOTH_WAYS: u8 = 4;

/// Features that depend on the card.
pub(crate) fn dependent() -> Features {
    Features::from(Feature::Sg)
        | Feature::IpCsum
        | Feature::Ipv6Csum
        | Feature::Tso
        | Feature::Tso6
        | Feature::RxCsum
        | Feature::RxHash
        | Feature::Lro
}

/// What the card can do.
#[derive(Clone, Copy)]
pub(crate) struct Capabilities {
    pub(crate) features: Features,
    /// Checksums that it computes: bits of [`bit`].
    pub(crate) sums: u32,
    /// Bytes of a frame that it segments, at most.
    pub(crate) max_segmented: u32,
    parameters: Parameters,
}

/// Which checksum of [`Capabilities::sums`].
const fn bit(network: Network, transport: Transport) -> u32 {
    match (network, transport) {
        (Network::Ipv4, Transport::Tcp) => 1,
        (Network::Ipv4, Transport::Udp) => 2,
        (Network::Ipv6, Transport::Tcp) => 4,
        (Network::Ipv6, Transport::Udp) => 8,
    }
}

/// What is to be switched on and off.
#[derive(Clone, Copy, Default)]
struct Parameters {
    ip4: u8,
    tcp4: u8,
    udp4: u8,
    tcp6: u8,
    udp6: u8,
    lso4: u8,
    lso6: u8,
    rsc: u8,
}

impl Parameters {
    /// Bytes of the object, and of one that older versions know.
    const LEN: usize = 28;
    const LEN_V4: usize = 22;

    fn set(self, session: &Session, attached: &Attached) -> Result {
        const REVISION: u8 = 3;
        let old = attached.version() <= Version::V4;
        let len = if old { Self::LEN_V4 } else { Self::LEN };
        let mut object = [0; Self::LEN];
        let udp = |value| if old { 0 } else { value };

        for (at, value) in [
            (0, TYPE_DEFAULT),
            (1, REVISION),
            // CAST: Less than 256.
            (2, len as u8),
            (4, self.ip4),
            (5, self.tcp4),
            (6, udp(self.udp4)),
            (7, self.tcp6),
            (8, udp(self.udp6)),
            (11, self.lso4),
            (12, self.lso6),
            (22, self.rsc),
            (23, self.rsc),
        ] {
            if let Some(place) = object.get_mut(at) {
                *place = value;
            }
        }
        let object = object.get(..len).unwrap_or_default();
        attached
            .answers
            .set(session, Oid::OFFLOAD_PARAMETERS, object)
    }
}

impl Capabilities {
    /// Asks the card. Process context, sleeps.
    pub(crate) fn query(session: &Session, attached: &Attached) -> Result<Self> {
        let version = attached.version();
        let (revision, len) = if version >= Version::V5 {
            (3, OBJECT)
        } else if version >= Version::V4 {
            (2, OBJECT_REVISION_2)
        } else {
            (1, OBJECT_REVISION_1)
        };
        let mut object = [0; OBJECT];
        // CAST: Less than 256.
        put_u32(
            &mut object,
            0,
            u32::from_le_bytes([TYPE_OFFLOAD, revision, len as u8, 0]),
        );
        let question = object.get(..len).unwrap_or_default();
        let answer = attached
            .answers
            .query(session, Oid::OFFLOAD_CAPABILITIES, question)?;

        let mut this = Self::read(rndis::information(&answer).ok_or(EINVAL)?).ok_or(EINVAL)?;
        if version <= Version::V4 {
            // Those of UDP came later: they are not switched on.
            this.sums &= !(bit(Network::Ipv4, Transport::Udp) | bit(Network::Ipv6, Transport::Udp));
        }
        Ok(this)
    }

    fn read(object: &[u8]) -> Option<Self> {
        const TCP4: u32 = 0x10 | 0x4;
        const UDP: u32 = 0x40;
        const TCP6: u32 = 0x10 | 0x4 | 0x1;
        const ETHERNET: u32 = 2;
        const OPTIONS6: u32 = 1 | 4;
        let [kind, revision, low, high] = u32_at(object, 0)?.to_le_bytes();
        let len = usize::from(u16::from_le_bytes([low, high]));

        if kind != TYPE_OFFLOAD || revision < 1 || len > object.len() || len < OBJECT_REVISION_1 {
            return None;
        }
        let object = object.get(..len)?;
        let word = |at| u32_at(object, at).unwrap_or(0);
        let (sums4, sums6) = (word(8), word(24));
        let (lso4, max4) = (word(80), word(84));
        let (lso6, max6, options6) = (word(92), word(96), word(104));
        let rsc = object.get(144..146).unwrap_or(&[0, 0]);

        let mut this = Self {
            features: Feature::RxCsum | Feature::Sg | Feature::RxHash,
            sums: 0,
            max_segmented: MAX_SEGMENTED,
            parameters: Parameters {
                // The stack always computes, and checks, this one.
                ip4: OFF,
                ..Parameters::default()
            },
        };
        if sums4 & TCP4 == TCP4 {
            this.features |= Feature::IpCsum;
            this.sums |= bit(Network::Ipv4, Transport::Tcp);
            this.parameters.tcp4 = BOTH_WAYS;
            if lso4 & ETHERNET != 0 && max4 != 0 {
                this.features |= Feature::Tso;
                this.parameters.lso4 = LSO_ON;
                this.max_segmented = this.max_segmented.min(max4);
            }
            if sums4 & UDP != 0 {
                this.sums |= bit(Network::Ipv4, Transport::Udp);
                this.parameters.udp4 = BOTH_WAYS;
            }
        }
        if sums6 & TCP6 == TCP6 {
            this.features |= Feature::Ipv6Csum;
            this.sums |= bit(Network::Ipv6, Transport::Tcp);
            this.parameters.tcp6 = BOTH_WAYS;
            if lso6 & ETHERNET != 0 && options6 & OPTIONS6 == OPTIONS6 && max6 != 0 {
                this.features |= Feature::Tso6;
                this.parameters.lso6 = LSO_ON;
                this.max_segmented = this.max_segmented.min(max6);
            }
            if sums6 & UDP != 0 {
                this.sums |= bit(Network::Ipv6, Transport::Udp);
                this.parameters.udp6 = BOTH_WAYS;
            }
        }
        if rsc.iter().all(|family| *family != 0) {
            this.features |= Feature::Lro;
        }
        Some(this)
    }

    /// Switches on what the card can do, and coalescing if it is wanted. Process context, sleeps.
    pub(crate) fn enable(&self, session: &Session, attached: &Attached, coalesce: bool) -> Result {
        let mut parameters = self.parameters;

        if self.features.contains(Feature::Lro) {
            parameters.rsc = if coalesce { RSC_ON } else { OFF };
        }
        parameters.set(session, attached)
    }
}

/// What the card does at the moment, for those who send.
pub(crate) struct Offloads {
    sums: Atomic<u32>,
}

impl Offloads {
    pub(crate) fn new() -> Self {
        Self {
            sums: Atomic::new(0),
        }
    }

    pub(crate) fn set_sums(&self, sums: u32) {
        self.sums.store(sums, Relaxed);
    }

    /// Whether it computes this checksum.
    #[inline]
    pub(crate) fn sums(&self, network: Network, transport: Transport) -> bool {
        self.sums.load(Relaxed) & bit(network, transport) != 0
    }

    /// Switches coalescing of received segments on or off. Process context, sleeps.
    pub(crate) fn set_coalescing(&self, attached: &Attached, on: bool) -> Result {
        let parameters = Parameters {
            rsc: if on { RSC_ON } else { OFF },
            ..Parameters::default()
        };

        parameters.set(attached.primary()?, attached)
    }
}
