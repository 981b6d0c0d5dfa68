// SPDX-License-Identifier: GPL-2.0

//! The monitor page: the guest sets a bit in shared memory instead of calling, and the host looks
//! every now and then.

use super::*;

/// Number of monitor ids.
pub(super) const IDS: u32 = 128;
/// Ids per group.
const GROUP: u32 = 32;

// Byte offsets in a monitor page.
const TRIGGERS: u64 = 0x8;
const LATENCIES: u64 = 0x240;
const PARAMETERS: u64 = 0x440;

/// The longest time, in units of 100 ns, that the host says it may take to see a bit of this id.
/// Each id has its own, so that a test can tell that the guest shows the right one.
fn latency(id: u32) -> u16 {
    1000 + id as u16
}

impl Host {
    /// From the next offers on, channels get a monitor id as long as there are some.
    pub fn use_monitor(&mut self) {
        self.monitor = true;
    }

    /// Takes the connection's monitor pages: host to guest and guest to host.
    pub(super) fn begin_monitor(&mut self, pages: [u64; 2]) {
        if !self.monitor || pages.contains(&0) {
            return;
        }
        if pages.iter().any(|gpa| gpa % 4096 != 0 || !self.mem.has_page(gpa >> 12)) {
            return self.violation("a monitor page that is no page of RAM");
        }
        for page in pages {
            for id in 0..IDS {
                let at = u64::from(id);
                // A page of RAM can be written.
                let _ = self.mem.write(page + LATENCIES + at * 2, &latency(id).to_le_bytes());
                let connection = signal_connection(id).to_le_bytes();
                let _ = self.mem.write(page + PARAMETERS + at * 8, &connection);
            }
        }
        self.monitor_page = Some(pages[1]);
    }

    /// The monitor id of a channel's number, if it gets one.
    pub(super) fn monitor_id(&self, relid: u32) -> Option<u8> {
        // The number itself: unique, and 0 is nobody's.
        (self.monitor && relid < IDS).then_some(relid as u8)
    }

    /// Takes the bits that the guest has set.
    pub(super) fn poll_monitor(&mut self) {
        let Some(page) = self.monitor_page else { return };
        for group in 0..IDS / GROUP {
            let pending = self.mem.take(page + TRIGGERS + u64::from(group) * 8).unwrap_or(0);
            for bit in (0..GROUP).filter(|bit| pending & 1 << bit != 0) {
                self.trace.count("monitor_signals", 1);
                self.guest_signal(signal_connection(group * GROUP + bit));
            }
        }
    }
}
