// SPDX-License-Identifier: GPL-2.0

//! The common part of the integration services.

use super::guest::{answer, negotiate, take, HEADERS};
use super::*;
use crate::mock::Bench;

const KIND: u16 = 9;

struct Example(Session);

impl Service for Example {
    const INTERFACE: Guid = Guid([0; 16]);
    const INSTANCE: Guid = Guid([0; 16]);

    fn session(&mut self) -> &mut Session {
        &mut self.0
    }

    fn answered(&mut self, io: &mut Io<'_>, _answer: Answer) -> Result<(), Violation> {
        io.count("answers", 1);
        Ok(())
    }

    fn tick(&mut self, io: &mut Io<'_>, _now: u64) {
        self.0.send(io, &[7; 5]);
    }

    fn command(&mut self, _io: &mut Io<'_>, _words: &[&str]) -> Result<String, String> {
        Err("there are none".into())
    }
}

fn bench() -> Bench {
    const VERSIONS: &[Version] = &[Version::new(1, 0), Version::new(3, 2)];
    Bench::new(Box::new(Example(Session::new(KIND, VERSIONS))))
}

#[test]
fn versions_first_then_messages() {
    let mut bench = bench();
    bench.tick(0);
    negotiate(&mut bench, Version::new(3, 2));
    assert!(bench.guest_recv().is_none() && !bench.dead());
    bench.tick(0);
    let data = take(&mut bench).unwrap();
    assert_eq!(data[HEADERS..HEADERS + 5], [7; 5]);
    answer(&mut bench, data.clone());
    assert_eq!(bench.trace.counter("dev.answers"), 1);
    // An answer to nothing.
    answer(&mut bench, data);
    assert!(bench.dead());
    assert_eq!(bench.trace.counter("dev.answers"), 1);
}

#[test]
fn a_refusal_leaves_silence() {
    let mut bench = bench();
    let mut data = take(&mut bench).unwrap();
    data[HEADERS..HEADERS + 4].fill(0);
    answer(&mut bench, data);
    bench.tick(0);
    assert!(bench.guest_recv().is_none() && !bench.dead());
    assert_eq!(bench.trace.counter("dev.not_negotiated"), 1);
}

#[test]
fn wrong_answers_end_the_channel() {
    // Where the good answer is changed, and to what; or where it is cut.
    let changes = [(0, 2), (4, 0xff), (12, 3), (24, 9), (25, 2), (28, 2), (36, 9), (40, 9)];
    for (at, value) in changes {
        let mut bench = bench();
        let mut data = take(&mut bench).unwrap();
        data[HEADERS..HEADERS + 4].copy_from_slice(&[1, 0, 1, 0]);
        data[25] = TRANSACTION | RESPONSE;
        data[at] = value;
        bench.guest_send(PacketKind::InBand, 0, false, &[], &data);
        assert!(bench.dead(), "byte {at}");
    }
    for len in [0, 24, 32] {
        let mut bench = bench();
        let mut data = take(&mut bench).unwrap();
        data[25] = TRANSACTION | RESPONSE;
        bench.guest_send(PacketKind::InBand, 0, false, &[], &data[..len]);
        assert!(bench.dead(), "{len} bytes");
    }
}
