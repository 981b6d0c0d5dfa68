// SPDX-License-Identifier: GPL-2.0

//! The guest's receive buffer: which sections it has, and what is to be in them.

use std::collections::BTreeMap;

use super::{pattern, word, words, PAGES, PRIMARY};
use crate::device::{Io, Violation};
use crate::memory::BadAddress;
use crate::ring::Packet;

/// Id of the buffer in transfer-page packets.
pub const SET: u16 = 0xec80;
const MAX_RANGES: usize = 8;
/// Completed sections are overwritten with this.
const STALE: u8 = 0xee;

/// A packet that the guest has not completed.
struct Lent {
    channel: usize,
    sections: Vec<u32>,
    sum: u32,
}

/// Memory of the guest that the host fills.
pub struct Buffer {
    gpadl: u32,
    section: u32,
    sections: u32,
    /// The last returned is used first.
    free: Vec<u32>,
    /// By transaction id.
    lent: BTreeMap<u64, Lent>,
    /// Transaction ids are not used twice.
    last_id: u64,
    revoked: bool,
}

impl Buffer {
    /// The buffer behind a GPADL of the primary channel, if it can be one.
    pub fn new(io: &Io<'_>, gpadl: u32, section: u32) -> Option<Self> {
        let range = io.gpadl(PRIMARY, gpadl)?;
        let sections = range.len.checked_div(section).filter(|_| section.is_multiple_of(8))?;
        let free = (0..sections).rev().collect();
        let (lent, last_id, revoked) = (BTreeMap::new(), 0, false);
        (sections > 0).then_some(Self { gpadl, section, sections, free, lent, last_id, revoked })
    }

    /// Number of sections.
    pub fn sections(&self) -> u32 {
        self.sections
    }

    /// Number of packets that the guest has to complete.
    pub fn lent(&self) -> u32 {
        self.lent.len() as u32
    }

    /// Whether the guest took the buffer back.
    pub fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// The guest takes the buffer back.
    pub fn revoke(&mut self) {
        self.revoked = true;
    }

    /// Whether a packet can have so many ranges of so many bytes.
    pub fn takes(&self, size: usize, ranges: usize) -> bool {
        (4..=self.section as usize).contains(&size)
            && (1..=MAX_RANGES.min(self.sections as usize)).contains(&ranges)
    }

    /// Fills sections and announces them; `false` if too few are free.
    pub fn send(
        &mut self,
        io: &mut Io<'_>,
        channel: usize,
        number: u32,
        size: usize,
        ranges: usize,
    ) -> Result<bool, Violation> {
        let Some(rest) = self.free.len().checked_sub(ranges) else { return Ok(false) };
        let sections: Vec<u32> = self.free.split_off(rest).into_iter().rev().collect();
        let mut bytes = words(&[number]);
        bytes.extend((4..size).map(|at| pattern(number, at)));
        let mut list = Vec::new();
        for &section in &sections {
            self.fill(io, section, &bytes)?;
            list.push((size as u32, section * self.section));
        }
        let sum = sum(&bytes).wrapping_mul(ranges as u32);
        self.last_id += 1;
        self.lent.insert(self.last_id, Lent { channel, sections, sum });
        let message = words(&[PAGES, number, ranges as u32, size as u32]);
        io.send_transfer_pages(channel, self.last_id, SET, &list, &message);
        Ok(true)
    }

    fn fill(&self, io: &Io<'_>, section: u32, bytes: &[u8]) -> Result<(), BadAddress> {
        let buffer = io.gpadl(PRIMARY, self.gpadl).ok_or(BadAddress(u64::MAX))?;
        buffer.write(io.mem(), (section * self.section) as usize, bytes)
    }

    /// The guest completed a packet on a channel.
    pub fn completed(
        &mut self,
        io: &Io<'_>,
        channel: usize,
        packet: &Packet,
    ) -> Result<(), Violation> {
        let id = packet.transaction_id;
        let refuse = |why: &str| Violation::new(format!("completion {id:#x}: {why}"));
        let lent = self.lent.remove(&id).ok_or_else(|| refuse("unknown, or the second one"))?;
        if lent.channel != channel {
            return Err(refuse("on another channel"));
        }
        if word(&packet.data, 0) != Some(PAGES) {
            return Err(refuse("of another form"));
        }
        if word(&packet.data, 1) != Some(lent.sum) {
            return Err(refuse("the sum is wrong: other bytes were read"));
        }
        // A guest that has taken the buffer back may have torn it down already.
        if !self.revoked {
            let stale = vec![STALE; self.section as usize];
            for &section in &lent.sections {
                self.fill(io, section, &stale)?;
            }
        }
        self.free.extend(lent.sections.iter().rev());
        Ok(())
    }

    /// A sub-channel is gone, and with it the guest's duty to complete what came on it.
    pub fn channel_closed(&mut self, channel: usize) {
        let free = &mut self.free;
        self.lent.retain(|_, lent| {
            if lent.channel == channel {
                free.extend(&lent.sections);
            }
            lent.channel != channel
        });
    }
}

/// What the guest answers with.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum: u32, &byte| sum.wrapping_add(byte.into()))
}
