// SPDX-License-Identifier: GPL-2.0

//! A processor that stands still behind a signal: whatever it was about to do next, it does late,
//! while the others go on and see what the host has made of the signal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The connection whose next signal it is for, and for how long, shared with the processors' threads.
#[derive(Default)]
pub struct Hold(AtomicU64);

impl Hold {
    /// Has who signals `connection` next stand still for `ms`.
    pub fn set(&self, connection: u32, ms: u32) {
        self.0.store(u64::from(connection) << 32 | u64::from(ms), Ordering::SeqCst);
    }

    /// For how long who has signalled `connection` has to stand still.
    pub fn take(&self, connection: u32) -> Option<Duration> {
        let is_it = |both: u64| (both != 0 && (both >> 32) as u32 == connection).then_some(0);
        let both = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_it).ok()?;
        Some(Duration::from_millis(u64::from(both as u32)))
    }
}
