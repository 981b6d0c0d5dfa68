// SPDX-License-Identifier: GPL-2.0

//! The commands that read, write, compare and give back blocks.

use std::ops::Range;

use super::*;

/// The most blocks that one UNMAP or WRITE SAME may name: 2 GiB of 512-byte blocks.
pub(super) const MAX_UNMAP: u32 = 4 << 20;
pub(super) const MAX_UNMAP_DESCRIPTORS: u32 = 256;

// Bits of byte 1 of a CDB.
const NO_DATA_OUT: u8 = 0x01;
const UNMAP_ANCHOR: u8 = 0x01;
const BYTE_CHECK: u8 = 0x06;
const FORCE_UNIT_ACCESS: u8 = 0x08;
const ANCHOR: u8 = 0x10;
const PROTECT: u8 = 0xe0;

/// Whether a command changes blocks.
pub(super) fn is_write(code: u8) -> bool {
    matches!(code, op::WRITE_6 | op::WRITE_10 | op::WRITE_12 | op::WRITE_16)
        || matches!(code, op::WRITE_SAME_10 | op::WRITE_SAME_16 | op::UNMAP)
}

impl Disk {
    pub(super) fn blocks(&self) -> u64 {
        self.backing.size() / self.block()
    }

    /// Bytes of a block.
    pub(super) fn block(&self) -> u64 {
        self.config.block.into()
    }

    /// Byte offset and length of the blocks that a CDB names.
    pub(super) fn span(&self, cdb: &[u8; CDB]) -> Result<(u64, u64), Sense> {
        let (lba, count) = match cdb[0] >> 5 {
            0 => match cdb[4] {
                0 => (be(cdb, 1, 3) & 0x1f_ffff, 256),
                n => (be(cdb, 1, 3) & 0x1f_ffff, n.into()),
            },
            4 => (be(cdb, 2, 8), be(cdb, 10, 4)),
            5 => (be(cdb, 2, 4), be(cdb, 6, 4)),
            _ => (be(cdb, 2, 4), be(cdb, 7, 2)),
        };
        self.bytes(lba, count)
    }

    fn bytes(&self, lba: u64, count: u64) -> Result<(u64, u64), Sense> {
        if lba.checked_add(count).is_none_or(|end| end > self.blocks()) {
            return Err(Sense::LBA_OUT_OF_RANGE);
        }
        Ok((lba * self.block(), count * self.block()))
    }

    pub(super) fn flush(&mut self) -> Result<usize, Failure> {
        self.backing.flush().map_err(|_| Sense::WRITE_ERROR)?;
        self.flushes += 1;
        Ok(0)
    }

    /// The end of a command that wrote: without a write cache, what it wrote is durable now.
    fn written(&mut self, forced: bool) -> Result<(), Failure> {
        if forced || !self.mode.write_cache {
            self.flush()?;
        }
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        cdb: &[u8; CDB],
        data: &mut dyn Transfer,
    ) -> Result<usize, Failure> {
        let (at, len) = self.span(cdb)?;
        no_protection(cdb)?;
        enough(data, len)?;
        for piece in pieces(len) {
            let buf = &mut self.buffer[..piece.len()];
            let from = at + piece.start as u64;
            self.backing.read_at(from, buf).map_err(|_| Sense::READ_ERROR)?;
            data.give(piece.start, buf)?;
        }
        Ok(len as usize)
    }

    pub(super) fn write(
        &mut self,
        cdb: &[u8; CDB],
        data: &mut dyn Transfer,
    ) -> Result<usize, Failure> {
        let (at, len) = self.span(cdb)?;
        no_protection(cdb)?;
        enough(data, len)?;
        for piece in pieces(len) {
            let buf = &mut self.buffer[..piece.len()];
            data.take(piece.start, buf)?;
            let to = at + piece.start as u64;
            self.backing.write_at(to, buf).map_err(|_| Sense::WRITE_ERROR)?;
        }
        self.written(cdb[0] != op::WRITE_6 && cdb[1] & FORCE_UNIT_ACCESS != 0)?;
        Ok(len as usize)
    }

    /// Checks that the blocks can be read, and with BYTCHK 1 that they hold what is sent.
    pub(super) fn verify(
        &mut self,
        cdb: &[u8; CDB],
        data: &mut dyn Transfer,
    ) -> Result<usize, Failure> {
        let (at, len) = self.span(cdb)?;
        no_protection(cdb)?;
        let compare = match (cdb[1] & BYTE_CHECK) >> 1 {
            0 => false,
            1 => true,
            _ => return Err(Sense::BAD_FIELD.into()),
        };
        if compare {
            enough(data, len)?;
        }
        let mut sent = vec![0; if compare { CHUNK } else { 0 }];
        for piece in pieces(len) {
            let buf = &mut self.buffer[..piece.len()];
            let from = at + piece.start as u64;
            self.backing.read_at(from, buf).map_err(|_| Sense::READ_ERROR)?;
            if compare {
                let sent = &mut sent[..piece.len()];
                data.take(piece.start, sent)?;
                if sent != buf {
                    return Err(Sense::MISCOMPARE.into());
                }
            }
        }
        Ok(if compare { len as usize } else { 0 })
    }

    pub(super) fn write_same(
        &mut self,
        cdb: &[u8; CDB],
        data: &mut dyn Transfer,
    ) -> Result<usize, Failure> {
        let (at, len) = self.span(cdb)?;
        no_protection(cdb)?;
        if cdb[1] & ANCHOR != 0 || len == 0 || len > u64::from(MAX_UNMAP) * self.block() {
            return Err(Sense::BAD_FIELD.into());
        }
        let mut block = vec![0; self.config.block as usize];
        let no_data = cdb[0] == op::WRITE_SAME_16 && cdb[1] & NO_DATA_OUT != 0;
        let moved = if no_data { 0 } else { block.len() };
        if !no_data {
            enough(data, self.block())?;
            data.take(0, &mut block)?;
        }
        // Zeros need no UNMAP bit to cost nothing: that is what LBPRZ allows.
        if block.iter().all(|&byte| byte == 0) {
            self.backing.zero_range(at, len).map_err(|_| Sense::WRITE_ERROR)?;
        } else {
            let chunks = self.buffer.chunks_exact_mut(block.len());
            chunks.for_each(|chunk| chunk.copy_from_slice(&block));
            for piece in pieces(len) {
                let buf = &self.buffer[..piece.len()];
                let to = at + piece.start as u64;
                self.backing.write_at(to, buf).map_err(|_| Sense::WRITE_ERROR)?;
            }
        }
        self.written(false)?;
        Ok(moved)
    }

    pub(super) fn unmap(
        &mut self,
        cdb: &[u8; CDB],
        data: &mut dyn Transfer,
    ) -> Result<usize, Failure> {
        const HEADER: usize = 8;
        const DESCRIPTOR: usize = 16;
        if cdb[1] & UNMAP_ANCHOR != 0 {
            return Err(Sense::BAD_FIELD.into());
        }
        let len = be(cdb, 7, 2) as usize;
        if len == 0 {
            return Ok(0);
        }
        enough(data, len as u64)?;
        let mut list = vec![0; len];
        data.take(0, &mut list)?;
        let (header, list) = list.split_at_checked(HEADER).ok_or(Sense::PARAMETER_LENGTH)?;
        let described = be(header, 2, 2) as usize;
        // A descriptor that was cut off is not an error; it is not done.
        let descriptors = list[..described.min(list.len())].chunks_exact(DESCRIPTOR);
        let mut spans = Vec::with_capacity(descriptors.len());
        let mut total = 0;
        for d in descriptors {
            let (lba, count) = (be(d, 0, 8), be(d, 8, 4));
            total += count;
            spans.push(self.bytes(lba, count)?);
        }
        if spans.len() > MAX_UNMAP_DESCRIPTORS as usize || total > MAX_UNMAP.into() {
            return Err(Sense::BAD_PARAMETER.into());
        }
        for (at, len) in spans {
            self.backing.zero_range(at, len).map_err(|_| Sense::WRITE_ERROR)?;
        }
        self.written(false)?;
        Ok(len)
    }

    /// Which blocks have storage, from the CDB's block on, in as many descriptors as it has room
    /// for.
    pub(super) fn lba_status(&self, cdb: &[u8; CDB]) -> Result<Vec<u8>, Sense> {
        const HEADER: usize = 8;
        const DESCRIPTOR: usize = 16;
        const MAPPED: u8 = 0;
        const DEALLOCATED: u8 = 1;
        let (mut lba, blocks) = (be(cdb, 2, 8), self.blocks());
        if lba >= blocks {
            return Err(Sense::LBA_OUT_OF_RANGE);
        }
        let room = (be(cdb, 10, 4) as usize).saturating_sub(HEADER) / DESCRIPTOR;
        let mut list = Vec::new();
        // Every backing ends somewhere, but a page of descriptors is enough for anybody.
        for _ in 0..room.clamp(1, 256) {
            if lba >= blocks {
                break;
            }
            let (mapped, bytes) = self.backing.extent(lba * self.block());
            let count = (bytes / self.block()).clamp(1, u32::MAX.into());
            list.extend(lba.to_be_bytes());
            list.extend((count as u32).to_be_bytes());
            list.extend([if mapped { MAPPED } else { DEALLOCATED }, 0, 0, 0]);
            lba += count;
        }
        // The length does not count its own four bytes.
        let mut out = (list.len() as u32 + 4).to_be_bytes().to_vec();
        out.extend([0; 4]);
        out.extend(list);
        Ok(out)
    }
}

/// Splits `len` bytes into what fits the buffer.
pub(super) fn pieces(len: u64) -> impl Iterator<Item = Range<usize>> {
    let len = len as usize;
    (0..len).step_by(CHUNK).map(move |at| at..len.min(at + CHUNK))
}

/// We have no protection information, so none may be asked for.
fn no_protection(cdb: &[u8; CDB]) -> Result<(), Sense> {
    // The 6-byte commands have LBA bits there.
    if cdb[0] >> 5 != 0 && cdb[1] & PROTECT != 0 {
        return Err(Sense::BAD_FIELD);
    }
    Ok(())
}
