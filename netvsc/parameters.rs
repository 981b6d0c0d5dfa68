// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, which `parameters.c` makes visible, and what follows from them.

use kernel::{
    pr_info_once,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

#[export_name = "netvsc_ring_size"]
static RING_SIZE: Atomic<u32> = Atomic::new(128);

#[export_name = "netvsc_debug"]
static DEBUG: Atomic<i32> = Atomic::new(-1);

/// Pages of each ring, at least.
const MIN_RING: u32 = 64;
/// Pages of the host.
const PAGE: usize = 4096;

/// Which messages are printed if the parameter does not say (`NETIF_MSG_*`): of the driver, of
/// probe, of the link, of bringing the interface up and down, and errors of both directions.
const DEFAULT_MESSAGES: u32 = 0x1 | 0x2 | 0x4 | 0x10 | 0x20 | 0x40 | 0x80;

/// Bytes of each ring.
pub(crate) fn ring() -> usize {
    let pages = RING_SIZE.load(Relaxed);

    if pages < MIN_RING {
        // What users read is what there is.
        RING_SIZE.store(MIN_RING, Relaxed);
        pr_info_once!("Increased ring_size to {} (min allowed)\n", MIN_RING);
    }
    pages.clamp(MIN_RING, 1 << 16) as usize * PAGE
}

/// Which messages are printed.
pub(crate) fn messages() -> u32 {
    match DEBUG.load(Relaxed) {
        level @ 0..=31 => (1 << level) - 1,
        32 => u32::MAX,
        _ => DEFAULT_MESSAGES,
    }
}
