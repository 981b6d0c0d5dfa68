// SPDX-License-Identifier: GPL-2.0

//! What the host can trigger again and again is logged at a limited rate, and counted.

/// Like [`kernel::pr_warn!`], but not more than ten lines in five seconds from one place.
macro_rules! warn_limited {
    ($($line:tt)*) => {{
        static LIMIT: kernel::ratelimit::RateLimit = kernel::ratelimit::RateLimit::new();

        if let Some(suppressed) = LIMIT.allowed() {
            if suppressed > 0 {
                kernel::pr_warn!("{} messages like the next one suppressed\n", suppressed);
            }
            kernel::pr_warn!($($line)*);
        }
    }};
}
pub(crate) use warn_limited;
