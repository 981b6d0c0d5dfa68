// SPDX-License-Identifier: GPL-2.0

//! Limits of how often something may be said.

use crate::{
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SetOnce, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// When it was first asked for the time.
static FIRST: SetOnce<Instant<Monotonic>> = SetOnce::new();

/// Nanoseconds since then, and one more: never 0.
fn now() -> i64 {
    FIRST.populate(Instant::now());
    FIRST
        .as_ref()
        .map_or(1, |first| first.elapsed().as_nanos().saturating_add(1))
}

/// Says how often something may be logged: ten lines in five seconds.
///
/// C counterpart: `struct ratelimit_state` with its defaults.
pub struct RateLimit {
    /// When the current interval began; 0 before the first.
    begin: Atomic<i64>,
    lines: Atomic<u32>,
    suppressed: Atomic<u32>,
}

impl RateLimit {
    /// Lines of an interval.
    const BURST: u32 = 10;
    /// How long an interval is.
    const INTERVAL: Delta = Delta::from_secs(5);

    /// A limit of which nothing is used yet.
    pub const fn new() -> Self {
        Self {
            begin: Atomic::new(0),
            lines: Atomic::new(0),
            suppressed: Atomic::new(0),
        }
    }

    /// Whether one more line is fine; if so, how many were not since the last.
    ///
    /// Any context. Two processors at once may get a line too many.
    pub fn allowed(&self) -> Option<u32> {
        let now = now();
        let begin = self.begin.load(Relaxed);

        if begin == 0 || now.saturating_sub(begin) > Self::INTERVAL.as_nanos() {
            self.begin.store(now, Relaxed);
            self.lines.store(0, Relaxed);
        }
        if self.lines.fetch_add(1, Relaxed) < Self::BURST {
            Some(self.suppressed.xchg(0, Relaxed))
        } else {
            self.suppressed.add(1, Relaxed);
            None
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// Like [`dev_warn!`](crate::dev_warn), but no more than ten lines in five seconds from one place.
#[macro_export]
macro_rules! dev_warn_ratelimited {
    ($dev:expr, $($line:tt)*) => {{
        static LIMIT: $crate::ratelimit::RateLimit = $crate::ratelimit::RateLimit::new();

        if let Some(suppressed) = LIMIT.allowed() {
            if suppressed > 0 {
                $crate::dev_warn!($dev, "{} lines like the next one suppressed\n", suppressed);
            }
            $crate::dev_warn!($dev, $($line)*);
        }
    }};
}
