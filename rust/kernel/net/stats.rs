// SPDX-License-Identifier: GPL-2.0

//! Statistics of network devices.

use crate::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// A counter that one context at a time adds to, and everybody reads.
///
/// Adding costs no locked instruction: if two contexts add at the same time, one of the sums is
/// lost, and nothing else happens.
#[repr(transparent)]
pub struct Counter(Atomic<u64>);

impl Counter {
    /// A counter that is zero.
    #[inline]
    pub const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Adds to the counter. Any context.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one. Any context.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Reads the counter. Any context.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Default for Counter {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

/// What [`super::Operations::stats`] fills in.
///
/// C header: [`include/uapi/linux/if_link.h`](srctree/include/uapi/linux/if_link.h)
pub struct LinkStats<'a>(&'a mut bindings::rtnl_link_stats64);

impl<'a> LinkStats<'a> {
    #[inline]
    pub(super) fn new(stats: &'a mut bindings::rtnl_link_stats64) -> Self {
        Self(stats)
    }

    /// Adds frames that were received.
    pub fn received(&mut self, packets: u64, bytes: u64) {
        self.0.rx_packets = self.0.rx_packets.wrapping_add(packets);
        self.0.rx_bytes = self.0.rx_bytes.wrapping_add(bytes);
    }

    /// Adds frames of those received that were not for this host alone.
    pub fn multicast(&mut self, packets: u64) {
        self.0.multicast = self.0.multicast.wrapping_add(packets);
    }

    /// Adds frames that could not be received.
    pub fn rx_dropped(&mut self, packets: u64) {
        self.0.rx_dropped = self.0.rx_dropped.wrapping_add(packets);
    }

    /// Adds received frames that were malformed.
    pub fn rx_errors(&mut self, packets: u64) {
        self.0.rx_errors = self.0.rx_errors.wrapping_add(packets);
    }

    /// Adds frames that were sent.
    pub fn sent(&mut self, packets: u64, bytes: u64) {
        self.0.tx_packets = self.0.tx_packets.wrapping_add(packets);
        self.0.tx_bytes = self.0.tx_bytes.wrapping_add(bytes);
    }

    /// Adds frames that could not be sent.
    pub fn tx_dropped(&mut self, packets: u64) {
        self.0.tx_dropped = self.0.tx_dropped.wrapping_add(packets);
    }
}
