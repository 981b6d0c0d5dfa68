// SPDX-License-Identifier: GPL-2.0

//! What happened, for people and for tests: JSON lines and named counters.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use serde_json::{json, Value};

/// How much the trace holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing; counters still count.
    Off,
    /// VMBus messages, refusals and events.
    Messages,
    /// The header of every ring packet too.
    Packets,
}

/// The sink of trace lines, and the counters.
pub struct Trace {
    level: Level,
    out: Option<Box<dyn Write + Send>>,
    start: Instant,
    counters: BTreeMap<String, u64>,
}

impl Trace {
    /// A trace that counts and writes nothing.
    pub fn quiet() -> Self {
        Self::new(Level::Off, None)
    }

    /// A trace that writes one JSON object per line to `out`.
    pub fn new(level: Level, out: Option<Box<dyn Write + Send>>) -> Self {
        Self { level, out, start: Instant::now(), counters: BTreeMap::new() }
    }

    /// Whether events of `level` are written: ask before building a costly one.
    pub fn wants(&self, level: Level) -> bool {
        self.out.is_some() && self.level >= level
    }

    /// Writes `what` with the members of `fields`, stamped with milliseconds since the start.
    pub fn event(&mut self, level: Level, what: &str, fields: Value) {
        if !self.wants(level) {
            return;
        }
        let ms = self.start.elapsed().as_micros() as f64 / 1000.0;
        let mut line = json!({ "ms": ms, "what": what });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        if let Some(out) = &mut self.out {
            // A full disk must not end the virtual machine; the lines are an aid.
            let _ = writeln!(out, "{line}");
        }
    }

    /// Adds to a counter; it comes into being with its first use.
    pub fn count(&mut self, name: &str, by: u64) {
        match self.counters.get_mut(name) {
            Some(n) => *n += by,
            None => {
                self.counters.insert(name.to_owned(), by);
            }
        }
    }

    /// A counter's value; 0 if it never counted.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// All counters by name.
    pub fn counters(&self) -> &BTreeMap<String, u64> {
        &self.counters
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) {
        if let Some(out) = &mut self.out {
            let _ = out.flush();
        }
    }
}
