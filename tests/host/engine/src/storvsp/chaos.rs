// SPDX-License-Identifier: GPL-2.0

//! Answers of a host that has lost its mind: at random, by a seed.
//!
//! Commands are done as they should be; what is wrong is how, when and how often they are answered,
//! and what comes besides. A failure is never answered as a success.

use zerocopy::{FromBytes, IntoBytes};

use super::{operation, srb_status, Message, Srb, CHECK_CONDITION};
use crate::fault::Rng;

/// At most so many commands wait for an answer that does not come.
const MOST_UNANSWERED: usize = 16;
/// Bytes of the longest answer.
const LONGEST: u64 = 256;

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Madness {
    /// SRB status, SCSI status and sense data of any kind.
    Failure,
    /// Another number of bytes was transferred.
    Length,
    /// The packet has another status.
    Status,
    /// It is no answer to a command.
    Operation,
    /// It is cut off.
    Short,
    /// There is more behind it.
    Long,
    /// It comes twice.
    Twice,
    /// It comes late.
    Late,
    /// It comes, and once more when its number may be another command's.
    Again,
    /// It does not come until the madness ends.
    Never,
    /// Before it, something comes that answers nothing that was asked.
    Unknown,
    /// Before it, an event comes.
    Event,
}

impl Madness {
    const ALL: [Self; 12] = [
        Self::Failure,
        Self::Length,
        Self::Status,
        Self::Operation,
        Self::Short,
        Self::Long,
        Self::Twice,
        Self::Late,
        Self::Again,
        Self::Never,
        Self::Unknown,
        Self::Event,
    ];

    /// The name of its counter.
    pub fn name(self) -> String {
        format!("mad_{self:?}").to_lowercase()
    }
}

/// Which commands are answered how.
pub(super) struct Chaos {
    rng: Rng,
    /// Of 1000 commands.
    rate: u64,
    lun: Option<u8>,
    /// Answers that do not come: channel, number, bytes.
    pub unanswered: Vec<(usize, u64, Vec<u8>)>,
}

impl Chaos {
    /// Of 1000 commands (for this disk) so many are answered in a mad way.
    pub fn new(rate: u64, seed: u64, lun: Option<u8>) -> Self {
        Self { rng: Rng::new(seed), rate, lun, unanswered: Vec::new() }
    }

    /// What happens to the answer to this packet.
    pub fn pick(&mut self, asked: &Message) -> Option<Madness> {
        let (srb, _) = Srb::ref_from_prefix(&asked.payload).ok()?;
        if asked.operation.get() != operation::EXECUTE_SRB
            || self.lun.is_some_and(|lun| lun != srb.lun)
            || self.rng.below(1000) >= self.rate
        {
            return None;
        }
        let picked = Madness::ALL[self.rng.below(Madness::ALL.len() as u64) as usize];
        let full = picked == Madness::Never && self.unanswered.len() >= MOST_UNANSWERED;
        Some(if full { Madness::Late } else { picked })
    }

    /// Some milliseconds.
    pub fn ms(&mut self) -> u64 {
        1 + self.rng.below(300)
    }

    /// A number that looks like one of the guest's, or does not.
    pub fn id(&mut self, like: u64) -> u64 {
        match self.rng.below(4) {
            0 => self.rng.number(),
            1 => like ^ 1 << self.rng.below(64),
            2 => like.wrapping_add(1 << 32),
            _ => self.rng.below(4096),
        }
    }

    /// An event, known or not.
    pub fn event(&mut self) -> Vec<u8> {
        let operation = match self.rng.below(4) {
            0 => self.rng.number() as u32,
            1 => operation::REMOVE_DEVICE,
            _ => self.rng.below(16) as u32,
        };
        let mut bytes = operation.to_le_bytes().to_vec();
        let len = self.rng.below(LONGEST) as usize;
        bytes.resize_with(len.max(4), || self.rng.number() as u8);
        bytes
    }

    /// The bytes of an answer, of which `len` would be right.
    pub fn bytes(&mut self, what: Madness, answer: &mut Message, len: usize) -> Vec<u8> {
        let rng = &mut self.rng;
        match what {
            Madness::Status => answer.status = (rng.number() as u32 | 1 << 31).into(),
            Madness::Operation => answer.operation = (2 + rng.number() as u32 % 64).into(),
            Madness::Failure | Madness::Length => {
                if let Ok((srb, _)) = Srb::mut_from_prefix(&mut answer.payload) {
                    match what {
                        Madness::Failure => fail(srb, rng),
                        // More than it was stands for what it was.
                        _ => srb.data_length = (rng.number() as u32).into(),
                    }
                }
            }
            _ => {}
        }
        let mut bytes = answer.as_bytes()[..len].to_vec();
        match what {
            Madness::Short => bytes.truncate(rng.below(len as u64) as usize),
            Madness::Long => {
                let more = 8 + rng.below(LONGEST - len as u64) as usize;
                bytes.resize_with(len + more, || rng.number() as u8);
            }
            _ => {}
        }
        bytes
    }
}

/// Makes a failure of an answer.
fn fail(srb: &mut Srb, rng: &mut Rng) {
    let status = rng.below(0x40) as u8;
    // What has the guest remove the disk is for tests that want it.
    srb.srb_status = match status {
        srb_status::INVALID_LUN | srb_status::SUCCESS => srb_status::ERROR,
        status => status,
    };
    if rng.below(2) == 0 {
        srb.srb_status |= srb_status::AUTOSENSE_VALID;
    }
    srb.scsi_status = match rng.below(4) {
        0 => 0,
        1 => rng.number() as u8,
        _ => CHECK_CONDITION,
    };
    srb.sense_length = rng.number() as u8;
    srb.cdb.fill_with(|| rng.number() as u8);
    if rng.below(4) != 0 {
        srb.cdb[0] = 0x70 | rng.below(4) as u8;
    }
    srb.data_length = (rng.number() as u32).into();
}
