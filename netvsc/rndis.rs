// SPDX-License-Identifier: GPL-2.0

//! RNDIS: the messages in which frames are sent and the card is asked and told.
//!
//! C headers: [`include/linux/rndis.h`](srctree/include/linux/rndis.h),
//! [`drivers/net/hyperv/hyperv_net.h`](srctree/drivers/net/hyperv/hyperv_net.h)

use crate::bytes::{
    put_u32,
    slice_at,
    u32_at, //
};
use kernel::{
    alloc::KVec,
    prelude::*, //
};

/// Type and length, which all messages begin with.
pub(crate) const HEADER: usize = 8;

/// The fields of a packet message, behind its header; offsets in it count from their begin.
pub(crate) const PACKET: usize = 36;

/// Types of messages.
pub(crate) const MSG_PACKET: u32 = 1;
const MSG_INIT: u32 = 2;
const MSG_HALT: u32 = 3;
const MSG_QUERY: u32 = 4;
const MSG_SET: u32 = 5;
pub(crate) const MSG_INDICATE: u32 = 7;
/// The bit that makes an answer of it.
const ANSWER: u32 = 1 << 31;
pub(crate) const MSG_INIT_C: u32 = MSG_INIT | ANSWER;
pub(crate) const MSG_QUERY_C: u32 = MSG_QUERY | ANSWER;
pub(crate) const MSG_SET_C: u32 = MSG_SET | ANSWER;

const STATUS_SUCCESS: u32 = 0;

/// What the card can be asked about, or told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Oid(u32);

impl Oid {
    pub(crate) const MAXIMUM_FRAME_SIZE: Self = Self(0x0001_0106);
    pub(crate) const LINK_SPEED: Self = Self(0x0001_0107);
    pub(crate) const PACKET_FILTER: Self = Self(0x0001_010e);
    pub(crate) const MEDIA_CONNECT_STATUS: Self = Self(0x0001_0114);
    pub(crate) const CONFIG_PARAMETER: Self = Self(0x0001_021b);
    pub(crate) const FRIENDLY_NAME: Self = Self(0x0002_0216);
    pub(crate) const PERMANENT_ADDRESS: Self = Self(0x0101_0101);
    pub(crate) const RSS_CAPABILITIES: Self = Self(0x0001_0203);
    pub(crate) const RSS_PARAMETERS: Self = Self(0x0001_0204);
    pub(crate) const OFFLOAD_PARAMETERS: Self = Self(0xfc01_020c);
    pub(crate) const OFFLOAD_CAPABILITIES: Self = Self(0xfc01_020d);
}

/// Which frames the card passes on.
pub(crate) mod filter {
    pub(crate) const DIRECTED: u32 = 1;
    pub(crate) const ALL_MULTICAST: u32 = 4;
    pub(crate) const BROADCAST: u32 = 8;
    pub(crate) const PROMISCUOUS: u32 = 0x20;
}

/// What a message asks of the card.
pub(crate) enum Request<'a> {
    /// To begin.
    Init,
    /// To say something. The question may come with data.
    Query(Oid, &'a [u8]),
    /// To change something.
    Set(Oid, &'a [u8]),
    /// To end; it does not answer.
    Halt,
}

impl Request<'_> {
    /// The type of its answer.
    pub(crate) fn answer(&self) -> Option<u32> {
        match self {
            Self::Init => Some(MSG_INIT_C),
            Self::Query(..) => Some(MSG_QUERY_C),
            Self::Set(..) => Some(MSG_SET_C),
            Self::Halt => None,
        }
    }

    /// Writes the message, with the id that its answer will have. May sleep.
    pub(crate) fn message(&self, id: u32) -> Result<KVec<u8>> {
        /// Bytes of what is behind the header of a question, without its data.
        const QUESTION: u32 = 20;
        /// Bytes that the card may send in one message; it does not keep to it.
        const MAX_TRANSFER: u32 = 0x4000;
        let mut message = KVec::with_capacity(64, GFP_KERNEL)?;
        let mut words = |words: &[u32]| -> Result {
            for word in words {
                message.extend_from_slice(&word.to_le_bytes(), GFP_KERNEL)?;
            }
            Ok(())
        };

        match self {
            Self::Init => words(&[MSG_INIT, 0, id, 1, 0, MAX_TRANSFER])?,
            Self::Halt => words(&[MSG_HALT, 0, id])?,
            Self::Query(oid, data) | Self::Set(oid, data) => {
                let kind = if matches!(self, Self::Query(..)) {
                    MSG_QUERY
                } else {
                    MSG_SET
                };
                let len = u32::try_from(data.len())?;

                words(&[kind, 0, id, oid.0, len, QUESTION, 0])?;
                message.extend_from_slice(data, GFP_KERNEL)?;
            }
        }
        let len = u32::try_from(message.len())?;
        put_u32(&mut message, 4, len);
        Ok(message)
    }
}

/// The id that an answer is for.
pub(crate) fn id_of(message: &[u8]) -> Option<u32> {
    u32_at(message, HEADER)
}

/// Whether an answer says that the card has done what it was asked.
pub(crate) fn succeeded(answer: &[u8]) -> bool {
    u32_at(answer, HEADER + 4) == Some(STATUS_SUCCESS)
}

/// What the card has said when it was asked.
#[inline(never)]
pub(crate) fn information(answer: &[u8]) -> Option<&[u8]> {
    const FIELDS: u32 = 16;
    let body = answer.get(HEADER..)?;
    let (len, at) = (u32_at(body, 8)?, u32_at(body, 12)?);

    if !succeeded(answer) || at < FIELDS {
        return None;
    }
    slice_at(body, at, len)
}

/// How many messages the card takes in one packet, and to how many bytes each has to be filled up.
pub(crate) fn batching(answer: &[u8]) -> Option<(u32, u32)> {
    let (count, shift) = (u32_at(answer, HEADER + 24)?, u32_at(answer, HEADER + 32)?);

    // What is not sensible is not used.
    Some((
        count,
        1u32.checked_shl(shift).filter(|align| *align <= 4096)?,
    ))
}

/// A message about a change of the card's state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Indication {
    Connected,
    Disconnected,
    NetworkChanged,
    /// In units of 100 bits per second.
    Speed(u32),
}

/// Reads a message about a change; `body` is what is behind the header, and all that there is of
/// it: some hosts do not count the data in the length of the message.
pub(crate) fn indication(body: &[u8]) -> Option<Indication> {
    const FIELDS: u32 = 12;

    match u32_at(body, 0)? {
        0x4001_000b => Some(Indication::Connected),
        0x4001_000c => Some(Indication::Disconnected),
        0x4001_0018 => Some(Indication::NetworkChanged),
        0x4001_0013 => {
            let (len, at) = (u32_at(body, 4)?, u32_at(body, 8)?);
            let data = slice_at(body, at, len)?;

            (at >= FIELDS).then_some(Indication::Speed(u32_at(data, 0)?))
        }
        _ => None,
    }
}

#[kernel::macros::kunit_tests(hv_netvsc_rndis)]
mod tests {
    use super::*;

    /// A message of these words.
    fn words<const N: usize>(words: [u32; N]) -> [u8; 64] {
        let mut bytes = [0; 64];

        for (n, word) in words.into_iter().enumerate() {
            put_u32(&mut bytes, 4 * n, word);
        }
        bytes
    }

    #[test]
    fn information_is_inside_of_its_answer() {
        let answer = |status, len, at| words([MSG_QUERY_C, 64, 1, status, len, at, 0x1234]);

        assert_eq!(
            information(&answer(0, 4, 16)),
            Some(&[0x34, 0x12, 0, 0][..])
        );
        // Up to the last byte, and one more.
        assert!(information(&answer(0, 40, 16)).is_some());
        for (status, len, at) in [
            (1, 4, 16),
            (0, 41, 16),
            (0, 4, 15),
            (0, 4, 53),
            (0, u32::MAX, 16),
            (0, 4, u32::MAX),
            (0, u32::MAX, u32::MAX),
        ] {
            assert!(information(&answer(status, len, at)).is_none());
        }
        assert!(information(&[0; 7]).is_none());
    }

    #[test]
    fn alignments_that_make_no_sense_are_not_used() {
        let answer = |shift| words([MSG_INIT_C, 52, 1, 0, 1, 0, 0, 0, 8, 0x4000, shift]);

        assert_eq!(batching(&answer(3)), Some((8, 8)));
        for shift in [13, 31, 32, u32::MAX] {
            assert_eq!(batching(&answer(shift)), None);
        }
    }

    #[test]
    fn changes_are_read() {
        let speed = |len, at| words([0x4001_0013, len, at, 100_000_000]);

        assert!(indication(&words([0x4001_000b])) == Some(Indication::Connected));
        assert!(indication(&speed(4, 12)) == Some(Indication::Speed(100_000_000)));
        for (len, at) in [(3, 12), (4, 11), (4, 61), (u32::MAX, 12), (4, u32::MAX)] {
            assert!(indication(&speed(len, at)).is_none());
        }
        assert!(indication(&[]).is_none());
    }
}
