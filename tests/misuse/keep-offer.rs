// SPDX-License-Identifier: GPL-2.0
// error: lifetime
//
// A sub-channel that is kept to be opened later.

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

pub fn wrong(offer: SubChannel<'_>) -> SubChannel<'static> {
    offer
}
