// SPDX-License-Identifier: GPL-2.0

//! What a disk says about itself: INQUIRY, vital product data, capacity.

use super::blocks::{MAX_UNMAP, MAX_UNMAP_DESCRIPTORS};
use super::*;

/// Bytes of a physical block.
const PHYSICAL: u32 = 4096;
/// Bit of byte 1 of INQUIRY.
const EVPD: u8 = 0x01;
/// Peripheral type, and bit of byte 1 of the answer.
const DVD: u8 = 0x05;
const REMOVABLE: u8 = 0x80;
/// Bit of byte 7 of the answer.
const COMMAND_QUEUE: u8 = 0x02;

impl Disk {
    pub(super) fn read_capacity_10(&self, data: &mut dyn Transfer) -> Result<usize, Failure> {
        let last = self.blocks().saturating_sub(1);
        let mut out = [0; 8];
        // All ones sends the initiator to READ CAPACITY(16).
        put(&mut out, 0, &u32::try_from(last).unwrap_or(u32::MAX).to_be_bytes());
        put(&mut out, 4, &self.config.block.to_be_bytes());
        reply(data, &out, out.len() as u64)
    }

    pub(super) fn read_capacity_16(&self) -> [u8; 32] {
        const PROVISIONED_THIN: u8 = 0x80;
        const UNMAPPED_READS_ZERO: u8 = 0x40;
        let mut out = [0; 32];
        put(&mut out, 0, &self.blocks().saturating_sub(1).to_be_bytes());
        put(&mut out, 8, &self.config.block.to_be_bytes());
        // log2 of the logical blocks in a physical one.
        out[13] = self.per_physical().trailing_zeros() as u8;
        out[14] = PROVISIONED_THIN | UNMAPPED_READS_ZERO;
        out
    }

    /// Logical blocks in a physical one.
    fn per_physical(&self) -> u32 {
        PHYSICAL / self.config.block
    }

    pub(super) fn inquiry(&self, cdb: &[u8; CDB]) -> Result<Vec<u8>, Sense> {
        if cdb[1] & EVPD != 0 {
            return self.vital_product_data(cdb[2]);
        }
        if cdb[2] != 0 {
            return Err(Sense::BAD_FIELD);
        }
        let mut out = standard_inquiry(0).to_vec();
        out[2] = self.config.spc;
        if !self.config.tagged {
            out[7] &= !COMMAND_QUEUE;
        }
        put(&mut out, 8, b"        ");
        put(&mut out, 8, self.config.vendor.as_bytes());
        if self.config.dvd {
            out[..2].copy_from_slice(&[DVD, REMOVABLE]);
            put(&mut out, 16, b"Virtual DVD-ROM ");
        }
        Ok(out)
    }

    fn vital_product_data(&self, page: u8) -> Result<Vec<u8>, Sense> {
        const PAGES: [u8; 6] = [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2];
        let body = match page {
            0x00 => PAGES.to_vec(),
            0x80 => self.config.serial.as_bytes().to_vec(),
            0x83 => self.identification(),
            0xb0 => self.block_limits().to_vec(),
            0xb1 => {
                let mut body = vec![0; 60];
                body[1] = 1; // does not rotate
                body
            }
            // UNMAP, WRITE SAME(16) and (10) unmap, unmapped blocks read as zeros; thin.
            0xb2 => vec![0, 0x80 | 0x40 | 0x20 | 0x04, 2, 0],
            _ => return Err(Sense::BAD_FIELD),
        };
        let [high, low] = (body.len() as u16).to_be_bytes();
        Ok([[0, page, high, low].as_slice(), &body].concat())
    }

    /// One designator: an NAA 6 name with Microsoft's company id and 96 bits of the serial's hash.
    fn identification(&self) -> Vec<u8> {
        const BINARY: u8 = 1;
        const NAA: u8 = 3;
        const LEN: u8 = 16;
        let hash = Sha256::digest(self.config.serial.as_bytes());
        let mut out = vec![BINARY, NAA, 0, LEN, 0x60, 0x02, 0x24, 0x80];
        out.extend(&hash[..12]);
        out
    }

    /// Body of VPD page B0.
    fn block_limits(&self) -> [u8; 60] {
        const WRITE_SAME_NOT_ZERO: u8 = 1;
        const ALIGNMENT_VALID: u32 = 1 << 31;
        let physical = self.per_physical();
        let mut out = [0; 60];
        out[0] = WRITE_SAME_NOT_ZERO;
        put(&mut out, 2, &(physical as u16).to_be_bytes());
        let unmap = [MAX_UNMAP, MAX_UNMAP_DESCRIPTORS, physical, ALIGNMENT_VALID];
        for (n, value) in unmap.into_iter().enumerate() {
            put(&mut out, 16 + 4 * n, &value.to_be_bytes());
        }
        put(&mut out, 32, &u64::from(MAX_UNMAP).to_be_bytes());
        out
    }
}

/// Standard INQUIRY data; `peripheral` is 0 for a disk, 0x7f for no such logical unit.
pub fn standard_inquiry(peripheral: u8) -> [u8; 36] {
    const SPC_3: u8 = 5;
    const HIERARCHICAL_LUNS_FORMAT_2: u8 = 0x12;
    let mut out = [0; 36];
    put(&mut out, 0, &[peripheral, 0, SPC_3, HIERARCHICAL_LUNS_FORMAT_2, 36 - 5]);
    out[7] = COMMAND_QUEUE;
    put(&mut out, 8, b"Msft    Virtual Disk    1.0 ");
    out
}
