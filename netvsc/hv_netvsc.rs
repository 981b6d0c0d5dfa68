// SPDX-License-Identifier: GPL-2.0

//! The network card of Hyper-V.
//!
//! Frames travel in RNDIS messages, those in NVSP messages, and those in packets of VMBus. Small
//! frames to be sent are copied to a buffer that the host knows, others are read by the host where
//! they are; received ones are in a buffer that the host writes to.

mod attach;
mod attached;
mod batch;
mod buffers;
mod bytes;
mod control;
mod deferred;
mod driver;
mod ethtool;
mod info;
mod lent;
mod link;
mod nic;
mod nvsp;
mod offloads;
mod queue;
mod queues;
mod receive;
mod rndis;
mod rss;
mod transmit;

use driver::Driver;

kernel::module_vmbus_driver! {
    type: Driver,
    name: "hv_netvsc",
    authors: ["The hvrust developers"],
    description: "Microsoft Hyper-V network driver",
    license: "GPL",
    params: {
        ring_size: u32 {
            default: 128,
            description: "Ring buffer size (# of 4K pages)",
        },
        debug: i32 {
            default: -1,
            description: "Debug level (0=none,...,16=all)",
        },
    },
}
