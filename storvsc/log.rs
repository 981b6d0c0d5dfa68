// SPDX-License-Identifier: GPL-2.0

//! Messages, as the parameter `logging_level` wants them, and at a limited rate.

use kernel::{
    dev_warn,
    fmt,
    ratelimit::RateLimit,
    vmbus, //
};

/// Logs a warning about a device if messages of this level are wanted.
macro_rules! log_limited {
    ($level:expr, $dev:expr, $($line:tt)*) => {{
        static LIMIT: ::kernel::ratelimit::RateLimit = ::kernel::ratelimit::RateLimit::new();

        if $crate::parameters::logs($level) {
            $crate::log::warn($dev, &LIMIT, ::kernel::prelude::fmt!($($line)*));
        }
    }};
}
pub(crate) use log_limited;

/// Logs a warning about a device unless there were too many like it. Any context.
#[cold]
#[inline(never)]
pub(crate) fn warn(dev: &vmbus::Device, limit: &RateLimit, line: fmt::Arguments<'_>) {
    if let Some(suppressed) = limit.allowed() {
        if suppressed > 0 {
            dev_warn!(dev, "{} lines like the next one suppressed\n", suppressed);
        }
        dev_warn!(dev, "{}", line);
    }
}
