// SPDX-License-Identifier: GPL-2.0

//! Wrong answers on request: commands that fail, and answers that lie.

use zerocopy::FromBytes;

use super::{operation, srb_status, Message, Srb, CHECK_CONDITION, GOOD};
use crate::disk::{Sense, SENSE};

/// What is done to the answer of the next packets that match.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault {
    /// Matching packets that are left alone first.
    skip: u64,
    /// Matching packets that it is for.
    count: u64,
    operation: u32,
    opcode: Option<u8>,
    lun: Option<u8>,
    /// The packet is not done at all.
    pub instead: bool,
    srb: Option<u8>,
    scsi: Option<u8>,
    sense: Option<Sense>,
    sense_length: Option<u8>,
    /// The sense data as they are.
    raw: Option<Vec<u8>>,
    data: Option<Length>,
    /// Status of the packet.
    host: Option<u32>,
    /// Operation of the answer.
    answer: Option<u32>,
}

/// A length of data that the answer claims.
#[derive(Debug, Clone, Copy)]
enum Length {
    Exactly(u32),
    /// More than the command asked for.
    More(u32),
}

impl Fault {
    /// Reads `COUNT [SRB_STATUS [SCSI_STATUS]] [KEY/ASC/ASCQ]` and any of `op=`, `opcode=`, `lun=`,
    /// `skip=` (which packets), `host=`, `answer=`, `data=[+]`, `sense=` (its length), `bytes=` (sense
    /// data as they are): what is answered. `count`, `lun`, `skip` and `data` are decimal, the rest is hexadecimal.
    pub(super) fn parse(instead: bool, words: &[&str]) -> Result<Self, String> {
        let [count, words @ ..] = words else { return Err("how many commands?".into()) };
        let mut fault = Self { instead, operation: operation::EXECUTE_SRB, ..Self::default() };
        fault.count = decimal(count)?;
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                match (word.contains('/'), fault.srb) {
                    (true, _) => fault.sense = Some(sense(word)?),
                    (_, None) => fault.srb = Some(byte(word)?),
                    _ => fault.scsi = Some(byte(word)?),
                }
                continue;
            };
            match name {
                "op" => fault.operation = hex(value)?,
                "opcode" => fault.opcode = Some(byte(value)?),
                "lun" => fault.lun = Some(decimal(value)?),
                "skip" => fault.skip = decimal(value)?,
                "host" => fault.host = Some(hex(value)?),
                "answer" => fault.answer = Some(hex(value)?),
                "bytes" => fault.raw = Some(bytes(value)?),
                "sense" => fault.sense_length = Some(byte(value)?),
                "data" => {
                    fault.data = Some(match value.strip_prefix('+') {
                        Some(more) => Length::More(decimal(more)?),
                        None => Length::Exactly(decimal(value)?),
                    });
                }
                _ => return Err(format!("unknown part of a fault: {word}")),
            }
        }
        if instead && fault.operation == operation::EXECUTE_SRB {
            // What a disk that fails would say.
            let (srb, scsi) = match fault.sense {
                Some(_) => (srb_status::ERROR | srb_status::AUTOSENSE_VALID, CHECK_CONDITION),
                None => (srb_status::ERROR, GOOD),
            };
            fault.srb.get_or_insert(srb);
            fault.scsi.get_or_insert(scsi);
            fault.sense_length.get_or_insert(if fault.sense.is_some() { SENSE as u8 } else { 0 });
            fault.data.get_or_insert(Length::Exactly(0));
        }
        Ok(fault)
    }

    fn matches(&self, operation: u32, srb: &Srb) -> bool {
        operation == self.operation
            && self.opcode.is_none_or(|code| code == srb.cdb[0])
            && self.lun.is_none_or(|lun| lun == srb.lun)
    }

    /// Makes `answer`, the answer to `asked`, the wrong one.
    pub(super) fn apply(&self, asked: &Message, answer: &mut Message) {
        answer.operation = self.answer.map_or(answer.operation, Into::into);
        answer.status = self.host.map_or(answer.status, Into::into);
        if self.operation != operation::EXECUTE_SRB {
            return;
        }
        let Ok((before, _)) = Srb::ref_from_prefix(&asked.payload) else { return };
        let Ok((srb, _)) = Srb::mut_from_prefix(&mut answer.payload) else { return };
        srb.srb_status = self.srb.unwrap_or(srb.srb_status);
        srb.scsi_status = self.scsi.unwrap_or(srb.scsi_status);
        srb.sense_length = self.sense_length.unwrap_or(srb.sense_length);
        if let Some(sense) = self.sense {
            srb.cdb[..SENSE].copy_from_slice(&sense.bytes());
        }
        if let Some(raw) = &self.raw {
            srb.cdb.fill(0);
            srb.cdb.iter_mut().zip(raw).for_each(|(to, from)| *to = *from);
        }
        match self.data {
            Some(Length::Exactly(bytes)) => srb.data_length = bytes.into(),
            Some(Length::More(bytes)) => {
                srb.data_length = before.data_length.get().saturating_add(bytes).into();
            }
            None => {}
        }
    }
}

/// The faults that are still to come, oldest first.
#[derive(Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many packets will still be answered wrongly.
    pub(super) fn left(&self) -> u64 {
        self.0.iter().fold(0, |sum, fault| sum.saturating_add(fault.count))
    }

    /// The fault for this packet, if there is one. It is counted off.
    pub(super) fn pick(&mut self, message: &Message) -> Option<Fault> {
        let (srb, _) = Srb::ref_from_prefix(&message.payload).ok()?;
        let operation = message.operation.get();
        let index = self.0.iter().position(|fault| fault.matches(operation, srb))?;
        let fault = self.0.get_mut(index)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.count = fault.count.saturating_sub(1);
        let picked = fault.clone();
        self.0.retain(|fault| fault.count > 0);
        Some(picked)
    }
}

fn decimal<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

/// A hexadecimal number.
pub(super) fn hex(word: &str) -> Result<u32, String> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    u32::from_str_radix(digits, 16).map_err(|_| format!("not a hexadecimal number: {word}"))
}

fn byte(word: &str) -> Result<u8, String> {
    u8::try_from(hex(word)?).map_err(|_| format!("more than a byte: {word}"))
}

/// Bytes in hexadecimal, two digits each.
fn bytes(word: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u32>> = word.chars().map(|digit| digit.to_digit(16)).collect();
    match digits.as_deref() {
        Some(digits) if digits.len() % 2 == 0 => {
            Ok(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
        }
        _ => Err(format!("no bytes in hexadecimal: {word}")),
    }
}

/// `KEY/ASC/ASCQ`.
pub(super) fn sense(word: &str) -> Result<Sense, String> {
    Sense::parse(word).ok_or_else(|| format!("{word} is not KEY/ASC/ASCQ"))
}
