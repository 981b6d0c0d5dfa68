// SPDX-License-Identifier: GPL-2.0
// error: E0382
//
// Completing a request of the host twice.

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

pub fn wrong(owed: Owed, writer: &Writer<Ask>) {
    let _ = owed.complete(writer, b"", false);
    let _ = owed.complete(writer, b"", false);
}
