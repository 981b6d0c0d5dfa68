// SPDX-License-Identifier: GPL-2.0
// error: E0505
//
// Sending on a channel that is closed.

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

pub fn wrong(session: Pin<KBox<Session<'_, Nothing>>>) -> Result {
    let sender = session.sender();

    drop(session);
    sender.send(b"too late", 0)
}
