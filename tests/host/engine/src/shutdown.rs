// SPDX-License-Identifier: GPL-2.0

//! Shutdown: the host asks the guest to power off or to restart.

use crate::device::{Io, Violation};
use crate::guid::Guid;
use crate::ic::{Answer, Service, Session, Version};

/// Interface of the service.
pub const INTERFACE: Guid = Guid::new("0e0b6031-5213-4934-818b-38d90ced39db");

const MESSAGE: u16 = 3;
const VERSIONS: &[Version] =
    &[Version::new(1, 0), Version::new(3, 0), Version::new(3, 1), Version::new(3, 2)];

/// Body: reason, timeout in seconds, flags, a text for the user.
const BODY: usize = 12 + 2048;
const REASON_PLANNED: u32 = 0x8000_0000;
const POWER_OFF: u32 = 0;
const RESTART: u32 = 2;

/// The shutdown service.
pub struct Shutdown {
    session: Session,
}

impl Shutdown {
    /// A service that waits for the guest to open it.
    pub fn new() -> Self {
        Self { session: Session::new(MESSAGE, VERSIONS) }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Service for Shutdown {
    const INTERFACE: Guid = INTERFACE;
    const INSTANCE: Guid = Guid::new("b6650ff7-33bc-4840-8048-e0676786f393");

    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn answered(&mut self, io: &mut Io<'_>, answer: Answer) -> Result<(), Violation> {
        io.count(if answer.status == 0 { "accepted" } else { "refused" }, 1);
        Ok(())
    }

    /// `request`: power off; `request restart`: restart.
    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        let flags = match words {
            ["request"] => POWER_OFF,
            ["request", "restart"] => RESTART,
            _ => return Err(format!("unknown command: {}", words.join(" "))),
        };
        if !self.session.is_ready() {
            return Err("the guest has no shutdown service".into());
        }
        let mut body = [0; BODY];
        body[..4].copy_from_slice(&REASON_PLANNED.to_le_bytes());
        body[8..12].copy_from_slice(&flags.to_le_bytes());
        self.session.send(io, &body);
        io.count("requests", 1);
        Ok("requested".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ic::guest::{answer, negotiate, take, HEADERS};
    use crate::mock::Bench;

    #[test]
    fn the_guest_is_asked_and_answers() {
        let mut bench = Bench::new(Box::new(Shutdown::new()));
        assert!(bench.command(&["request"]).is_err());
        negotiate(&mut bench, Version::new(3, 2));
        for (words, flags, status) in
            [(vec!["request"], POWER_OFF, 0), (vec!["request", "restart"], RESTART, 0x80)]
        {
            assert_eq!(bench.command(&words), Ok("requested".into()));
            let mut data = take(&mut bench).unwrap();
            assert!(data.len() >= HEADERS + BODY);
            assert_eq!(data[HEADERS + 8..HEADERS + 12], flags.to_le_bytes());
            data[HEADERS - 5] = status;
            answer(&mut bench, data);
        }
        assert!(bench.command(&["request", "sleep"]).is_err());
        assert_eq!(bench.trace.counter("dev.requests"), 2);
        assert_eq!(bench.trace.counter("dev.accepted"), 1);
        assert_eq!(bench.trace.counter("dev.refused"), 1);
        assert!(!bench.dead());
    }
}
