// SPDX-License-Identifier: GPL-2.0
// error: E0505
//
// A writer that outlives its session.

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

pub fn wrong(session: Arc<Session<Nothing>>) -> Result {
    let writer = session.writer();

    drop(session);
    writer.send(b"too late")
}
