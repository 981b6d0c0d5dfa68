// SPDX-License-Identifier: GPL-2.0

//! A SCSI disk: what it answers to each command, and what that does to its bytes.
//!
//! The disk knows nothing of VMBus. A command comes as 16 CDB bytes and a [`Transfer`], the data
//! phase; it ends with the number of bytes moved or with a [`Failure`]. Numbers of rows and fields
//! are those of SPC-4 and SBC-3.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use crate::memory::BadAddress;

mod backing;
mod blocks;
mod cache;
mod config;
mod dvd;
mod identity;
mod mode;
mod reservation;

pub use backing::{Backing, CopyBacking, MemoryBacking};
pub use cache::WriteCache;
pub use config::{parse_size, Address, DiskConfig};
use dvd::Tray;
pub use identity::standard_inquiry;
use mode::Mode;
use reservation::{Nexus, Reservations};

/// Bytes of a CDB, zeros behind a shorter one.
pub const CDB: usize = 16;
/// Bytes of fixed-format sense data.
pub const SENSE: usize = 18;

/// How many bytes are copied at a time between the backing and the guest; a whole number of blocks
/// of any size.
const CHUNK: usize = 64 << 10;

/// Operation codes.
pub mod op {
    #![allow(missing_docs)]
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const READ_6: u8 = 0x08;
    pub const WRITE_6: u8 = 0x0a;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SELECT_6: u8 = 0x15;
    pub const MODE_SENSE_6: u8 = 0x1a;
    pub const START_STOP: u8 = 0x1b;
    pub const SEND_DIAGNOSTIC: u8 = 0x1d;
    pub const PREVENT_ALLOW: u8 = 0x1e;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const WRITE_10: u8 = 0x2a;
    pub const VERIFY_10: u8 = 0x2f;
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub const WRITE_SAME_10: u8 = 0x41;
    pub const UNMAP: u8 = 0x42;
    pub const READ_TOC: u8 = 0x43;
    pub const GET_CONFIGURATION: u8 = 0x46;
    pub const GET_EVENT_STATUS: u8 = 0x4a;
    pub const MODE_SELECT_10: u8 = 0x55;
    pub const MODE_SENSE_10: u8 = 0x5a;
    pub const PERSISTENT_RESERVE_IN: u8 = 0x5e;
    pub const PERSISTENT_RESERVE_OUT: u8 = 0x5f;
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

// Service actions of SERVICE ACTION IN(16).
const READ_CAPACITY_16: u8 = 0x10;
const GET_LBA_STATUS: u8 = 0x12;

// Bits of byte 1 of a CDB.
const REQUEST_DESCRIPTOR_SENSE: u8 = 0x01;
const SELF_TEST: u8 = 0x04;
/// All the fields of SEND DIAGNOSTIC but SELFTEST, DEVOFFL and UNITOFFL.
const OTHER_DIAGNOSTICS: u8 = 0xf8;
// Byte 4 of START STOP UNIT.
const LOAD_EJECT: u8 = 0x02;

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
    const NO_MEDIUM: Self = Self::new(0x2, 0x3a00);
    const WRITE_ERROR: Self = Self::new(0x3, 0x0c00);
    const READ_ERROR: Self = Self::new(0x3, 0x1100);
    const PARAMETER_LENGTH: Self = Self::new(0x5, 0x1a00);
    const UNKNOWN_OPCODE: Self = Self::new(0x5, 0x2000);
    const LBA_OUT_OF_RANGE: Self = Self::new(0x5, 0x2100);
    /// INVALID FIELD IN CDB.
    pub const BAD_FIELD: Self = Self::new(0x5, 0x2400);
    const BAD_PARAMETER: Self = Self::new(0x5, 0x2600);
    const INVALID_RELEASE: Self = Self::new(0x5, 0x2604);
    const SAVING_UNSUPPORTED: Self = Self::new(0x5, 0x3900);
    const REMOVAL_PREVENTED: Self = Self::new(0x5, 0x5302);
    const MEDIUM_CHANGED: Self = Self::new(0x6, 0x2800);
    const RESERVATIONS_PREEMPTED: Self = Self::new(0x6, 0x2a03);
    const RESERVATIONS_RELEASED: Self = Self::new(0x6, 0x2a04);
    const REGISTRATIONS_PREEMPTED: Self = Self::new(0x6, 0x2a05);
    /// CAPACITY DATA HAS CHANGED.
    pub const CAPACITY_CHANGED: Self = Self::new(0x6, 0x2a09);
    const WRITE_PROTECTED: Self = Self::new(0x7, 0x2700);
    const SOFTWARE_WRITE_PROTECTED: Self = Self::new(0x7, 0x2702);
    const MISCOMPARE: Self = Self::new(0xe, 0x1d00);

    /// Sense data with this key, additional code and qualifier.
    pub const fn new(key: u8, code: u16) -> Self {
        Self { key, code }
    }

    /// Reads `KEY/ASC/ASCQ`, each in hexadecimal.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('/').map(|field| u8::from_str_radix(field, 16).ok());
        let sense = match (fields.next()??, fields.next()??, fields.next()??) {
            (key @ 0..=0xf, asc, ascq) => Self::new(key, u16::from_be_bytes([asc, ascq])),
            _ => return None,
        };
        fields.next().is_none().then_some(sense)
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
    /// Another initiator has a reservation: RESERVATION CONFLICT.
    Conflict,
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

/// A disk with a write cache and thin provisioning.
pub struct Disk {
    backing: Box<dyn Backing>,
    config: DiskConfig,
    buffer: Vec<u8>,
    mode: Mode,
    reservations: Reservations,
    tray: Tray,
    /// Unit attentions that the initiator has not heard of yet.
    attention: VecDeque<Sense>,
    flushes: u64,
}

impl Disk {
    /// A disk with the bytes of `backing`.
    pub fn new(backing: Box<dyn Backing>, config: DiskConfig) -> Self {
        Self {
            backing,
            config,
            buffer: vec![0; CHUNK],
            mode: Mode::default(),
            reservations: Reservations::default(),
            tray: Tray::default(),
            attention: VecDeque::new(),
            flushes: 0,
        }
    }

    /// Where it is on the controller.
    pub fn address(&self) -> Address {
        self.config.address
    }

    /// How often its bytes were made durable: on request, or after each write without write cache.
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// SHA-256 of `len` bytes from `at` on, in hexadecimal.
    pub fn hash(&mut self, at: u64, len: u64) -> Result<String, String> {
        if at.checked_add(len).is_none_or(|end| end > self.backing.size()) {
            return Err(format!("the disk has {} bytes", self.backing.size()));
        }
        let mut hash = Sha256::new();
        for piece in blocks::pieces(len) {
            let buf = &mut self.buffer[..piece.len()];
            self.backing.read_at(at + piece.start as u64, buf).map_err(|why| why.to_string())?;
            hash.update(buf);
        }
        Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Gives it another size, which the initiator learns by a unit attention.
    pub fn resize(&mut self, size: u64) -> Result<(), String> {
        if size == 0 || !size.is_multiple_of(self.block()) {
            return Err(format!("{size} bytes are not a whole number of blocks"));
        }
        self.backing.resize(size).map_err(|why| why.to_string())?;
        self.attend(Sense::CAPACITY_CHANGED);
        Ok(())
    }

    /// The next command fails with this, and only it.
    pub fn attend(&mut self, sense: Sense) {
        if !self.attention.contains(&sense) {
            self.attention.push_back(sense);
        }
    }

    /// PERSISTENT RESERVE OUT of another initiator, as words of the control line.
    pub fn rival(&mut self, words: &[&str]) -> Result<(), String> {
        let heard = self.reservations.rival(words)?;
        heard.into_iter().for_each(|sense| self.attend(sense));
        Ok(())
    }

    /// Does a command; returns the number of bytes that the data phase moved.
    pub fn execute(&mut self, cdb: &[u8; CDB], data: &mut dyn Transfer) -> Result<usize, Failure> {
        if !matches!(cdb[0], op::INQUIRY | op::REPORT_LUNS | op::REQUEST_SENSE) {
            if let Some(sense) = self.attention.pop_front() {
                return Err(sense.into());
            }
        }
        if self.config.dvd {
            if let Some(moved) = self.dvd(cdb, data)? {
                return Ok(moved);
            }
        }
        if self.reservations.forbid(Nexus::Guest, cdb) {
            return Err(Failure::Conflict);
        }
        if blocks::is_write(cdb[0]) {
            self.writable()?;
        }
        match cdb[0] {
            op::TEST_UNIT_READY => Ok(0),
            op::REQUEST_SENSE if cdb[1] & REQUEST_DESCRIPTOR_SENSE != 0 => {
                Err(Sense::BAD_FIELD.into())
            }
            op::REQUEST_SENSE => {
                let sense = self.attention.pop_front().unwrap_or(Sense::NONE);
                reply(data, &sense.bytes(), cdb[4].into())
            }
            op::INQUIRY => reply(data, &self.inquiry(cdb)?, be(cdb, 3, 2)),
            op::MODE_SENSE_6 => reply(data, &self.mode_sense(cdb)?, cdb[4].into()),
            op::MODE_SENSE_10 => reply(data, &self.mode_sense(cdb)?, be(cdb, 7, 2)),
            op::MODE_SELECT_6 | op::MODE_SELECT_10 => self.mode_select(cdb, data),
            op::READ_CAPACITY_10 => self.read_capacity_10(data),
            op::SERVICE_ACTION_IN_16 => match cdb[1] & 0x1f {
                READ_CAPACITY_16 => reply(data, &self.read_capacity_16(), be(cdb, 10, 4)),
                GET_LBA_STATUS => reply(data, &self.lba_status(cdb)?, be(cdb, 10, 4)),
                _ => Err(Sense::BAD_FIELD.into()),
            },
            op::READ_6 | op::READ_10 | op::READ_12 | op::READ_16 => self.read(cdb, data),
            op::WRITE_6 | op::WRITE_10 | op::WRITE_12 | op::WRITE_16 => self.write(cdb, data),
            op::VERIFY_10 | op::VERIFY_16 => self.verify(cdb, data),
            op::SYNCHRONIZE_CACHE_10 | op::SYNCHRONIZE_CACHE_16 => {
                self.span(cdb)?;
                self.flush()
            }
            // As on Hyper-V the disk is always ready; nothing can be ejected from it.
            op::START_STOP if cdb[4] & LOAD_EJECT != 0 => Err(Sense::BAD_FIELD.into()),
            op::START_STOP => self.flush(),
            op::SEND_DIAGNOSTIC => {
                // The default self-test, which is always passed, and nothing else.
                let wrong = cdb[1] & OTHER_DIAGNOSTICS != 0 || cdb[1] & SELF_TEST == 0;
                if wrong || be(cdb, 3, 2) != 0 {
                    return Err(Sense::BAD_FIELD.into());
                }
                Ok(0)
            }
            op::WRITE_SAME_10 | op::WRITE_SAME_16 => self.write_same(cdb, data),
            op::UNMAP => self.unmap(cdb, data),
            op::PERSISTENT_RESERVE_IN => {
                reply(data, &self.reservations.report(cdb)?, be(cdb, 7, 2))
            }
            op::PERSISTENT_RESERVE_OUT => self.reserve(cdb, data),
            _ => Err(Sense::UNKNOWN_OPCODE.into()),
        }
    }

    fn writable(&self) -> Result<(), Sense> {
        match (self.config.read_only, self.mode.software_write_protect) {
            (true, _) => Err(Sense::WRITE_PROTECTED),
            _ if self.config.dvd => Err(Sense::WRITE_PROTECTED),
            (_, true) => Err(Sense::SOFTWARE_WRITE_PROTECTED),
            _ => Ok(()),
        }
    }

    fn reserve(&mut self, cdb: &[u8; CDB], data: &mut dyn Transfer) -> Result<usize, Failure> {
        let len = be(cdb, 5, 4);
        if len != reservation::PARAMETERS as u64 {
            return Err(Sense::PARAMETER_LENGTH.into());
        }
        enough(data, len)?;
        let mut list = [0; reservation::PARAMETERS];
        data.take(0, &mut list)?;
        self.reservations.change(Nexus::Guest, cdb, &list)?;
        Ok(list.len())
    }
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

/// The initiator must send, or have room for, all that its CDB names.
fn enough(data: &dyn Transfer, len: u64) -> Result<(), Sense> {
    if (data.room() as u64) < len {
        return Err(Sense::BAD_FIELD);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
