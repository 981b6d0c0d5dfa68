// SPDX-License-Identifier: GPL-2.0

//! What the guest reports on the control line, and the file that says it at the end.

use std::time::Instant;

use serde_json::{json, Value};

/// A test that the guest began.
struct Test {
    name: String,
    began: Instant,
    /// Seconds, and why it failed (empty: it passed); `None` while it runs.
    ended: Option<(f64, Result<(), String>)>,
}

/// The protocol of the control line, seen from the host.
pub struct Results {
    start: Instant,
    ready_ms: Option<u64>,
    tests: Vec<Test>,
}

impl Results {
    /// Time counts from now.
    pub fn new() -> Self {
        Self { start: Instant::now(), ready_ms: None, tests: Vec::new() }
    }

    /// Takes a line of the guest. Returns the command if it is one for the host.
    pub fn line<'a>(&mut self, line: &'a str) -> Option<&'a str> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "READY" => self.ready_ms = Some(self.start.elapsed().as_millis() as u64),
            "BEGIN" => {
                self.tests.push(Test { name: rest.to_owned(), began: Instant::now(), ended: None })
            }
            "PASS" => self.end(Ok(())),
            "FAIL" => self.end(Err(rest.to_owned())),
            "host" => return Some(rest),
            _ => {}
        }
        None
    }

    /// Milliseconds from the start until the guest was ready.
    pub fn ready(&self) -> Option<String> {
        self.ready_ms.map(|ms| ms.to_string())
    }

    fn end(&mut self, result: Result<(), String>) {
        if let Some(test) = self.tests.last_mut().filter(|test| test.ended.is_none()) {
            test.ended = Some((test.began.elapsed().as_secs_f64(), result));
        }
    }

    /// Everything, with how the machine ended.
    pub fn json(&self, exit: &str, why: &str, counters: Value) -> Value {
        let tests: Vec<Value> = self
            .tests
            .iter()
            .map(|test| {
                let (seconds, result, why) = match &test.ended {
                    Some((seconds, Ok(()))) => (*seconds, "pass", ""),
                    Some((seconds, Err(why))) => (*seconds, "fail", why.as_str()),
                    None => (test.began.elapsed().as_secs_f64(), "unfinished", ""),
                };
                json!({ "name": test.name, "result": result, "why": why, "seconds": seconds })
            })
            .collect();
        json!({
            "exit": exit,
            "why": why,
            "ready_ms": self.ready_ms,
            "seconds": self.start.elapsed().as_secs_f64(),
            "tests": tests,
            "counters": counters,
        })
    }
}
