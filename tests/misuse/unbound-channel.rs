// SPDX-License-Identifier: GPL-2.0
// error: E0599
//
// A channel of a device that may not be bound.

use kernel::{
    device::Bound,
    prelude::*,
    sync::Arc,
    vmbus::*, //
};

pub struct Nothing;

pub struct Ask(pub u32);

impl Request for Ask {
    fn cancelled(self) {}
}

impl Handler for Nothing {
    type Request = Ask;

    fn wake(&self) {}
}

pub fn wrong(dev: &Device) {
    let _ = dev.channel();
}
