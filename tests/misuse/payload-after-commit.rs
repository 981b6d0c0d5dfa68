// SPDX-License-Identifier: GPL-2.0
// error: E0382
//
// Changing a packet that the host has.

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

pub fn wrong(session: &Session<Nothing>) -> Result {
    let mut packet = session.writer().reserve(Shape {
        payload: 8,
        ..Shape::default()
    })?;

    packet.commit(Ask(1), false);
    packet.payload(b"too late")
}
