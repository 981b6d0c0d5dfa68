// SPDX-License-Identifier: GPL-2.0

//! Mode pages: caching, whose write cache can be switched, and control, whose software write
//! protection can.

use super::*;

const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0a;
const ALL_PAGES: u8 = 0x3f;
const ALL_SUBPAGES: u8 = 0xff;

// Byte 1 of MODE SENSE, and of MODE SELECT.
const NO_BLOCK_DESCRIPTORS: u8 = 0x08;
const SAVE_PAGES: u8 = 0x01;
const PAGE_FORMAT: u8 = 0x10;

const WRITE_CACHE_ENABLE: u8 = 0x04;
const SOFTWARE_WRITE_PROTECT: u8 = 0x08;
const REORDERING_ALLOWED: u8 = 0x10;

const DESCRIPTOR: usize = 8;

/// What MODE SELECT can change.
pub(super) struct Mode {
    pub write_cache: bool,
    pub software_write_protect: bool,
}

impl Default for Mode {
    fn default() -> Self {
        Self { write_cache: true, software_write_protect: false }
    }
}

impl Mode {
    /// Both pages with these settings.
    fn pages(&self) -> [Vec<u8>; 2] {
        let mut caching = vec![0; 20];
        let cache = if self.write_cache { WRITE_CACHE_ENABLE } else { 0 };
        put(&mut caching, 0, &[CACHING, 18, cache]);
        let mut control = vec![0; 12];
        let protect = if self.software_write_protect { SOFTWARE_WRITE_PROTECT } else { 0 };
        put(&mut control, 0, &[CONTROL, 10, 0, REORDERING_ALLOWED, protect]);
        [caching, control]
    }

    /// Takes a page that MODE SELECT sends, if it changes only what can be changed.
    fn select(&mut self, page: &[u8]) -> Result<(), Sense> {
        let (code, byte) = (page.first().copied(), |n: usize| page.get(n).copied().unwrap_or(0));
        let mut new = Self { ..*self };
        match code {
            Some(CACHING) => new.write_cache = byte(2) & WRITE_CACHE_ENABLE != 0,
            Some(CONTROL) => {
                new.software_write_protect = byte(4) & SOFTWARE_WRITE_PROTECT != 0;
            }
            _ => return Err(Sense::BAD_PARAMETER),
        }
        if !new.pages().iter().any(|known| known == page) {
            return Err(Sense::BAD_PARAMETER);
        }
        *self = new;
        Ok(())
    }
}

impl Disk {
    pub(super) fn mode_sense(&self, cdb: &[u8; CDB]) -> Result<Vec<u8>, Sense> {
        const CHANGEABLE: u8 = 1;
        const DEFAULT: u8 = 2;
        const SAVED: u8 = 3;
        const DPO_FUA: u8 = 0x10;
        const WRITE_PROTECTED: u8 = 0x80;
        let (control, page, subpage) = (cdb[2] >> 6, cdb[2] & 0x3f, cdb[3]);
        let shown = match control {
            SAVED => return Err(Sense::SAVING_UNSUPPORTED),
            DEFAULT => Mode::default().pages(),
            CHANGEABLE => {
                // A bit is changeable if it differs between these two.
                let on = Mode { write_cache: true, software_write_protect: true }.pages();
                let off = Mode { write_cache: false, software_write_protect: false }.pages();
                let mut mask = on.clone();
                for (page, other) in mask.iter_mut().zip(&off) {
                    page.iter_mut().zip(other).skip(2).for_each(|(a, b)| *a ^= b);
                }
                mask
            }
            _ => self.mode.pages(),
        };
        let pages: Vec<u8> =
            shown.into_iter().filter(|p| page == p[0] || page == ALL_PAGES).flatten().collect();
        if pages.is_empty() || (subpage != 0 && (subpage, page) != (ALL_SUBPAGES, ALL_PAGES)) {
            return Err(Sense::BAD_FIELD);
        }
        let mut descriptor = Vec::new();
        if cdb[1] & NO_BLOCK_DESCRIPTORS == 0 {
            descriptor = self.descriptor().to_vec();
        }
        let (short, described) = (cdb[0] == op::MODE_SENSE_6, descriptor.len() as u8);
        let parameter = DPO_FUA | if self.writable().is_err() { WRITE_PROTECTED } else { 0 };
        // The length does not count its own bytes.
        let rest = descriptor.len() + pages.len() + if short { 3 } else { 6 };
        let header = match short {
            true => vec![rest as u8, 0, parameter, described],
            false => vec![0, rest as u8, 0, parameter, 0, 0, 0, described],
        };
        Ok([header, descriptor, pages].concat())
    }

    fn descriptor(&self) -> [u8; DESCRIPTOR] {
        let mut out = [0; DESCRIPTOR];
        put(&mut out, 0, &u32::try_from(self.blocks()).unwrap_or(u32::MAX).to_be_bytes());
        put(&mut out, 4, &self.config.block.to_be_bytes());
        out
    }

    pub(super) fn mode_select(
        &mut self,
        cdb: &[u8; CDB],
        data: &mut dyn Transfer,
    ) -> Result<usize, Failure> {
        if cdb[1] & SAVE_PAGES != 0 || cdb[1] & PAGE_FORMAT == 0 {
            return Err(Sense::BAD_FIELD.into());
        }
        let (len, header) = match cdb[0] {
            op::MODE_SELECT_6 => (usize::from(cdb[4]), 4),
            _ => (be(cdb, 7, 2) as usize, 8),
        };
        if len == 0 {
            return Ok(0);
        }
        enough(data, len as u64)?;
        let mut list = vec![0; len];
        data.take(0, &mut list)?;
        let (header, rest) = list.split_at_checked(header).ok_or(Sense::PARAMETER_LENGTH)?;
        let described = match header {
            [_, _, _, described] => usize::from(*described),
            _ => be(header, 6, 2) as usize,
        };
        let (descriptor, mut pages) =
            rest.split_at_checked(described).ok_or(Sense::PARAMETER_LENGTH)?;
        // The number of blocks may be 0 for "as it is"; no block size but ours.
        let own = self.descriptor();
        let same = descriptor.is_empty()
            || descriptor == own
            || (descriptor.len() == DESCRIPTOR
                && descriptor[..4] == [0; 4]
                && descriptor[4..] == own[4..]);
        if !same {
            return Err(Sense::BAD_PARAMETER.into());
        }
        // All of the pages or none.
        let mut new = Mode { ..self.mode };
        while !pages.is_empty() {
            let len = pages.get(1).map(|&len| usize::from(len) + 2);
            let split = len.and_then(|len| pages.split_at_checked(len));
            let (page, rest) = split.ok_or(Sense::PARAMETER_LENGTH)?;
            new.select(page)?;
            pages = rest;
        }
        self.mode = new;
        Ok(len)
    }
}
