// SPDX-License-Identifier: GPL-2.0
// error: E0382
//
// Completing a request of the host twice.

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

pub fn wrong(owed: Owed, sender: &Sender) {
    let _ = owed.complete(sender, b"");
    let _ = owed.complete(sender, b"");
}
