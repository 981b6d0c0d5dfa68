// SPDX-License-Identifier: GPL-2.0
// error: E0521
//
// A packet that is kept after the handler has returned.

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

pub struct Keeper(kernel::sync::Arc<kernel::sync::Mutex<&'static [u8]>>);

impl Handler for Keeper {
    fn receive(&self, _sender: &Sender, packet: Packet<'_>) {
        if let Packet::Data { payload, .. } = packet {
            *self.0.lock() = payload;
        }
    }
}
