// SPDX-License-Identifier: GPL-2.0
// error: E0382
//
// Publishing a packet twice.

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
    let packet = session.writer().reserve(Shape::default())?;

    packet.commit(Ask(1), false);
    packet.commit(Ask(2), false);
    Ok(())
}
