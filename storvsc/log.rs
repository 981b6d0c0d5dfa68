// SPDX-License-Identifier: GPL-2.0

//! Messages, as the parameter `logging_level` wants them, and at a limited rate.

/// Logs a warning about a device if messages of this level are wanted.
macro_rules! log_limited {
    ($level:expr, $dev:expr, $($line:tt)*) => {
        if $crate::parameters::logs($level) {
            kernel::dev_warn_ratelimited!($dev, $($line)*);
        }
    };
}
pub(crate) use log_limited;
