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
mod tests {
    use super::*;

    const BLOCKS: u64 = 4096;

    /// A data phase in a vector, for either direction.
    struct Data(Vec<u8>);

    impl Transfer for Data {
        fn room(&self) -> usize {
            self.0.len()
        }

        fn give(&mut self, at: usize, from: &[u8]) -> Result<(), Failure> {
            put(&mut self.0, at, from);
            Ok(())
        }

        fn take(&mut self, at: usize, into: &mut [u8]) -> Result<(), Failure> {
            into.copy_from_slice(&self.0[at..at + into.len()]);
            Ok(())
        }
    }

    fn disk() -> Disk {
        let backing = MemoryBacking::new(BLOCKS * BLOCK as u64);
        Disk::new(Box::new(backing), DiskConfig { lun: 0, serial: "S1".into() })
    }

    fn cdb(bytes: &[u8]) -> [u8; CDB] {
        let mut out = [0; CDB];
        put(&mut out, 0, bytes);
        out
    }

    /// A command with data in; returns the data.
    fn ask(disk: &mut Disk, bytes: &[u8], room: usize) -> Result<Vec<u8>, Failure> {
        let mut data = Data(vec![0xee; room]);
        let n = disk.execute(&cdb(bytes), &mut data)?;
        data.0.truncate(n);
        Ok(data.0)
    }

    /// A command with data out; returns how much was taken.
    fn tell(disk: &mut Disk, bytes: &[u8], data: &[u8]) -> Result<usize, Failure> {
        disk.execute(&cdb(bytes), &mut Data(data.to_vec()))
    }

    fn check(key: u8, code: u16) -> Failure {
        Failure::Check(Sense::new(key, code))
    }

    fn pattern(len: usize, seed: usize) -> Vec<u8> {
        (0..len).map(|i| ((i * 7 + i / 512 + seed) % 251 + 1) as u8).collect()
    }

    #[test]
    fn all_sizes_of_read_and_write_agree() {
        let mut disk = disk();
        let writes: [&[u8]; 4] = [
            &[op::WRITE_6, 0, 0, 8, 2],
            &[op::WRITE_10, 0, 0, 0, 0, 10, 0, 0, 2],
            &[op::WRITE_12, 0, 0, 0, 0, 12, 0, 0, 0, 2],
            &[op::WRITE_16, 0x08, 0, 0, 0, 0, 0, 0, 0, 14, 0, 0, 0, 2],
        ];
        let all = pattern(8 * BLOCK, 0);
        for (write, data) in writes.iter().zip(all.chunks(2 * BLOCK)) {
            assert_eq!(tell(&mut disk, write, data), Ok(2 * BLOCK));
        }
        let reads: [&[u8]; 4] = [
            &[op::READ_6, 0, 0, 8, 8],
            &[op::READ_10, 0, 0, 0, 0, 8, 0, 0, 8],
            &[op::READ_12, 0, 0, 0, 0, 8, 0, 0, 0, 8],
            &[op::READ_16, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8],
        ];
        for read in reads {
            assert!(ask(&mut disk, read, 8 * BLOCK).unwrap() == all);
        }
        // READ(6) of 0 blocks reads 256.
        assert_eq!(ask(&mut disk, &[op::READ_6, 0, 0, 0, 0], 1 << 20).unwrap().len(), 256 * BLOCK);
    }

    #[test]
    fn long_transfers_cross_chunks() {
        let mut disk = disk();
        let data = pattern(600 * BLOCK, 3);
        tell(&mut disk, &[op::WRITE_10, 0, 0, 0, 0, 77, 0, 2, 88], &data).unwrap();
        let back = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 77, 0, 2, 88], data.len()).unwrap();
        assert!(back == data);
        let verify = [op::VERIFY_10, 0x02, 0, 0, 0, 77, 0, 2, 88];
        assert_eq!(tell(&mut disk, &verify, &data), Ok(data.len()));
        assert_eq!(tell(&mut disk, &verify, &pattern(600 * BLOCK, 4)), Err(check(0xe, 0x1d00)));
        let verify = [op::VERIFY_16, 0, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 2, 88];
        assert_eq!(tell(&mut disk, &verify, &[]), Ok(0));
        let hex: String = Sha256::digest(&data).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(disk.hash(77 * 512, 600 * 512), Ok(hex));
        assert!(disk.hash(BLOCKS * 512, 1).is_err());
        assert!(disk.hash(u64::MAX, u64::MAX).is_err());
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let mut disk = disk();
        let range = Err(check(5, 0x2100));
        let mut big = [0xff; CDB];
        for code in [op::READ_16, op::WRITE_16, op::VERIFY_16, op::WRITE_SAME_16] {
            (big[0], big[1]) = (code, 0);
            assert_eq!(tell(&mut disk, &big, &[0; BLOCK]), range);
        }
        assert_eq!(tell(&mut disk, &[op::READ_10, 0, 0, 0, 0x0f, 0xff, 0, 0, 2], &[]), range);
        assert_eq!(tell(&mut disk, &[op::READ_10, 0, 0, 0, 0x10, 0, 0, 0, 0], &[]), Ok(0));
        let sync = [op::SYNCHRONIZE_CACHE_10, 0, 0, 0, 0x10, 1];
        assert_eq!(tell(&mut disk, &sync, &[]), range);
        // Less room than the CDB names, protection information, unknown commands.
        let field = Err(check(5, 0x2400));
        assert_eq!(
            ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 2], 1023),
            Err(check(5, 0x2400))
        );
        assert_eq!(tell(&mut disk, &[op::WRITE_10, 0x20, 0, 0, 0, 0, 0, 0, 1], &[0; 512]), field);
        assert_eq!(tell(&mut disk, &[op::SERVICE_ACTION_IN_16, 0x12], &[]), field);
        for code in [0x15, 0x1e, 0x7f, 0xa3, 0xff] {
            assert_eq!(tell(&mut disk, &[code], &[]), Err(check(5, 0x2000)), "{code:#x}");
        }
        let sense = Sense::LBA_OUT_OF_RANGE.bytes();
        assert_eq!((sense[0], sense[2], sense[7], sense[12], sense[13]), (0x70, 5, 10, 0x21, 0));
    }

    #[test]
    fn unmapped_blocks_read_as_zeros() {
        let mut disk = disk();
        let data = pattern(512 * BLOCK, 0);
        tell(&mut disk, &[op::WRITE_10, 0, 0, 0, 0, 0, 0, 2, 0], &data).unwrap();
        // Blocks 3..203, more than a chunk, and 500..501; the second half-descriptor is ignored.
        let mut list = vec![0; 8 + 32 + 4];
        put(&mut list, 0, &[0, 42, 0, 36]);
        put(&mut list, 8, &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 200]);
        put(&mut list, 24, &[0, 0, 0, 0, 0, 0, 1, 0xf4, 0, 0, 0, 1]);
        let unmap = [op::UNMAP, 0, 0, 0, 0, 0, 0, 0, list.len() as u8];
        assert_eq!(tell(&mut disk, &unmap, &list), Ok(list.len()));
        let back = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 0, 0, 2, 0], data.len()).unwrap();
        for (n, (new, old)) in back.chunks(BLOCK).zip(data.chunks(BLOCK)).enumerate() {
            let gone = (3..203).contains(&n) || n == 500;
            assert!(if gone { new == [0; BLOCK] } else { new == old }, "block {n}");
        }
        // A bad descriptor leaves all as it was; limits; a list without a header.
        put(&mut list, 24, &[0xff; 12]);
        put(&mut list, 8, &[0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(tell(&mut disk, &unmap, &list), Err(check(5, 0x2100)));
        let first = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1], BLOCK).unwrap();
        assert!(first == data[..BLOCK]);
        assert_eq!(
            tell(&mut disk, &[op::UNMAP, 0, 0, 0, 0, 0, 0, 0, 4], &[0; 4]),
            Err(check(5, 0x1a00))
        );
        let mut many = vec![0; 8 + 257 * 16];
        put(&mut many, 2, &(257u16 * 16).to_be_bytes());
        let unmap = [op::UNMAP, 0, 0, 0, 0, 0, 0, 0x10, 0x18];
        assert_eq!(tell(&mut disk, &unmap, &many), Err(check(5, 0x2600)));
    }

    #[test]
    fn write_same_repeats_a_block() {
        let mut disk = disk();
        let block = pattern(BLOCK, 9);
        let same = [op::WRITE_SAME_10, 0, 0, 0, 0, 5, 0, 1, 0];
        assert_eq!(tell(&mut disk, &same, &block), Ok(BLOCK));
        let back = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 4, 0, 1, 2], 258 * BLOCK).unwrap();
        assert!(back[BLOCK..257 * BLOCK].chunks(BLOCK).all(|b| b == block));
        assert!(back[..BLOCK] == [0; BLOCK] && back[257 * BLOCK..] == [0; BLOCK]);
        // UNMAP and NDOB: zeros without data.
        let same = [op::WRITE_SAME_16, 0x09, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 1, 0];
        assert_eq!(tell(&mut disk, &same, &[]), Ok(0));
        let back = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 4, 0, 1, 2], 258 * BLOCK).unwrap();
        assert!(back.iter().all(|&b| b == 0));
        // Zero blocks (WSNZ), the anchor, no data where there must be some.
        let same = [op::WRITE_SAME_16, 0x01];
        assert_eq!(tell(&mut disk, &same, &[]), Err(check(5, 0x2400)));
        let same = [op::WRITE_SAME_10, 0x10, 0, 0, 0, 5, 0, 0, 1];
        assert_eq!(tell(&mut disk, &same, &block), Err(check(5, 0x2400)));
        let same = [op::WRITE_SAME_10, 0, 0, 0, 0, 5, 0, 0, 1];
        assert_eq!(tell(&mut disk, &same, &[]), Err(check(5, 0x2400)));
    }

    #[test]
    fn identity_and_limits() {
        let mut disk = disk();
        let inquiry = ask(&mut disk, &[op::INQUIRY, 0, 0, 0, 255], 255).unwrap();
        assert_eq!(&inquiry[8..], b"Msft    Virtual Disk    1.0 ");
        assert_eq!((inquiry[0], inquiry[2], inquiry[4] as usize + 5), (0, 5, inquiry.len()));
        let mut vpd = |page| ask(&mut disk, &[op::INQUIRY, 1, page, 0, 255], 255);
        for &page in &vpd(0).unwrap()[4..] {
            let bytes = vpd(page).unwrap();
            assert_eq!((bytes[1], be(&bytes, 2, 2) as usize + 4), (page, bytes.len()));
        }
        assert_eq!(vpd(0x80).unwrap()[4..], *b"S1");
        assert_eq!(vpd(0x83).unwrap()[4..12], [1, 3, 0, 16, 0x60, 0x02, 0x24, 0x80]);
        let limits = vpd(0xb0).unwrap();
        assert_eq!(limits.len(), 64);
        assert_eq!((be(&limits, 20, 4), be(&limits, 24, 4)), (4 << 20, 256));
        assert_eq!((be(&limits, 28, 4), be(&limits, 36, 8)), (8, 4 << 20));
        assert_eq!(vpd(0xb1).unwrap()[4..6], [0, 1]);
        assert_eq!(vpd(0xb2).unwrap()[5], 0xe4);
        assert_eq!(vpd(0xb9), Err(check(5, 0x2400)));
        // Truncated by the CDB, and by the room.
        assert_eq!(ask(&mut disk, &[op::INQUIRY, 0, 0, 0, 4], 255).unwrap().len(), 4);
        assert_eq!(ask(&mut disk, &[op::INQUIRY, 0, 0, 0, 255], 5).unwrap().len(), 5);
        assert_eq!(ask(&mut disk, &[op::INQUIRY, 0, 1], 5), Err(check(5, 0x2400)));

        let short = ask(&mut disk, &[op::READ_CAPACITY_10], 8).unwrap();
        assert_eq!((be(&short, 0, 4), be(&short, 4, 4)), (BLOCKS - 1, 512));
        let mut long = [op::SERVICE_ACTION_IN_16, 0x10].to_vec();
        long.resize(14, 0);
        long[13] = 32;
        let long = ask(&mut disk, &long, 32).unwrap();
        assert_eq!((be(&long, 0, 8), long[13], long[14]), (BLOCKS - 1, 3, 0xc0));
        assert_eq!(ask(&mut disk, &[op::REQUEST_SENSE, 0, 0, 0, 18], 18).unwrap()[0], 0x70);
    }

    #[test]
    fn mode_pages() {
        let mut disk = disk();
        let page = ask(&mut disk, &[op::MODE_SENSE_6, 0, 0x08, 0, 255], 255).unwrap();
        assert_eq!((page.len(), page[0], page[2], page[3]), (32, 31, 0x10, 8));
        assert_eq!(page[12..15], [0x08, 18, 0x04]);
        let all = [op::MODE_SENSE_10, 8, 0x3f, 0, 0, 0, 0, 0, 255];
        let page = ask(&mut disk, &all, 255).unwrap();
        assert_eq!((page.len(), page[1], page[3], page[7]), (40, 38, 0x10, 0));
        assert_eq!((page[8], page[28]), (0x08, 0x0a));
        let page = ask(&mut disk, &[op::MODE_SENSE_6, 8, 0x48, 0, 255], 255).unwrap();
        assert_eq!(page[4..7], [0x08, 18, 0]);
        let mut refused =
            |cdb: &[u8], code| assert_eq!(ask(&mut disk, cdb, 64), Err(check(5, code)));
        refused(&[op::MODE_SENSE_6, 0, 0x1c, 0, 64], 0x2400);
        refused(&[op::MODE_SENSE_6, 0, 0x08, 1, 64], 0x2400);
        refused(&[op::MODE_SENSE_6, 0, 0xc8, 0, 64], 0x3900);
    }

    #[test]
    fn memory_backing_keeps_its_bounds() {
        let mut backing = MemoryBacking::new(1000);
        backing.write_at(990, &[1; 10]).unwrap();
        assert!(backing.write_at(991, &[1; 10]).is_err());
        assert!(backing.read_at(u64::MAX, &mut [0; 2]).is_err());
        assert!(backing.zero_range(1, u64::MAX).is_err());
        let mut buf = [0xff; 12];
        backing.read_at(988, &mut buf).unwrap();
        assert_eq!(buf, [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    }
}
