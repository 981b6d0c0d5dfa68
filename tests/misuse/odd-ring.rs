// SPDX-License-Identifier: GPL-2.0
// error: E0080
//
// A ring that is no whole number of pages.

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

pub const WRONG: Sizes = Sizes::new::<5000, 8192, 64>();
