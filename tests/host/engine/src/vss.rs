// SPDX-License-Identifier: GPL-2.0

//! Snapshots: the host has the guest's file systems frozen while it copies the disks. In a Linux
//! guest a daemon does it.
//!
//! One request is under way at a time, so a command only asks; `answer` tells what came.

use crate::device::{Io, Violation};
use crate::guid::Guid;
use crate::ic::{Answer, Service, Session, Version};

/// Interface of the service.
pub const INTERFACE: Guid = Guid::new("35fa2e29-ea23-4236-96ae-3a6ebacba440");

const MESSAGE: u16 = 5;
const VERSIONS: &[Version] = &[Version::new(5, 0)];

const HOT_BACKUP: u8 = 2;
const FREEZE: u8 = 5;
const THAW: u8 = 6;

/// Bytes of a request: the operation, seven reserved ones, flags.
const BODY: usize = 12;
/// The guest can be copied without being recovered by itself when it boots from the copy.
const NO_AUTO_RECOVERY: u32 = 5;

/// The snapshot service.
pub struct Vss {
    session: Session,
    /// The operation that waits for its answer.
    pending: Option<u8>,
    answer: String,
}

impl Vss {
    /// A service that waits for the guest to open it.
    pub fn new() -> Self {
        Self { session: Session::new(MESSAGE, VERSIONS), pending: None, answer: "none".into() }
    }
}

impl Default for Vss {
    fn default() -> Self {
        Self::new()
    }
}

impl Service for Vss {
    const INTERFACE: Guid = INTERFACE;
    const INSTANCE: Guid = Guid::new("2450ee40-33bf-4fbd-892e-9fb06e9214cf");

    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn answered(&mut self, io: &mut Io<'_>, answer: Answer) -> Result<(), Violation> {
        io.count("answered", 1);
        self.answer = format!("{:#010x}", answer.status);
        if self.pending.take() == Some(HOT_BACKUP) && answer.status == 0 {
            let flags = answer.body.get(8..).and_then(|rest| rest.first_chunk());
            let flags = flags.map(|bytes| u32::from_le_bytes(*bytes));
            // The answer of Linux's daemon overlays the operation with its status, so that the
            // driver no longer knows that there are flags to set.
            if !matches!(flags, Some(0 | NO_AUTO_RECOVERY)) {
                return Err(Violation::new(format!("flags {flags:?} of the check")));
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.pending = None;
        self.answer = "none".into();
    }

    /// `check` (whether a running guest can be copied), `freeze` and `thaw` ask the guest.
    /// `answer` is `none`, `pending`, or the guest's HRESULT. `ready` tells whether the guest can
    /// be asked.
    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        let operation = match words {
            ["answer"] => return Ok(self.answer.clone()),
            ["ready"] => return Ok(self.session.is_ready().to_string()),
            ["check"] => HOT_BACKUP,
            ["freeze"] => FREEZE,
            ["thaw"] => THAW,
            _ => return Err(format!("unknown command: {}", words.join(" "))),
        };
        if !self.session.is_ready() {
            return Err("the guest has no snapshot service".into());
        }
        if self.pending.is_some() {
            return Err("a request is under way".into());
        }
        self.pending = Some(operation);
        self.answer = "pending".into();
        let mut body = [0; BODY];
        body[0] = operation;
        self.session.send(io, &body);
        io.count("asked", 1);
        Ok("asked".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ic::guest::{answer, negotiate, take, HEADERS};
    use crate::mock::Bench;

    #[test]
    fn one_request_after_the_other() {
        let mut bench = Bench::new(Box::new(Vss::new()));
        assert!(bench.command(&["freeze"]).is_err());
        negotiate(&mut bench, Version::new(5, 0));
        assert_eq!(bench.command(&["ready"]), Ok("true".into()));
        for (word, operation, status) in
            [("check", HOT_BACKUP, 0), ("freeze", FREEZE, 0), ("thaw", THAW, 5)]
        {
            assert_eq!(bench.command(&[word]), Ok("asked".into()));
            assert!(bench.command(&[word]).is_err());
            let mut data = take(&mut bench).unwrap();
            assert_eq!(data[HEADERS..HEADERS + BODY], [operation, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            data[HEADERS + 8] = 5;
            data[HEADERS - 8] = status;
            assert_eq!(bench.command(&["answer"]), Ok("pending".into()));
            answer(&mut bench, data);
            assert_eq!(bench.command(&["answer"]), Ok(format!("0x0000000{status}")));
        }
        assert!(bench.command(&["melt"]).is_err() && !bench.dead());
        bench.command(&["freeze"]).unwrap();
        bench.reopen();
        assert_eq!(bench.command(&["answer"]), Ok("none".into()));
    }

    #[test]
    fn other_flags_end_the_channel() {
        let mut bench = Bench::new(Box::new(Vss::new()));
        negotiate(&mut bench, Version::new(5, 0));
        bench.command(&["check"]).unwrap();
        let mut data = take(&mut bench).unwrap();
        data[HEADERS + 8] = 1;
        answer(&mut bench, data);
        assert!(bench.dead());
    }
}
