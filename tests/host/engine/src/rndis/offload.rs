// SPDX-License-Identifier: GPL-2.0

//! The offloads of the adapter: what it can do, and what of it the guest has switched on.

use super::{words, Refused, LSO_MAX, STATUS_INVALID_DATA, STATUS_INVALID_LENGTH};
use crate::netvsp::version;

/// The offloads of one protocol that are switched on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Offload {
    pub tx: bool,
    pub rx: bool,
}

impl Offload {
    fn set(&mut self, value: u8) -> Result<(), Refused> {
        (self.tx, self.rx) = match value {
            0 => return Ok(()),
            1 => (false, false),
            2 => (true, false),
            3 => (false, true),
            4 => (true, true),
            _ => return Err(STATUS_INVALID_DATA),
        };
        Ok(())
    }
}

/// All offloads that are switched on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Offloads {
    pub ip4: Offload,
    pub tcp4: Offload,
    pub udp4: Offload,
    pub tcp6: Offload,
    pub udp6: Offload,
    pub lso4: bool,
    pub lso6: bool,
    /// Coalesced segments are received.
    pub rsc4: bool,
    pub rsc6: bool,
}

impl Offloads {
    pub fn transport(&self, v6: bool, udp: bool) -> Offload {
        match (v6, udp) {
            (false, false) => self.tcp4,
            (false, true) => self.udp4,
            (true, false) => self.tcp6,
            (true, true) => self.udp6,
        }
    }

    /// Reads `NDIS_OFFLOAD_PARAMETERS`. Coalescing can be switched on if there is `rsc`.
    pub(super) fn set(&mut self, info: &[u8], version: u32, rsc: bool) -> Result<(), Refused> {
        const TYPE_DEFAULT: u8 = 0x80;
        const NEEDED: usize = 13;
        const RSC: usize = 22;
        let Some(&[kind, _, a, b, ip4, tcp4, udp4, tcp6, udp6, _, _, lso4, lso6]) =
            info.first_chunk::<NEEDED>()
        else {
            return Err(STATUS_INVALID_LENGTH);
        };
        let size = usize::from(u16::from_le_bytes([a, b]));
        let udp_too_early = !has_udp(version) && (udp4 > 1 || udp6 > 1);
        if kind != TYPE_DEFAULT || size < NEEDED || size > info.len() || udp_too_early {
            return Err(STATUS_INVALID_DATA);
        }
        let mut new = *self;
        new.ip4.set(ip4)?;
        new.tcp4.set(tcp4)?;
        new.udp4.set(udp4)?;
        new.tcp6.set(tcp6)?;
        new.udp6.set(udp6)?;
        // A guest of an old version has no such fields.
        let (rsc4, rsc6) = match info.get(RSC..size) {
            Some(&[rsc4, rsc6, ..]) => (rsc4, rsc6),
            _ => (0, 0),
        };
        if !rsc && (rsc4 > 1 || rsc6 > 1) {
            return Err(STATUS_INVALID_DATA);
        }
        let switches = [
            (&mut new.lso4, lso4),
            (&mut new.lso6, lso6),
            (&mut new.rsc4, rsc4),
            (&mut new.rsc6, rsc6),
        ];
        for (on, value) in switches {
            *on = match value {
                0 => *on,
                1 => false,
                2 => true,
                _ => return Err(STATUS_INVALID_DATA),
            };
        }
        *self = new;
        Ok(())
    }
}

/// UDP checksums came with NVSP 5.
fn has_udp(version: u32) -> bool {
    version >= version::V5
}

/// `NDIS_OFFLOAD`: what the adapter can do, and that it segments frames of another length if so.
pub(super) fn capabilities(version: u32, rsc: bool, lso: Option<u32>) -> Vec<u8> {
    const TYPE_OFFLOAD: u8 = 0xa7;
    const ENCAPSULATION_802_3: u32 = 2;
    const IP4_TCP: u32 = 0x100 | 0x10 | 0x4 | 0x1;
    const IP4_UDP: u32 = 0x40;
    const IP6_TCP: u32 = 0x10 | 0x4 | 0x1;
    const IP6_UDP: u32 = 0x40;
    const LSO_IP6_OPTIONS: u32 = 0x4 | 0x1;
    const MIN_SEGMENTS: u32 = 2;
    // The words of the structure without the header, and where the large sends begin.
    const WORDS: usize = 38;
    const LSO_V2: usize = 8 + 4 + 7;
    const RSC: usize = 35;
    const RSC_IP4_IP6: u32 = 0x101;
    let (revision, size) = match version {
        version::V5.. => (3, 156u16),
        version::V4.. => (2, 144),
        _ => (1, 112),
    };
    let udp = |bit| if has_udp(version) { bit } else { 0 };
    let (ip4, ip6) = (IP4_TCP | udp(IP4_UDP), IP6_TCP | udp(IP6_UDP));
    let e = ENCAPSULATION_802_3;
    let mut fields = [0; WORDS];
    fields[..8].copy_from_slice(&[e, ip4, e, ip4, e, ip6, e, ip6]);
    let longest = lso.unwrap_or(LSO_MAX);
    let large = [e, longest, MIN_SEGMENTS, e, longest, MIN_SEGMENTS, LSO_IP6_OPTIONS];
    fields[LSO_V2..LSO_V2 + large.len()].copy_from_slice(&large);
    fields[RSC] = if rsc { RSC_IP4_IP6 } else { 0 };
    let [a, b] = size.to_le_bytes();
    let mut out = vec![TYPE_OFFLOAD, revision, a, b];
    out.extend(words(&fields));
    out.truncate(size.into());
    out
}
