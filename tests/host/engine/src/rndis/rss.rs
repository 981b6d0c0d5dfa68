// SPDX-License-Identifier: GPL-2.0

//! Receive-side scaling: a hash of a frame's addresses and ports says, through a table that the
//! guest sets, on which channel the frame goes.

use super::{slice_at, u32_at, words, Refused, STATUS_INVALID_DATA, STATUS_INVALID_LENGTH};

const CAPABILITIES: u8 = 0x88;
const PARAMETERS: u8 = 0x89;
const REVISION: u8 = 2;
/// Entries of the largest table.
const TABLE: usize = 128;
const ENTRY: usize = 4;
/// Bytes of the key.
pub(crate) const KEY: usize = 40;

// What is hashed.
const TOEPLITZ: u32 = 1;
pub(crate) const HASH_IPV4: u32 = 1 << 8;
pub(crate) const HASH_TCP_IPV4: u32 = 1 << 9;
pub(crate) const HASH_IPV6: u32 = 1 << 10;
pub(crate) const HASH_TCP_IPV6: u32 = 1 << 12;
const HASHES: u32 = HASH_IPV4 | HASH_TCP_IPV4 | HASH_IPV6 | HASH_TCP_IPV6;

/// `NDIS_RECEIVE_SCALE_CAPABILITIES` of a card with that many queues.
pub(super) fn capabilities(queues: u32) -> Vec<u8> {
    const SIZE: u8 = 18;
    const TOEPLITZ_TCP_V4_V6: u32 = 0x301;
    let mut out = vec![CAPABILITIES, REVISION, SIZE, 0];
    out.extend(words(&[TOEPLITZ_TCP_V4_V6, queues, queues]));
    out.extend((TABLE as u16).to_le_bytes());
    out
}

/// What the guest set.
#[derive(Debug, Clone)]
pub(crate) struct Rss {
    types: u32,
    table: Vec<u32>,
    key: [u8; KEY],
}

impl Rss {
    /// Reads `NDIS_RECEIVE_SCALE_PARAMETERS`, `None` if they switch it off. `old` is what was set
    /// before, of which parts may be kept; `queues` how many channels there are.
    pub fn read(info: &[u8], old: Option<&Self>, queues: u32) -> Result<Option<Self>, Refused> {
        const SIZE: usize = 40;
        const TYPES_UNCHANGED: u32 = 1 << 1;
        const TABLE_UNCHANGED: u32 = 1 << 2;
        const KEY_UNCHANGED: u32 = 1 << 3;
        const DISABLE: u32 = 1 << 4;
        let bad = STATUS_INVALID_DATA;
        let field = |at| u32_at(info, at).ok_or(STATUS_INVALID_LENGTH);
        if info.len() < SIZE {
            return Err(STATUS_INVALID_LENGTH);
        }
        if info.first() != Some(&PARAMETERS) {
            return Err(bad);
        }
        let flags = field(4)?;
        if flags & DISABLE != 0 {
            return Ok(None);
        }
        let kept = |flag| if flags & flag != 0 { old.ok_or(bad).map(Some) } else { Ok(None) };
        let types = match kept(TYPES_UNCHANGED)? {
            Some(old) => old.types,
            None => field(8)?,
        };
        if types & TOEPLITZ == 0 || types & HASHES == 0 || types & !(TOEPLITZ | HASHES) != 0 {
            return Err(bad);
        }
        let table = match kept(TABLE_UNCHANGED)? {
            Some(old) => old.table.clone(),
            None => {
                // A 16-bit field.
                let bytes = slice_at(info, field(16)?, field(12)? & 0xffff).ok_or(bad)?;
                let whole = bytes.len() % ENTRY == 0;
                if bytes.is_empty() || !whole || bytes.len() > TABLE * ENTRY {
                    return Err(bad);
                }
                let entries = bytes.chunks_exact(ENTRY).map(|e| u32_at(e, 0).ok_or(bad));
                entries.collect::<Result<Vec<_>, _>>()?
            }
        };
        if table.iter().any(|&queue| queue >= queues) {
            return Err(bad);
        }
        let key = match kept(KEY_UNCHANGED)? {
            Some(old) => old.key,
            None => {
                let bytes = slice_at(info, field(24)?, field(20)? & 0xffff).ok_or(bad)?;
                bytes.try_into().map_err(|_| bad)?
            }
        };
        Ok(Some(Self { types, table, key }))
    }

    /// Whether frames of this kind are hashed: with ports, without, or not at all.
    pub fn with_ports(&self, v6: bool, tcp: bool) -> Option<bool> {
        let (plain, ports) =
            if v6 { (HASH_IPV6, HASH_TCP_IPV6) } else { (HASH_IPV4, HASH_TCP_IPV4) };
        if tcp && self.types & ports != 0 {
            return Some(true);
        }
        (self.types & plain != 0).then_some(false)
    }

    /// The hash of a frame's addresses (and ports), one after the other.
    pub fn hash(&self, input: &[u8]) -> u32 {
        toeplitz(&self.key, input)
    }

    /// The channel for a hash.
    pub fn channel(&self, hash: u32) -> usize {
        let at = (hash as usize).checked_rem(self.table.len()).unwrap_or(0);
        self.table.get(at).map_or(0, |&queue| queue as usize)
    }
}

/// The Toeplitz hash: each set bit of the input adds the 32 bits of the key that begin where the
/// bit is.
fn toeplitz(key: &[u8; KEY], input: &[u8]) -> u32 {
    let byte = |n: usize| key.get(n).copied().unwrap_or(0);
    let mut window = u32::from_be_bytes([byte(0), byte(1), byte(2), byte(3)]);
    let mut hash = 0;
    for (n, &value) in input.iter().enumerate() {
        for bit in (0..8).rev() {
            if value >> bit & 1 != 0 {
                hash ^= window;
            }
            window = window << 1 | u32::from(byte(n + 4) >> bit & 1);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the values that Microsoft publishes for checking an implementation.
    const KNOWN: [u8; KEY] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn known_hashes() {
        let v4 = [66, 9, 149, 187, 161, 142, 100, 80];
        let ports = [2794u16.to_be_bytes(), 1766u16.to_be_bytes()].concat();
        assert_eq!(toeplitz(&KNOWN, &v4), 0x323e_8fc2);
        assert_eq!(toeplitz(&KNOWN, &[&v4[..], &ports].concat()), 0x51cc_c178);
        let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let v6 = [address("3ffe:2501:200:1fff::7"), address("3ffe:2501:200:3::1")].concat();
        assert_eq!(toeplitz(&KNOWN, &v6), 0x2cc1_8cd5);
        assert_eq!(toeplitz(&KNOWN, &[&v6[..], &ports].concat()), 0x4020_7d3d);
    }
}
