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
mod functions;
mod info;
mod lent;
mod link;
mod nic;
mod nvsp;
mod offloads;
mod parameters;
mod queue;
mod queues;
mod receive;
mod rndis;
mod rss;
mod trace;
mod transmit;
mod vf;
mod xdp;

use driver::Driver;
use functions::Functions;
use kernel::{
    driver::Registration,
    net::Watch,
    prelude::*,
    vmbus::Adapter, //
};

/// The module.
#[pin_data]
struct Module {
    // Dropped first: functions leave their cards while those are there.
    #[pin]
    _watch: Watch<Functions>,
    #[pin]
    _driver: Registration<Adapter<Driver>>,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // Functions that come while a card is set up must not be missed.
        try_pin_init!(Self {
            _watch <- Watch::new(),
            _driver <- Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
        })
    }
}

module! {
    type: Module,
    name: "hv_netvsc",
    authors: ["The hvrust developers"],
    description: "Microsoft Hyper-V network driver",
    license: "GPL",
}
