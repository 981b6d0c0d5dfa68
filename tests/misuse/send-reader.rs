// SPDX-License-Identifier: GPL-2.0
// error: E0277
//
// Reading in another thread than the one that polls.

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

fn elsewhere<T: Send>(_: T) {}

pub fn wrong(reader: Reader<'_, Ask>) {
    elsewhere(reader);
}
