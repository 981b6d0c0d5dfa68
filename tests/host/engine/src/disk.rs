// SPDX-License-Identifier: GPL-2.0

//! A SCSI disk: what it answers to each command, and what that does to its bytes.
//!
//! The disk knows nothing of VMBus. A command comes as 16 CDB bytes and a [`Transfer`], the data
//! phase; it ends with the number of bytes moved or with a [`Failure`]. Numbers of rows and fields
//! are those of SPC-4 and SBC-3.

use std::io;
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::memory::BadAddress;

/// Bytes of a logical block.
pub const BLOCK: usize = 512;
/// Bytes of a CDB, zeros behind a shorter one.
pub const CDB: usize = 16;
/// Bytes of fixed-format sense data.
pub const SENSE: usize = 18;

/// How many bytes are copied at a time between the backing and the guest.
const CHUNK: usize = 64 << 10;
/// log2 of the logical blocks in a physical one: 4096 bytes.
const PHYSICAL_EXPONENT: u8 = 3;
/// The most blocks that one UNMAP or WRITE SAME may name: 2 GiB.
const MAX_UNMAP: u32 = 4 << 20;
const MAX_UNMAP_DESCRIPTORS: u32 = 256;

/// Operation codes.
pub mod op {
    #![allow(missing_docs)]
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const READ_6: u8 = 0x08;
    pub const WRITE_6: u8 = 0x0a;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SENSE_6: u8 = 0x1a;
    pub const START_STOP: u8 = 0x1b;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const WRITE_10: u8 = 0x2a;
    pub const VERIFY_10: u8 = 0x2f;
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub const WRITE_SAME_10: u8 = 0x41;
    pub const UNMAP: u8 = 0x42;
    pub const MODE_SENSE_10: u8 = 0x5a;
    pub const READ_16: u8 = 0x88;
    pub const WRITE_16: u8 = 0x8a;
    pub const VERIFY_16: u8 = 0x8f;
    pub const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub const WRITE_SAME_16: u8 = 0x93;
    pub const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub const REPORT_LUNS: u8 = 0xa0;
    pub const READ_12: u8 = 0xa8;
    pub const WRITE_12: u8 = 0xaa;
}

/// Service action of SERVICE ACTION IN(16).
const READ_CAPACITY_16: u8 = 0x10;

const MODE_CACHING: u8 = 0x08;
const MODE_CONTROL: u8 = 0x0a;
const MODE_ALL: u8 = 0x3f;
const ALL_SUBPAGES: u8 = 0xff;

// Bits of byte 1 of a CDB.
const EVPD: u8 = 0x01;
const REQUEST_DESCRIPTOR_SENSE: u8 = 0x01;
const NO_DATA_OUT: u8 = 0x01;
const ANCHOR: u8 = 0x10;
const UNMAP_ANCHOR: u8 = 0x01;
const NO_BLOCK_DESCRIPTORS: u8 = 0x08;
const FORCE_UNIT_ACCESS: u8 = 0x08;
const PROTECT: u8 = 0xe0;
const BYTE_CHECK: u8 = 0x06;

/// Where a disk's bytes are.
pub trait Backing: Send {
    /// Number of bytes, a multiple of [`BLOCK`]; may change.
    fn size(&self) -> u64;

    /// Fills `buf` from byte `at` on.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes `buf` from byte `at` on.
    fn write_at(&mut self, at: u64, buf: &[u8]) -> io::Result<()>;

    /// Makes what was written durable.
    fn flush(&mut self) -> io::Result<()>;

    /// Turns `len` bytes from `at` on into zeros and gives their storage back if it can.
    fn zero_range(&mut self, at: u64, len: u64) -> io::Result<()> {
        let zeros = [0; 4096];
        let (mut at, end) = (at, at + len);
        while at < end {
            let n = (end - at).min(zeros.len() as u64);
            self.write_at(at, &zeros[..n as usize])?;
            at += n;
        }
        Ok(())
    }
}

/// Bytes in our own memory, which holds only the pieces that were written.
pub struct MemoryBacking {
    size: u64,
    chunks: Vec<Option<Box<[u8]>>>,
}

impl MemoryBacking {
    /// `size` bytes of zeros.
    pub fn new(size: u64) -> Self {
        let chunks = vec![None; size.div_ceil(CHUNK as u64) as usize];
        Self { size, chunks }
    }

    /// Splits `len` bytes at `at` by chunk: its number, the bytes in it, the bytes of the whole.
    fn pieces(
        &self,
        at: u64,
        len: u64,
    ) -> io::Result<impl Iterator<Item = (usize, Range<usize>, Range<usize>)>> {
        if at.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        Ok(std::iter::from_fn(move || {
            let here = at + done;
            let from = (here % CHUNK as u64) as usize;
            let n = (len - done).min((CHUNK - from) as u64) as usize;
            let start = done as usize;
            done += n as u64;
            let piece = ((here / CHUNK as u64) as usize, from..from + n, start..start + n);
            (n > 0).then_some(piece)
        }))
    }
}

fn blank_chunk() -> Box<[u8]> {
    vec![0; CHUNK].into_boxed_slice()
}

impl Backing for MemoryBacking {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        for (n, inside, outside) in self.pieces(at, buf.len() as u64)? {
            match &self.chunks[n] {
                Some(chunk) => buf[outside].copy_from_slice(&chunk[inside]),
                None => buf[outside].fill(0),
            }
        }
        Ok(())
    }

    fn write_at(&mut self, at: u64, buf: &[u8]) -> io::Result<()> {
        for (n, inside, outside) in self.pieces(at, buf.len() as u64)? {
            let chunk = self.chunks[n].get_or_insert_with(blank_chunk);
            chunk[inside].copy_from_slice(&buf[outside]);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn zero_range(&mut self, at: u64, len: u64) -> io::Result<()> {
        for (n, inside, _) in self.pieces(at, len)? {
            if inside.len() == CHUNK {
                self.chunks[n] = None;
            } else if let Some(chunk) = &mut self.chunks[n] {
                chunk[inside].fill(0);
            }
        }
        Ok(())
    }
}

/// The data phase of a command.
pub trait Transfer {
    /// How many bytes the initiator has room for, or sends.
    fn room(&self) -> usize;

    /// Copies to the initiator, at byte `at` of the data.
    fn give(&mut self, at: usize, from: &[u8]) -> Result<(), Failure>;

    /// Copies from the initiator, at byte `at` of the data.
    fn take(&mut self, at: usize, into: &mut [u8]) -> Result<(), Failure>;
}

/// Why a command failed, as the initiator learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: u8,
    /// Additional sense code and its qualifier, as in `0x2400`.
    pub code: u16,
}

impl Sense {
    const NONE: Self = Self::new(0x0, 0x0000);
    const WRITE_ERROR: Self = Self::new(0x3, 0x0c00);
    const READ_ERROR: Self = Self::new(0x3, 0x1100);
    const PARAMETER_LENGTH: Self = Self::new(0x5, 0x1a00);
    const UNKNOWN_OPCODE: Self = Self::new(0x5, 0x2000);
    const LBA_OUT_OF_RANGE: Self = Self::new(0x5, 0x2100);
    /// INVALID FIELD IN CDB.
    pub const BAD_FIELD: Self = Self::new(0x5, 0x2400);
    const BAD_PARAMETER: Self = Self::new(0x5, 0x2600);
    const SAVING_UNSUPPORTED: Self = Self::new(0x5, 0x3900);
    const MISCOMPARE: Self = Self::new(0xe, 0x1d00);

    const fn new(key: u8, code: u16) -> Self {
        Self { key, code }
    }

    /// The fixed format.
    pub fn bytes(self) -> [u8; SENSE] {
        let [asc, ascq] = self.code.to_be_bytes();
        let mut out = [0; SENSE];
        out[0] = 0x70; // current error
        out[2] = self.key;
        out[7] = SENSE as u8 - 8;
        out[12] = asc;
        out[13] = ascq;
        out
    }
}

/// Why a command was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The disk says no: CHECK CONDITION.
    Check(Sense),
    /// The initiator announced data in the other direction.
    Direction,
    /// The initiator's memory is not there.
    Memory(BadAddress),
}

impl From<Sense> for Failure {
    fn from(sense: Sense) -> Self {
        Self::Check(sense)
    }
}

impl From<BadAddress> for Failure {
    fn from(bad: BadAddress) -> Self {
        Self::Memory(bad)
    }
}

/// What tells one disk from another.
#[derive(Debug, Clone, Default)]
pub struct DiskConfig {
    /// Logical unit number on the controller.
    pub lun: u8,
    /// Unit serial number; the world wide name is made of it too.
    pub serial: String,
}

/// A disk of 512-byte blocks with a write cache and thin provisioning.
pub struct Disk {
    backing: Box<dyn Backing>,
    config: DiskConfig,
    buffer: Vec<u8>,
}

impl Disk {
    /// A disk with the bytes of `backing`.
    pub fn new(backing: Box<dyn Backing>, config: DiskConfig) -> Self {
        Self { backing, config, buffer: vec![0; CHUNK] }
    }

    /// Logical unit number.
    pub fn lun(&self) -> u8 {
        self.config.lun
    }

    /// SHA-256 of `len` bytes from `at` on, in hexadecimal.
    pub fn hash(&mut self, at: u64, len: u64) -> Result<String, String> {
        if at.checked_add(len).is_none_or(|end| end > self.backing.size()) {
            return Err(format!("the disk has {} bytes", self.backing.size()));
        }
        let mut hash = Sha256::new();
        for piece in pieces(len) {
            let buf = &mut self.buffer[..piece.len()];
            self.backing.read_at(at + piece.start as u64, buf).map_err(|why| why.to_string())?;
            hash.update(buf);
        }
        Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Does a command; returns the number of bytes that the data phase moved.
    pub fn execute(&mut self, cdb: &[u8; CDB], data: &mut dyn Transfer) -> Result<usize, Failure> {
        match cdb[0] {
            op::TEST_UNIT_READY => Ok(0),
            op::REQUEST_SENSE if cdb[1] & REQUEST_DESCRIPTOR_SENSE != 0 => {
                Err(Sense::BAD_FIELD.into())
            }
            op::REQUEST_SENSE => reply(data, &Sense::NONE.bytes(), cdb[4].into()),
            op::INQUIRY => reply(data, &self.inquiry(cdb)?, be(cdb, 3, 2)),
            op::MODE_SENSE_6 => reply(data, &self.mode_sense(cdb)?, cdb[4].into()),
            op::MODE_SENSE_10 => reply(data, &self.mode_sense(cdb)?, be(cdb, 7, 2)),
            op::READ_CAPACITY_10 => self.read_capacity_10(data),
            op::SERVICE_ACTION_IN_16 if cdb[1] & 0x1f == READ_CAPACITY_16 => {
                reply(data, &self.read_capacity_16(), be(cdb, 10, 4))
            }
            op::SERVICE_ACTION_IN_16 => Err(Sense::BAD_FIELD.into()),
            op::READ_6 | op::READ_10 | op::READ_12 | op::READ_16 => self.read(cdb, data),
            op::WRITE_6 | op::WRITE_10 | op::WRITE_12 | op::WRITE_16 => self.write(cdb, data),
            op::VERIFY_10 | op::VERIFY_16 => self.verify(cdb, data),
            op::SYNCHRONIZE_CACHE_10 | op::SYNCHRONIZE_CACHE_16 => {
                self.span(cdb)?;
                self.flush()
            }
            op::START_STOP => self.flush(),
            op::WRITE_SAME_10 | op::WRITE_SAME_16 => self.write_same(cdb, data),
            op::UNMAP => self.unmap(cdb, data),
            _ => Err(Sense::UNKNOWN_OPCODE.into()),
        }
    }

    fn blocks(&self) -> u64 {
        self.backing.size() / BLOCK as u64
    }

    /// Byte offset and length of the blocks that a CDB names.
    fn span(&self, cdb: &[u8; CDB]) -> Result<(u64, u64), Sense> {
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
        Ok((lba * BLOCK as u64, count * BLOCK as u64))
    }

    fn flush(&mut self) -> Result<usize, Failure> {
        self.backing.flush().map_err(|_| Sense::WRITE_ERROR)?;
        Ok(0)
    }

    fn read(&mut self, cdb: &[u8; CDB], data: &mut dyn Transfer) -> Result<usize, Failure> {
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

    fn write(&mut self, cdb: &[u8; CDB], data: &mut dyn Transfer) -> Result<usize, Failure> {
        let (at, len) = self.span(cdb)?;
        no_protection(cdb)?;
        enough(data, len)?;
        for piece in pieces(len) {
            let buf = &mut self.buffer[..piece.len()];
            data.take(piece.start, buf)?;
            let to = at + piece.start as u64;
            self.backing.write_at(to, buf).map_err(|_| Sense::WRITE_ERROR)?;
        }
        if cdb[0] != op::WRITE_6 && cdb[1] & FORCE_UNIT_ACCESS != 0 {
            self.flush()?;
        }
        Ok(len as usize)
    }

    /// Checks that the blocks can be read, and with BYTCHK 1 that they hold what is sent.
    fn verify(&mut self, cdb: &[u8; CDB], data: &mut dyn Transfer) -> Result<usize, Failure> {
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

    fn write_same(&mut self, cdb: &[u8; CDB], data: &mut dyn Transfer) -> Result<usize, Failure> {
        let (at, len) = self.span(cdb)?;
        no_protection(cdb)?;
        if cdb[1] & ANCHOR != 0 || len == 0 || len > u64::from(MAX_UNMAP) * BLOCK as u64 {
            return Err(Sense::BAD_FIELD.into());
        }
        let mut block = [0; BLOCK];
        let no_data = cdb[0] == op::WRITE_SAME_16 && cdb[1] & NO_DATA_OUT != 0;
        let moved = if no_data { 0 } else { BLOCK };
        if !no_data {
            enough(data, BLOCK as u64)?;
            data.take(0, &mut block)?;
        }
        // Zeros need no UNMAP bit to cost nothing: that is what LBPRZ allows.
        if block == [0; BLOCK] {
            self.backing.zero_range(at, len).map_err(|_| Sense::WRITE_ERROR)?;
            return Ok(moved);
        }
        self.buffer.chunks_exact_mut(BLOCK).for_each(|chunk| chunk.copy_from_slice(&block));
        for piece in pieces(len) {
            let buf = &self.buffer[..piece.len()];
            let to = at + piece.start as u64;
            self.backing.write_at(to, buf).map_err(|_| Sense::WRITE_ERROR)?;
        }
        Ok(moved)
    }

    fn unmap(&mut self, cdb: &[u8; CDB], data: &mut dyn Transfer) -> Result<usize, Failure> {
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
        Ok(len)
    }

    fn read_capacity_10(&self, data: &mut dyn Transfer) -> Result<usize, Failure> {
        let last = self.blocks().saturating_sub(1);
        let mut out = [0; 8];
        // All ones sends the initiator to READ CAPACITY(16).
        put(&mut out, 0, &u32::try_from(last).unwrap_or(u32::MAX).to_be_bytes());
        put(&mut out, 4, &(BLOCK as u32).to_be_bytes());
        reply(data, &out, out.len() as u64)
    }

    fn read_capacity_16(&self) -> [u8; 32] {
        const PROVISIONED_THIN: u8 = 0x80;
        const UNMAPPED_READS_ZERO: u8 = 0x40;
        let mut out = [0; 32];
        put(&mut out, 0, &self.blocks().saturating_sub(1).to_be_bytes());
        put(&mut out, 8, &(BLOCK as u32).to_be_bytes());
        out[13] = PHYSICAL_EXPONENT;
        out[14] = PROVISIONED_THIN | UNMAPPED_READS_ZERO;
        out
    }

    fn inquiry(&self, cdb: &[u8; CDB]) -> Result<Vec<u8>, Sense> {
        if cdb[1] & EVPD != 0 {
            return self.vital_product_data(cdb[2]);
        }
        if cdb[2] != 0 {
            return Err(Sense::BAD_FIELD);
        }
        Ok(standard_inquiry(0).to_vec())
    }

    fn vital_product_data(&self, page: u8) -> Result<Vec<u8>, Sense> {
        const PAGES: [u8; 6] = [0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2];
        let body = match page {
            0x00 => PAGES.to_vec(),
            0x80 => self.config.serial.as_bytes().to_vec(),
            0x83 => self.identification(),
            0xb0 => block_limits().to_vec(),
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

    fn mode_sense(&self, cdb: &[u8; CDB]) -> Result<Vec<u8>, Sense> {
        const CHANGEABLE: u8 = 1;
        const SAVED: u8 = 3;
        const DPO_FUA: u8 = 0x10;
        let (control, page, subpage) = (cdb[2] >> 6, cdb[2] & 0x3f, cdb[3]);
        if control == SAVED {
            return Err(Sense::SAVING_UNSUPPORTED);
        }
        let mut caching = [0; 20];
        put(&mut caching, 0, &[MODE_CACHING, 18, 0x04]); // write cache enabled
        let mut task = [0; 12];
        put(&mut task, 0, &[MODE_CONTROL, 10, 0, 0x10]); // commands may be reordered
        let mut pages = Vec::new();
        for bytes in [caching.as_mut_slice(), &mut task] {
            if page != bytes[0] && page != MODE_ALL {
                continue;
            }
            if control == CHANGEABLE {
                bytes[2..].fill(0);
            }
            pages.extend_from_slice(bytes);
        }
        if pages.is_empty() || (subpage != 0 && (subpage, page) != (ALL_SUBPAGES, MODE_ALL)) {
            return Err(Sense::BAD_FIELD);
        }
        let mut descriptor = Vec::new();
        if cdb[1] & NO_BLOCK_DESCRIPTORS == 0 {
            let blocks = u32::try_from(self.blocks()).unwrap_or(u32::MAX);
            descriptor.extend(blocks.to_be_bytes());
            descriptor.extend((BLOCK as u32).to_be_bytes());
        }
        let (short, described) = (cdb[0] == op::MODE_SENSE_6, descriptor.len() as u8);
        // The length does not count its own bytes.
        let rest = descriptor.len() + pages.len() + if short { 3 } else { 6 };
        let header = match short {
            true => vec![rest as u8, 0, DPO_FUA, described],
            false => vec![0, rest as u8, 0, DPO_FUA, 0, 0, 0, described],
        };
        Ok([header, descriptor, pages].concat())
    }
}

/// Standard INQUIRY data; `peripheral` is 0 for a disk, 0x7f for no such logical unit.
pub fn standard_inquiry(peripheral: u8) -> [u8; 36] {
    const SPC_3: u8 = 5;
    const HIERARCHICAL_LUNS_FORMAT_2: u8 = 0x12;
    const COMMAND_QUEUE: u8 = 0x02;
    let mut out = [0; 36];
    put(&mut out, 0, &[peripheral, 0, SPC_3, HIERARCHICAL_LUNS_FORMAT_2, 36 - 5]);
    out[7] = COMMAND_QUEUE;
    put(&mut out, 8, b"Msft    Virtual Disk    1.0 ");
    out
}

/// Body of VPD page B0.
fn block_limits() -> [u8; 60] {
    const WRITE_SAME_NOT_ZERO: u8 = 1;
    const ALIGNMENT_VALID: u32 = 1 << 31;
    const PHYSICAL: u32 = 1 << PHYSICAL_EXPONENT;
    let mut out = [0; 60];
    out[0] = WRITE_SAME_NOT_ZERO;
    put(&mut out, 2, &(PHYSICAL as u16).to_be_bytes());
    let unmap = [MAX_UNMAP, MAX_UNMAP_DESCRIPTORS, PHYSICAL, ALIGNMENT_VALID];
    for (n, value) in unmap.into_iter().enumerate() {
        put(&mut out, 16 + 4 * n, &value.to_be_bytes());
    }
    put(&mut out, 32, &u64::from(MAX_UNMAP).to_be_bytes());
    out
}

/// A big-endian number of `n` bytes; `at` and `n` are the caller's, never the guest's.
fn be(bytes: &[u8], at: usize, n: usize) -> u64 {
    bytes[at..at + n].iter().fold(0, |value, &b| value << 8 | u64::from(b))
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Sends as much of `bytes` as the CDB allocates and the initiator has room for.
pub fn reply(data: &mut dyn Transfer, bytes: &[u8], allocated: u64) -> Result<usize, Failure> {
    let n = bytes.len().min(data.room()).min(usize::try_from(allocated).unwrap_or(usize::MAX));
    if n > 0 {
        data.give(0, &bytes[..n])?;
    }
    Ok(n)
}

/// Splits `len` bytes into what fits the buffer.
fn pieces(len: u64) -> impl Iterator<Item = Range<usize>> {
    let len = len as usize;
    (0..len).step_by(CHUNK).map(move |at| at..len.min(at + CHUNK))
}

/// The initiator must send, or have room for, all that its CDB names.
fn enough(data: &dyn Transfer, len: u64) -> Result<(), Sense> {
    if (data.room() as u64) < len {
        return Err(Sense::BAD_FIELD);
    }
    Ok(())
}

/// We have no protection information, so none may be asked for.
fn no_protection(cdb: &[u8; CDB]) -> Result<(), Sense> {
    // The 6-byte commands have LBA bits there.
    if cdb[0] >> 5 != 0 && cdb[1] & PROTECT != 0 {
        return Err(Sense::BAD_FIELD);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
