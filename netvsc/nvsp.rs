// SPDX-License-Identifier: GPL-2.0

//! NVSP, the protocol of the channel: what is agreed on first, and the messages that carry RNDIS.
//!
//! C header: [`drivers/net/hyperv/hyperv_net.h`](srctree/drivers/net/hyperv/hyperv_net.h)

use crate::bytes::u32_at;

/// The name of the receive buffer, also as the page set of received packets.
pub(crate) const RECEIVE_BUFFER_ID: u16 = 0xcafe;
const SEND_BUFFER_ID: u32 = 0;

/// What stands for no section of the send buffer.
pub(crate) const NO_SECTION: u32 = u32::MAX;

/// The status of success.
pub(crate) const SUCCESS: u32 = 1;
/// The status of failure.
pub(crate) const FAIL: u32 = 2;

/// Entries of the table by which queues to send on are chosen.
pub(crate) const SEND_TABLE: usize = 16;

/// Most ranges that a packet of received frames has: fragments of a coalesced one.
pub(crate) const MAX_RANGES: usize = 562;

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

/// Versions of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version(pub(crate) u32);

impl Version {
    pub(crate) const V1: Self = Self(2);
    pub(crate) const V2: Self = Self(0x3_0002);
    pub(crate) const V4: Self = Self(0x4_0000);
    pub(crate) const V5: Self = Self(0x5_0000);
    pub(crate) const V6: Self = Self(0x6_0000);
    pub(crate) const V61: Self = Self(0x6_0001);

    /// All that this driver speaks, the newest first.
    pub(crate) const ALL: [Self; 6] = [Self::V61, Self::V6, Self::V5, Self::V4, Self::V2, Self::V1];
}

/// Words of a message: all have the length of the longest.
const WORDS: usize = 10;

/// Bytes of a message.
pub(crate) const MESSAGE: usize = 4 * WORDS;

/// A message to the host.
pub(crate) struct Message([u8; MESSAGE]);

impl Message {
    #[inline]
    fn new<const N: usize>(words: [u32; N]) -> Self {
        const { assert!(N <= WORDS) };
        let mut bytes = [0; MESSAGE];

        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self(bytes)
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Asks for one version.
    pub(crate) fn init(version: Version) -> Self {
        Self::new([INIT, version.0, version.0])
    }

    /// Says what the guest can do, and the largest frame; from version 2 on.
    pub(crate) fn ndis_config(version: Version, frame: u32) -> Self {
        const SRIOV: u32 = 1 << 2;
        const IEEE_8021Q: u32 = 1 << 3;
        const TEAMING: u32 = 1 << 5;
        const RSC: u32 = 1 << 7;
        let mut able = IEEE_8021Q;

        if version >= Version::V5 {
            // Without it the host does not tell that the speed of the link has changed.
            able |= TEAMING | SRIOV;
        }
        if version >= Version::V61 {
            able |= RSC;
        }
        Self::new([SEND_NDIS_CONFIG, frame, 0, able, 0])
    }

    /// Says which version of NDIS the guest follows.
    pub(crate) fn ndis_version(version: Version) -> Self {
        let minor = if version <= Version::V4 { 1 } else { 30 };

        Self::new([SEND_NDIS_VERSION, 6, minor])
    }

    /// Gives the host the receive buffer.
    pub(crate) fn receive_buffer(gpadl: u32) -> Self {
        Self::new([SEND_RECEIVE_BUFFER, gpadl, RECEIVE_BUFFER_ID.into()])
    }

    /// Takes it back.
    pub(crate) fn revoke_receive_buffer() -> Self {
        Self::new([REVOKE_RECEIVE_BUFFER, RECEIVE_BUFFER_ID.into()])
    }

    /// Gives the host the send buffer.
    pub(crate) fn send_buffer(gpadl: u32) -> Self {
        Self::new([SEND_SEND_BUFFER, gpadl, SEND_BUFFER_ID])
    }

    /// Takes it back.
    pub(crate) fn revoke_send_buffer() -> Self {
        Self::new([REVOKE_SEND_BUFFER, SEND_BUFFER_ID])
    }

    /// An RNDIS message of which `len` bytes are in a section, or that is in memory that the
    /// packet names ([`NO_SECTION`]).
    #[inline]
    pub(crate) fn rndis(control: bool, section: u32, len: u32) -> Self {
        Self::new([SEND_RNDIS_PACKET, control.into(), section, len])
    }

    /// Says by which path frames go from now on: by the virtual function, or by the channel.
    pub(crate) fn switch_data_path(to_vf: bool) -> Self {
        Self::new([SWITCH_DATA_PATH, to_vf.into()])
    }

    /// Asks for sub-channels.
    pub(crate) fn sub_channels(count: u32) -> Self {
        const ALLOCATE: u32 = 1;

        Self::new([SUBCHANNEL, ALLOCATE, count])
    }
}

/// What completes a packet of RNDIS messages.
#[inline]
pub(crate) fn rndis_complete(status: u32) -> [u8; 8] {
    let mut bytes = [0; 8];

    crate::bytes::put_u32(&mut bytes, 0, SEND_RNDIS_PACKET_COMPLETE);
    crate::bytes::put_u32(&mut bytes, 4, status);
    bytes
}

/// Whether a packet of the host is one of RNDIS messages.
#[inline]
pub(crate) fn is_rndis(payload: &[u8]) -> bool {
    u32_at(payload, 0) == Some(SEND_RNDIS_PACKET)
}

/// The status in the completion of an RNDIS message, if it is one.
#[inline]
pub(crate) fn completed(payload: &[u8]) -> Option<u32> {
    match u32_at(payload, 0) {
        Some(SEND_RNDIS_PACKET_COMPLETE) => u32_at(payload, 4),
        _ => None,
    }
}

/// Whether the host speaks the version that it was asked for.
pub(crate) fn accepted(answer: &[u8]) -> bool {
    u32_at(answer, 0) == Some(INIT_COMPLETE) && u32_at(answer, 12) == Some(SUCCESS)
}

/// The sections that the host has cut a buffer into.
#[derive(Clone, Copy)]
pub(crate) struct Sections {
    /// Bytes of each.
    pub(crate) size: u32,
    /// How many.
    pub(crate) count: u32,
}

/// What the host makes of a receive buffer: one kind of sections from its beginning on.
pub(crate) fn receive_sections(answer: &[u8]) -> Option<Sections> {
    let [kind, status, kinds, offset, size, count] =
        [0, 4, 8, 12, 16, 20].map(|at| u32_at(answer, at));

    if kind != Some(SEND_RECEIVE_BUFFER_COMPLETE)
        || status != Some(SUCCESS)
        || kinds != Some(1)
        || offset != Some(0)
    {
        return None;
    }
    Some(Sections {
        size: size?,
        count: count?,
    })
}

/// The size of the sections that the host has cut the send buffer into.
pub(crate) fn send_section_size(answer: &[u8]) -> Option<u32> {
    if u32_at(answer, 0) != Some(SEND_SEND_BUFFER_COMPLETE) || u32_at(answer, 4) != Some(SUCCESS) {
        return None;
    }
    u32_at(answer, 8)
}

/// How many sub-channels the host grants.
pub(crate) fn granted(answer: &[u8]) -> Option<u32> {
    if u32_at(answer, 0) != Some(SUBCHANNEL) || u32_at(answer, 4) != Some(SUCCESS) {
        return None;
    }
    u32_at(answer, 8)
}

/// The table of channels to send on, if the packet has one.
pub(crate) fn send_table(version: Version, payload: &[u8]) -> Option<[u32; SEND_TABLE]> {
    const LEN: usize = 4 * SEND_TABLE;

    if u32_at(payload, 0)? != SEND_INDIRECTION_TABLE || u32_at(payload, 4)? != SEND_TABLE as u32 {
        return None;
    }
    // Older hosts put it behind the message, whatever they say.
    let at = if version <= Version::V6 && payload.len() >= MESSAGE + LEN {
        MESSAGE
    } else {
        u32_at(payload, 8)? as usize
    };
    let bytes = payload.get(at..at.checked_add(LEN)?)?;
    let mut table = [0; SEND_TABLE];

    for (n, entry) in table.iter_mut().enumerate() {
        *entry = u32_at(bytes, 4 * n)?;
    }
    Some(table)
}

/// Whether the card has a virtual function, and the number of its slot, if the packet says it.
pub(crate) fn vf_association(payload: &[u8]) -> Option<(bool, u32)> {
    if u32_at(payload, 0)? != SEND_VF_ASSOCIATION {
        return None;
    }
    Some((u32_at(payload, 4)? != 0, u32_at(payload, 8)?))
}

#[kernel::macros::kunit_tests(hv_netvsc_nvsp)]
mod tests {
    use super::*;

    /// A message of these words.
    fn words<const N: usize>(words: [u32; N]) -> [u8; 256] {
        let mut bytes = [0; 256];

        for (n, word) in words.into_iter().enumerate() {
            crate::bytes::put_u32(&mut bytes, 4 * n, word);
        }
        bytes
    }

    #[test]
    fn answers_are_of_their_kind() {
        let good = words([SEND_RECEIVE_BUFFER_COMPLETE, SUCCESS, 1, 0, 1728, 9709]);

        assert_eq!(
            receive_sections(&good).map(|all| (all.size, all.count)),
            Some((1728, 9709))
        );
        for bad in [
            words([SEND_SEND_BUFFER_COMPLETE, SUCCESS, 1, 0, 1728, 9709]),
            words([SEND_RECEIVE_BUFFER_COMPLETE, FAIL, 1, 0, 1728, 9709]),
            words([SEND_RECEIVE_BUFFER_COMPLETE, SUCCESS, 2, 0, 1728, 9709]),
            words([SEND_RECEIVE_BUFFER_COMPLETE, SUCCESS, 1, 4, 1728, 9709]),
        ] {
            assert!(receive_sections(&bad).is_none());
        }
        assert!(receive_sections(good.get(..20).unwrap_or_default()).is_none());
        assert!(send_section_size(&good).is_none());
        assert!(granted(&[]).is_none());
        assert!(!accepted(&[2, 0, 0, 0]));
    }

    #[test]
    fn associations_are_whole() {
        let message = words([SEND_VF_ASSOCIATION, 1, 7]);

        assert_eq!(vf_association(&message), Some((true, 7)));
        assert_eq!(
            vf_association(&words([SEND_VF_ASSOCIATION, 0, 7])),
            Some((false, 7))
        );
        assert_eq!(vf_association(message.get(..11).unwrap_or_default()), None);
        assert_eq!(vf_association(&words([SWITCH_DATA_PATH, 1, 7])), None);
    }

    #[test]
    fn tables_are_inside_of_their_message() {
        let mut message = words([SEND_INDIRECTION_TABLE, 16, 12, 7]);
        let all = message.len();

        // A newer host is believed.
        assert_eq!(
            send_table(Version::V61, &message).map(|table| table[0]),
            Some(7)
        );
        // An older one is known to have it behind the message.
        assert_eq!(
            send_table(Version::V6, &message).map(|table| table[0]),
            Some(0)
        );
        for at in [all as u32 - 63, u32::MAX, u32::MAX - 64] {
            crate::bytes::put_u32(&mut message, 8, at);
            assert!(send_table(Version::V61, &message).is_none());
        }
        crate::bytes::put_u32(&mut message, 4, 17);
        assert!(send_table(Version::V61, &message).is_none());
    }
}
