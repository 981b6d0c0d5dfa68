// SPDX-License-Identifier: GPL-2.0

//! Time synchronization: the host tells the guest its time.
//!
//! A host that has no clock: its time is what the command line says, and goes on from there with
//! the VMM's. A guest must follow a message with the flag SYNC; a SAMPLE it may ignore.

use crate::device::{Io, Violation};
use crate::guid::Guid;
use crate::ic::{Answer, Service, Session, Version};

/// Interface of the service.
pub const INTERFACE: Guid = Guid::new("9527e630-d0ae-497b-adce-e80ab0175caf");

const MESSAGE: u16 = 4;
const VERSIONS: &[Version] = &[Version::new(1, 0), Version::new(3, 0), Version::new(4, 0)];

const SYNC: u8 = 1;
const SAMPLE: u8 = 2;

/// Milliseconds between two samples.
const PERIOD: u64 = 5000;
/// Units of 100 ns in a second and in a millisecond.
const SECOND: u64 = 10_000_000;
const MILLISECOND: u64 = 10_000;
/// 1970 in the host's calendar, which begins in 1601.
const UNIX_EPOCH: u64 = 11_644_473_600 * SECOND;
/// The latest time that can be set: the year 2242.
const LATEST: u64 = 1 << 33;

/// The time synchronization service.
pub struct Timesync {
    session: Session,
    /// The time in units of 100 ns since 1601, and when that was, in the VMM's milliseconds.
    clock: Option<(u64, u64)>,
    /// A time in Unix seconds that holds from the next tick on, and the flag to tell it with.
    set: Option<(u64, u8)>,
    /// When the next sample is to be sent.
    due: u64,
}

impl Timesync {
    /// A service that waits for the guest to open it.
    pub fn new() -> Self {
        Self { session: Session::new(MESSAGE, VERSIONS), clock: None, set: None, due: 0 }
    }

    fn tell(&mut self, io: &mut Io<'_>, time: u64, now: u64, flags: u8) {
        let mut body = Vec::new();
        body.extend(time.to_le_bytes());
        if self.session.version().is_some_and(|version| version.major() >= 4) {
            // The guest's reference counter began with the machine, a moment before the VMM's.
            body.extend((now * MILLISECOND).to_le_bytes());
            // Flags, leap flags, stratum, reserved.
            body.extend([flags, 0, 0, 0, 0, 0]);
        } else {
            // The guest's time and the way's, which we do not know.
            body.extend([0; 16]);
            body.push(flags);
        }
        self.session.send(io, &body);
        io.count(if flags & SYNC != 0 { "syncs" } else { "samples" }, 1);
    }
}

impl Default for Timesync {
    fn default() -> Self {
        Self::new()
    }
}

impl Service for Timesync {
    const INTERFACE: Guid = INTERFACE;
    const INSTANCE: Guid = Guid::new("2dd1ce17-079e-403c-b352-a1921ee207ee");

    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn answered(&mut self, io: &mut Io<'_>, _answer: Answer) -> Result<(), Violation> {
        io.count("answered", 1);
        Ok(())
    }

    fn tick(&mut self, io: &mut Io<'_>, now: u64) {
        // A guest that does not read gets no more than its ring holds.
        if !self.session.is_ready() || io.backlog(0) > 0 {
            return;
        }
        if let Some((seconds, flag)) = self.set.take() {
            let time = UNIX_EPOCH + seconds * SECOND;
            self.clock = Some((time, now));
            self.tell(io, time, now, flag);
            self.due = now + PERIOD;
        } else if let Some((time, then)) = self.clock.filter(|_| now >= self.due) {
            let time = time + now.saturating_sub(then) * MILLISECOND;
            self.tell(io, time, now, SAMPLE);
            self.due = now + PERIOD;
        }
    }

    /// `set UNIX_SECONDS`: this is the time, from the next second on; the guest is told to follow
    /// (with `sample UNIX_SECONDS`, only told), and of the time every five seconds from then on.
    fn command(&mut self, _io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        let (flag, seconds) = match words {
            ["set", seconds] => (SYNC, seconds),
            ["sample", seconds] => (SAMPLE, seconds),
            _ => return Err(format!("unknown command: {}", words.join(" "))),
        };
        let seconds = seconds.parse().ok().filter(|seconds| *seconds <= LATEST);
        let seconds = seconds.ok_or("a time in seconds since 1970 is wanted")?;
        if !self.session.is_ready() {
            return Err("the guest has no time synchronization".into());
        }
        self.set = Some((seconds, flag));
        Ok(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ic::guest::{answer, negotiate, take, HEADERS};
    use crate::mock::Bench;

    fn u64_at(data: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(*data[at..].first_chunk().unwrap())
    }

    #[test]
    fn the_time_is_told_and_goes_on() {
        for version in [1, 3, 4] {
            let mut bench = Bench::new(Box::new(Timesync::new()));
            assert!(bench.command(&["set", "5"]).is_err());
            negotiate(&mut bench, Version::new(version, 0));
            bench.tick(500);
            assert!(bench.guest_recv().is_none());
            bench.command(&["set", "2000000000"]).unwrap();
            for (now, passed, flag) in [(1000, 0, SYNC), (6100, 5100, SAMPLE)] {
                bench.tick(now);
                let data = take(&mut bench).unwrap();
                let time = u64_at(&data, HEADERS);
                let unix = (time - 116_444_736_000_000_000) / MILLISECOND;
                assert_eq!(unix, 2_000_000_000_000 + passed);
                let reference = if version == 4 { now * MILLISECOND } else { 0 };
                assert_eq!(u64_at(&data, HEADERS + 8), reference);
                assert_eq!(data[HEADERS + if version == 4 { 16 } else { 24 }], flag);
                answer(&mut bench, data);
                bench.tick(now + 1000);
                assert!(bench.guest_recv().is_none());
            }
            assert_eq!(bench.trace.counter("dev.answered"), 2);
            assert!(!bench.dead());
        }
    }

    #[test]
    fn a_sample_only_tells() {
        let mut bench = Bench::new(Box::new(Timesync::new()));
        negotiate(&mut bench, Version::new(4, 0));
        bench.command(&["sample", "7"]).unwrap();
        bench.tick(3000);
        assert_eq!(take(&mut bench).unwrap()[HEADERS + 16], SAMPLE);
        for words in [["set", "-1"], ["set", "8589934593"], ["get", "1"]] {
            assert!(bench.command(&words).is_err());
        }
    }
}
