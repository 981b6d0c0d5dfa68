// SPDX-License-Identifier: GPL-2.0

//! From what the host says about a command to what the mid layer is told.

use kernel::scsi::{
    HostStatus,
    Status, //
};

use crate::{
    protocol::{
        Srb,
        SENSE, //
    },
    Kind, //
};

/// SCSI operation codes that are treated specially.
mod opcode {
    pub(super) const TEST_UNIT_READY: u8 = 0x00;
    pub(super) const INQUIRY: u8 = 0x12;
    pub(super) const MODE_SENSE: u8 = 0x1a;
    pub(super) const MODE_SENSE_10: u8 = 0x5a;
    pub(super) const PERSISTENT_RESERVE_IN: u8 = 0x5e;
    pub(super) const ATA_16: u8 = 0x85;
    pub(super) const ATA_12: u8 = 0xa1;
    pub(super) const MAINTENANCE_IN: u8 = 0xa3;
}

/// The target's status: there are sense data.
const CHECK_CONDITION: u8 = 2;

/// What Windows says about a request; of it, what is told apart here.
mod srb_status {
    /// Flag: there are sense data.
    pub(super) const AUTOSENSE_VALID: u8 = 0x80;
    /// Flag.
    pub(super) const QUEUE_FROZEN: u8 = 0x40;

    pub(super) const SUCCESS: u8 = 0x01;
    pub(super) const ABORTED: u8 = 0x02;
    pub(super) const ERROR: u8 = 0x04;
    pub(super) const BUSY: u8 = 0x05;
    pub(super) const INVALID_REQUEST: u8 = 0x06;
    pub(super) const TIMEOUT: u8 = 0x09;
    pub(super) const SELECTION_TIMEOUT: u8 = 0x0a;
    pub(super) const BUS_RESET: u8 = 0x0e;
    pub(super) const DATA_OVERRUN: u8 = 0x12;
    pub(super) const INVALID_LUN: u8 = 0x20;
    pub(super) const INTERNAL_ERROR: u8 = 0x30;
}

/// What has to be done besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The device has changed: look at it again.
    Rescan,
    /// The device is gone.
    Remove,
}

/// Sense key, code and qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sense {
    pub(crate) key: u8,
    pub(crate) asc: u8,
    pub(crate) ascq: u8,
}

impl Sense {
    /// Reads sense data of both formats, as far as they are there.
    fn parse(data: &[u8]) -> Option<Self> {
        let at = |index: usize| data.get(index).copied();

        match at(0)? & 0x7f {
            0x70 | 0x71 => {
                // What lies behind the length that they say they have is not theirs.
                let end = at(7).map_or(0, |more| 8 + usize::from(more));
                let at = |index: usize| at(index).filter(|_| index < end).unwrap_or(0);
                Some(Self {
                    key: data.get(2).map_or(0, |key| key & 0xf),
                    asc: at(12),
                    ascq: at(13),
                })
            }
            0x72 | 0x73 => Some(Self {
                key: at(1).unwrap_or(0) & 0xf,
                asc: at(2).unwrap_or(0),
                ascq: at(3).unwrap_or(0),
            }),
            _ => None,
        }
    }
}

/// What is to be done with a command.
pub(crate) struct Outcome<'a> {
    pub(crate) status: Status,
    /// Bytes transferred.
    pub(crate) transferred: u32,
    /// Sense data for the command.
    pub(crate) sense: &'a [u8],
    /// What they say.
    pub(crate) meaning: Option<Sense>,
    pub(crate) action: Option<Action>,
    /// Something was wrong; 0x00 (TEST UNIT READY) is often.
    pub(crate) failed: bool,
}

/// Commands whose answer some hosts get wrong: an error means nothing.
fn host_mishandles(opcode: u8, kind: Kind) -> bool {
    match opcode {
        opcode::INQUIRY | opcode::MODE_SENSE | opcode::MODE_SENSE_10 => true,
        opcode::MAINTENANCE_IN | opcode::PERSISTENT_RESERVE_IN => kind == Kind::FibreChannel,
        _ => false,
    }
}

/// Whether a failure of this command is worth a warning only: hosts fail it when they look for
/// disks.
pub(crate) fn is_probing(opcode: u8) -> bool {
    opcode == opcode::TEST_UNIT_READY
}

impl Srb {
    /// Whether this answer says that all is well.
    #[inline]
    pub(crate) fn is_success(&self) -> bool {
        self.srb_status == srb_status::SUCCESS && self.scsi_status == 0
    }

    /// The sense data of this answer, if it says that there are any.
    fn sense(&self) -> &[u8] {
        let len = usize::from(self.sense_length).min(SENSE);

        if self.srb_status & srb_status::AUTOSENSE_VALID != 0 && self.scsi_status == CHECK_CONDITION
        {
            self.cdb_or_sense.get(..len).unwrap_or(&[])
        } else {
            &[]
        }
    }
}

impl<'a> Outcome<'a> {
    /// Judges the host's answer to a command of `len` bytes of data.
    pub(crate) fn new(srb: &'a Srb, opcode: u8, len: u32, kind: Kind) -> Self {
        let done = Self {
            status: Status::OK,
            transferred: srb.transfer_length.min(len),
            sense: &[],
            meaning: None,
            action: None,
            failed: false,
        };

        if srb.is_success() {
            return done;
        }
        let sense = srb.sense();
        let meaning = Sense::parse(sense);
        // That something has changed is said once, to whichever command comes first.
        if host_mishandles(opcode, kind) && !meaning.is_some_and(Self::is_change) {
            return done;
        }
        Self::of_failure(
            srb,
            opcode,
            len,
            Self {
                sense,
                meaning,
                failed: true,
                ..done
            },
        )
    }

    fn of_failure(srb: &'a Srb, opcode: u8, len: u32, mut this: Self) -> Self {
        let mut host = HostStatus::Ok;

        match srb.srb_status & !(srb_status::AUTOSENSE_VALID | srb_status::QUEUE_FROZEN) {
            srb_status::ERROR
            | srb_status::ABORTED
            | srb_status::INVALID_REQUEST
            | srb_status::INTERNAL_ERROR
            | srb_status::TIMEOUT
            | srb_status::SELECTION_TIMEOUT
            | srb_status::BUS_RESET
            | srb_status::DATA_OVERRUN => {
                if let Some(sense) = this.meaning {
                    // The layers above know what to do with the rest.
                    if Self::is_change(sense) {
                        this.action = Some(Action::Rescan);
                        host = HostStatus::Requeue;
                    }
                } else {
                    // The host has tried again what can be tried.
                    host = match opcode {
                        opcode::ATA_12 | opcode::ATA_16 => HostStatus::Passthrough,
                        opcode::TEST_UNIT_READY => HostStatus::Ok,
                        _ => HostStatus::Error,
                    };
                }
            }
            srb_status::INVALID_LUN => {
                this.action = Some(Action::Remove);
                host = HostStatus::NoConnect;
            }
            srb_status::BUSY => host = HostStatus::Requeue,
            // The status of the target says it, unless there is none: what was not transferred
            // would be tried again for ever.
            srb_status::SUCCESS if srb.scsi_status != 0 || len == 0 => {}
            _ if srb.scsi_status == 0 => host = HostStatus::Error,
            _ => {}
        }

        // Only then is the length the host's, too.
        if srb.srb_status != srb_status::SUCCESS && srb.srb_status != srb_status::DATA_OVERRUN {
            this.transferred = 0;
        }
        this.status = if host == HostStatus::Ok && this.wakes_error_handler(srb.scsi_status) {
            HostStatus::Error.into()
        } else {
            Status::new(host, srb.scsi_status)
        };
        this
    }

    /// Whether the mid layer would leave a command with this status to its error handler, which
    /// stops all disks of the controller until each command is answered: a host that makes no sense
    /// on one disk and does not answer there would stop the others. Real targets give sense data
    /// with their check conditions here, and no other statuses than those of the standard.
    fn wakes_error_handler(&self, scsi_status: u8) -> bool {
        match scsi_status {
            CHECK_CONDITION => self.meaning.is_none(),
            // Good, condition met, busy, intermediate, intermediate and condition met, reservation
            // conflict, command terminated, task set full, ACA active, task aborted.
            0x00 | 0x04 | 0x08 | 0x10 | 0x14 | 0x18 | 0x22 | 0x28 | 0x30 | 0x40 => false,
            _ => true,
        }
    }

    /// The capacity has changed; or another parameter, such as the block size of a differencing
    /// disk, which is nothing to bother the log with. Inquiry data and LUNs are for the mid layer.
    fn is_change(sense: Sense) -> bool {
        match (sense.asc, sense.ascq) {
            (0x2a, 0x09) => true,
            (0x3f, 0x03 | 0x0e) => false,
            (0x3f, _) => true,
            _ => false,
        }
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kernel::prelude::kunit_tests(hv_storvsc_errors)]
mod tests {
    use super::*;

    const READ: u8 = 0x28;

    /// An answer to a command of 4096 bytes, of which so many were transferred.
    fn answer(srb_status: u8, scsi_status: u8, transferred: u32, sense: &[u8]) -> Srb {
        let mut srb = Srb::new();

        srb.srb_status = srb_status;
        srb.scsi_status = scsi_status;
        srb.transfer_length = transferred;
        // CAST: The tests have short ones.
        srb.sense_length = sense.len() as u8;
        for (to, from) in srb.cdb_or_sense.iter_mut().zip(sense) {
            *to = *from;
        }
        srb
    }

    fn judge(srb: &Srb, opcode: u8) -> (Status, u32, Option<Action>) {
        let outcome = Outcome::new(srb, opcode, 4096, Kind::Scsi);

        (outcome.status, outcome.transferred, outcome.action)
    }

    fn fixed(key: u8, asc: u8, ascq: u8) -> [u8; 18] {
        let mut sense = [0; 18];

        (sense[0], sense[2], sense[7], sense[12], sense[13]) = (0x70, key, 10, asc, ascq);
        sense
    }

    #[test]
    fn lengths_of_the_host_are_bounded() {
        assert_eq!(
            judge(&answer(1, 0, 512, &[]), READ),
            (Status::OK, 512, None)
        );
        assert_eq!(
            judge(&answer(1, 0, u32::MAX, &[]), READ),
            (Status::OK, 4096, None)
        );
        // A failure transfers nothing, but an overrun says what.
        assert_eq!(judge(&answer(4, 0, 512, &[]), READ).1, 0);
        assert_eq!(judge(&answer(0x12, 0, 512, &[]), READ).1, 512);

        let mut srb = answer(0x84, 2, 0, &fixed(3, 0x11, 0));
        srb.sense_length = 0xff;
        assert_eq!(
            Outcome::new(&srb, READ, 4096, Kind::Scsi).sense.len(),
            SENSE
        );
    }

    #[test]
    fn changes_are_looked_at() {
        let requeue = (Status::new(HostStatus::Requeue, 2), 0, Some(Action::Rescan));
        let pass_on = (Status::new(HostStatus::Ok, 2), 0, None);

        for (asc, ascq, expected) in [
            (0x2a, 0x09, requeue),
            (0x2a, 0x01, pass_on),
            (0x3f, 0x02, requeue),
            (0x3f, 0x03, pass_on),
            (0x3f, 0x0e, pass_on),
            (0x29, 0x00, pass_on),
        ] {
            let srb = answer(0x84, 2, 0, &fixed(6, asc, ascq));
            assert_eq!(judge(&srb, READ), expected);
            let srb = answer(0x84, 2, 0, &[0x72, 6, asc, ascq]);
            assert_eq!(judge(&srb, READ), expected);
        }
        // Sense data that are announced and not there, or without a status that says so.
        let error = (HostStatus::Error.into(), 0, None);
        assert_eq!(judge(&answer(0x84, 2, 0, &[]), READ), error);
        let srb = answer(0x84, 0, 0, &fixed(6, 0x2a, 9));
        assert_eq!(judge(&srb, READ), error);
        // Sense data that end before the code.
        let mut short = fixed(6, 0x2a, 9);
        short[7] = 4;
        assert_eq!(judge(&answer(0x84, 2, 0, &short), READ), pass_on);
    }

    #[test]
    fn the_error_handler_sleeps() {
        let error = Status::from(HostStatus::Error);

        for status in 1..=0xff {
            let judged = judge(&answer(1, status, 0, &[]), READ).0;
            let known = [0x04, 0x08, 0x10, 0x14, 0x18, 0x22, 0x28, 0x30, 0x40].contains(&status);
            assert_eq!((judged == error), !known);
        }
        // What is no success has failed, with and without a status of the target.
        assert_eq!(judge(&answer(0x27, 0, 0, &[]), READ).0, error);
        assert_eq!(
            judge(&answer(0x27, 8, 0, &[]), READ).0,
            Status::new(HostStatus::Ok, 8)
        );
        assert_eq!(
            judge(&answer(0x05, 0, 0, &[]), READ).0,
            HostStatus::Requeue.into()
        );
    }

    #[test]
    fn failures_without_sense() {
        let error = Status::new(HostStatus::Error, 0);

        for status in [0x02, 0x04, 0x06, 0x09, 0x0a, 0x0e, 0x12, 0x30, 0x44] {
            assert_eq!(judge(&answer(status, 0, 0, &[]), READ).0, error);
        }
        // No flag makes it a success that has transferred nothing.
        for status in [0x41, 0x81] {
            assert_eq!(judge(&answer(status, 0, 4096, &[]), READ).0, error);
        }
        assert_eq!(judge(&answer(4, 0, 0, &[]), 0x00).0, Status::OK);
        let passthrough = Status::new(HostStatus::Passthrough, 0);
        assert_eq!(judge(&answer(4, 0, 0, &[]), 0x85).0, passthrough);
        assert_eq!(
            judge(&answer(0x20, 0, 0, &[]), READ),
            (HostStatus::NoConnect.into(), 0, Some(Action::Remove))
        );
        // INQUIRY and MODE SENSE never fail, but can be the first to hear of a change; what else
        // does not fail depends on the adapter.
        let srb = answer(0x84, 2, 0, &fixed(6, 0x2a, 9));
        assert_eq!(
            judge(&srb, 0x1a),
            (Status::new(HostStatus::Requeue, 2), 0, Some(Action::Rescan))
        );
        let srb = answer(0x84, 2, 0, &fixed(5, 0x20, 0));
        assert_eq!(judge(&srb, 0x1a), (Status::OK, 0, None));
        assert_eq!(judge(&answer(4, 2, 36, &[]), 0x12), (Status::OK, 36, None));
        assert_eq!(judge(&answer(4, 0, 0, &[]), 0xa3).0, error);
        let srb = answer(4, 0, 0, &[]);
        assert_eq!(
            Outcome::new(&srb, 0xa3, 4096, Kind::FibreChannel).status,
            Status::OK
        );
    }
}
