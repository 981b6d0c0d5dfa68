// SPDX-License-Identifier: GPL-2.0
// error: E0599
//
// A channel of a device that may not be bound.

use kernel::{
    device::Bound,
    prelude::*,
    vmbus::*, //
};

pub struct Nothing;

impl Handler for Nothing {
    fn receive(&self, _sender: &Sender, _packet: Packet<'_>) {}
}

pub const SIZES: Sizes = Sizes::new::<8192, 8192, 64>();

pub fn wrong(dev: &Device) {
    let _ = dev.channel();
}
