// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, which `parameters.c` makes visible, and what follows from them.

use kernel::{
    cpu::num_present_cpus,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    vmbus::Sizes, //
};

use crate::protocol::Packet;

#[export_name = "storvsc_logging_level"]
static LOGGING_LEVEL: Atomic<i32> = Atomic::new(Level::Error as i32);

#[export_name = "storvsc_ring_size"]
static RING_SIZE: Atomic<i32> = Atomic::new(DEFAULT_RING_SIZE);

#[export_name = "storvsc_hw_queues"]
static HW_QUEUES: Atomic<u32> = Atomic::new(0);

#[export_name = "storvsc_cpus_per_channel"]
static CPUS_PER_CHANNEL: Atomic<i32> = Atomic::new(4);

#[export_name = "storvsc_low_water"]
static LOW_WATER: Atomic<i32> = Atomic::new(10);

const DEFAULT_RING_SIZE: i32 = 128 * 1024;

/// The smallest ring: a command of the smallest disk block fits many times.
const MIN_RING_SIZE: usize = 4 * PAGE_SIZE;
/// The largest.
const MAX_RING_SIZE: usize = 16 << 20;

/// Bytes of a packet with all pages of a small request (32, and one begun), as C estimates it.
const ESTIMATE: usize = 360;

/// Most bytes that a packet of the host has behind its descriptor. Longer ones are refused; an
/// answer with something behind it that we do not know is none of them.
const MAX_PAYLOAD: usize = 4 * Packet::SIZE;

/// What a message is worth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub(crate) enum Level {
    Error = 1,
    Warn = 2,
}

/// Whether messages of this level are logged.
pub(crate) fn logs(level: Level) -> bool {
    LOGGING_LEVEL.load(Relaxed) >= level as i32
}

/// The number of hardware queues for a controller that can have more than one.
pub(crate) fn hw_queues() -> u32 {
    let present = num_present_cpus();
    let wanted = HW_QUEUES.load(Relaxed);

    if wanted > present {
        HW_QUEUES.store(0, Relaxed);
        if logs(Level::Warn) {
            pr_warn!(
                "storvsc_max_hw_queues is more than there are processors: using the default\n"
            );
        }
        return present;
    }
    match wanted {
        0 => present,
        wanted => wanted,
    }
}

/// What a controller has taken from the parameters when it was probed.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// The rings of each channel.
    pub(crate) sizes: Sizes,
    /// Bytes of a ring's data.
    pub(crate) ring_data: usize,
    /// A channel with no more than so much of its ring free (percent) is busy.
    pub(crate) low_water: u32,
    /// Processors for each sub-channel that counts for the queue depth.
    cpus_per_channel: u32,
}

impl Settings {
    pub(crate) fn new() -> Result<Self> {
        let size = usize::try_from(RING_SIZE.load(Relaxed)).unwrap_or(0);
        let size = match size {
            // No room for the control page besides is asked for with a small ring.
            0..MIN_RING_SIZE => MIN_RING_SIZE,
            MIN_RING_SIZE..MAX_RING_SIZE if size < 8 * PAGE_SIZE => size + PAGE_SIZE,
            size => size.min(MAX_RING_SIZE),
        }
        .next_multiple_of(PAGE_SIZE);

        Ok(Self {
            sizes: Sizes::new(size, size, MAX_PAYLOAD).ok_or(EINVAL)?,
            ring_data: size - PAGE_SIZE,
            low_water: u32::try_from(LOW_WATER.load(Relaxed)).unwrap_or(0).min(99),
            cpus_per_channel: u32::try_from(CPUS_PER_CHANNEL.load(Relaxed))
                .unwrap_or(0)
                .max(1),
        })
    }

    /// How many commands a hardware queue may have under way, with as many sub-channels as there
    /// would be for `cpus` processors.
    pub(crate) fn can_queue(&self, cpus: u32, sub_channels: bool) -> u32 {
        let channels = if sub_channels {
            1 + cpus.saturating_sub(1) / self.cpus_per_channel
        } else {
            1
        };
        let depth = (self.ring_data / ESTIMATE) as u64
            * u64::from(channels)
            * u64::from(100 - self.low_water)
            / 100;

        u32::try_from(depth).unwrap_or(u32::MAX).max(1)
    }

    /// The most pages that the data of one command may lie in, so that several fit into a ring.
    pub(crate) fn max_pages(&self) -> u32 {
        u32::try_from(self.ring_data / 4 / size_of::<u64>()).unwrap_or(u32::MAX)
    }
}
