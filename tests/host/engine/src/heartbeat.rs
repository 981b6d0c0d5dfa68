// SPDX-License-Identifier: GPL-2.0

//! Heartbeat: the guest answers a message every two seconds, so that the host knows it is alive.

use crate::device::{Io, Violation};
use crate::guid::Guid;
use crate::ic::{Answer, Service, Session, Version};

/// Interface of the service.
pub const INTERFACE: Guid = Guid::new("57164f39-9115-4e78-ab55-382f3bd5422d");

const MESSAGE: u16 = 1;
const VERSIONS: &[Version] = &[Version::new(1, 0), Version::new(3, 0)];
/// Milliseconds between two heartbeats, and how much too early a tick may be for one.
const PERIOD: u64 = 2000;
const SLACK: u64 = 500;
/// Bytes of the body: a sequence number and reserved ones.
const BODY: usize = 40;

/// The heartbeat service.
pub struct Heartbeat {
    session: Session,
    /// When the next one is to be sent; none was yet.
    due: Option<u64>,
    sent: u64,
    /// In this session; the next answer's sequence number is one above.
    answered: u64,
    total: u64,
}

impl Heartbeat {
    /// A service that waits for the guest to open it.
    pub fn new() -> Self {
        Self { session: Session::new(MESSAGE, VERSIONS), due: None, sent: 0, answered: 0, total: 0 }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

impl Service for Heartbeat {
    const INTERFACE: Guid = INTERFACE;
    const INSTANCE: Guid = Guid::new("fd149e91-82e0-4a7d-afa6-2a4166cbd7c0");

    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn answered(&mut self, io: &mut Io<'_>, answer: Answer) -> Result<(), Violation> {
        // The guest adds one to the number that it was sent.
        let expected = self.answered + 1;
        let number = answer.body.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        if number != Some(expected) {
            return Err(Violation::new(format!("heartbeat {number:?} instead of {expected}")));
        }
        self.answered += 1;
        self.total += 1;
        io.count("answered", 1);
        Ok(())
    }

    fn reset(&mut self) {
        (self.due, self.sent, self.answered) = (None, 0, 0);
    }

    fn tick(&mut self, io: &mut Io<'_>, now: u64) {
        let due = self.due.unwrap_or(now);
        // A guest that does not read gets no more than its ring holds.
        if !self.session.is_ready() || now + SLACK < due || io.backlog(0) > 0 {
            return;
        }
        // Keep the pace though ticks are not regular, but make up for nothing after a pause.
        self.due = Some(if now < due + PERIOD { due } else { now } + PERIOD);
        let mut body = [0; BODY];
        body[..8].copy_from_slice(&self.sent.to_le_bytes());
        self.session.send(io, &body);
        self.sent += 1;
        io.count("sent", 1);
    }

    /// `answered`: the number of heartbeats that the guest answered.
    fn command(&mut self, _io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        match words {
            ["answered"] => Ok(self.total.to_string()),
            _ => Err(format!("unknown command: {}", words.join(" "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ic::guest::{answer, negotiate, take, HEADERS};
    use crate::mock::Bench;

    fn beat(bench: &mut Bench, add: u8) {
        let mut data = take(bench).unwrap();
        data[HEADERS] += add;
        answer(bench, data);
    }

    #[test]
    fn one_beat_every_two_seconds() {
        let mut bench = Bench::new(Box::new(Heartbeat::new()));
        bench.tick(500);
        negotiate(&mut bench, Version::new(3, 0));
        for second in 1..=8 {
            bench.tick(1000 * second + 100 + second % 3);
            while let Some(mut data) = take(&mut bench) {
                data[HEADERS] += 1;
                answer(&mut bench, data);
            }
        }
        assert_eq!(bench.command(&["answered"]), Ok("4".into()));
        // A new session starts over, the total does not.
        bench.reopen();
        negotiate(&mut bench, Version::new(1, 0));
        bench.tick(20_000);
        beat(&mut bench, 1);
        assert_eq!(bench.command(&["answered"]), Ok("5".into()));
        assert!(bench.command(&["answer"]).is_err());
    }

    #[test]
    fn a_wrong_number_ends_the_channel() {
        let mut bench = Bench::new(Box::new(Heartbeat::new()));
        negotiate(&mut bench, Version::new(3, 0));
        bench.tick(0);
        beat(&mut bench, 2);
        assert!(bench.dead());
        assert_eq!(bench.command(&["answered"]), Ok("0".into()));
    }

    #[test]
    fn a_guest_that_sleeps_is_not_flooded() {
        let mut bench = Bench::new(Box::new(Heartbeat::new()));
        negotiate(&mut bench, Version::new(3, 0));
        (0..2000).for_each(|n| bench.tick(n * PERIOD));
        assert!(bench.trace.counter("dev.sent") < 1000);
    }
}
