// SPDX-License-Identifier: GPL-2.0

//! What the host can trigger again and again is logged at a limited rate, and counted.

use kernel::{
    fmt,
    prelude::*,
    ratelimit::RateLimit, //
};

/// Like [`kernel::pr_warn!`], but not more than ten lines in five seconds from one place.
macro_rules! warn_limited {
    ($($line:tt)*) => {{
        static LIMIT: kernel::ratelimit::RateLimit = kernel::ratelimit::RateLimit::new();

        $crate::log::warn(&LIMIT, kernel::prelude::fmt!($($line)*));
    }};
}
pub(crate) use warn_limited;

/// Logs a warning unless there were too many like it. Any context.
#[cold]
#[inline(never)]
pub(crate) fn warn(limit: &RateLimit, line: fmt::Arguments<'_>) {
    if let Some(suppressed) = limit.allowed() {
        if suppressed > 0 {
            pr_warn!("{} messages like the next one suppressed\n", suppressed);
        }
        pr_warn!("{}", line);
    }
}
