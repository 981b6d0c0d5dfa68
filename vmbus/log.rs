// SPDX-License-Identifier: GPL-2.0

//! What the host can trigger again and again is logged at a limited rate, and counted.

use kernel::{
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

/// Lines in a row.
const BURST: u32 = 10;
/// After so long there may be as many again.
const INTERVAL: Delta = Delta::from_secs(5);

/// When the first such line was due.
static FIRST: SetOnce<Instant<Monotonic>> = SetOnce::new();

/// Nanoseconds since then, and one more: never 0.
fn now() -> i64 {
    FIRST.populate(Instant::now());
    FIRST
        .as_ref()
        .map_or(1, |first| first.elapsed().as_nanos().saturating_add(1))
}

/// Says how often something may be logged: one for each message, in a static.
pub(crate) struct RateLimit {
    /// When the current interval began; 0 before the first.
    begin: Atomic<i64>,
    lines: Atomic<u32>,
    suppressed: Atomic<u32>,
}

impl RateLimit {
    pub(crate) const fn new() -> Self {
        Self {
            begin: Atomic::new(0),
            lines: Atomic::new(0),
            suppressed: Atomic::new(0),
        }
    }

    /// Whether one more line is fine; if so, how many were not since the last.
    ///
    /// Any context. Two processors at once may get a line too many.
    pub(crate) fn allowed(&self) -> Option<u32> {
        let now = now();
        let begin = self.begin.load(Relaxed);

        if begin == 0 || now.saturating_sub(begin) > INTERVAL.as_nanos() {
            self.begin.store(now, Relaxed);
            self.lines.store(0, Relaxed);
        }
        if self.lines.fetch_add(1, Relaxed) < BURST {
            Some(self.suppressed.xchg(0, Relaxed))
        } else {
            self.suppressed.add(1, Relaxed);
            None
        }
    }
}

/// Like [`kernel::pr_warn!`], but not more than ten lines in five seconds from one place.
macro_rules! warn_limited {
    ($($line:tt)*) => {{
        static LIMIT: $crate::log::RateLimit = $crate::log::RateLimit::new();

        if let Some(suppressed) = LIMIT.allowed() {
            if suppressed > 0 {
                kernel::pr_warn!("{} messages like the next one suppressed\n", suppressed);
            }
            kernel::pr_warn!($($line)*);
        }
    }};
}
pub(crate) use warn_limited;
