// SPDX-License-Identifier: GPL-2.0
// error: E0382
//
// Reading after the host may interrupt again.

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

pub fn wrong(mut reader: Reader<'_, Ask>) -> Result<bool> {
    let more = reader.finish()?;

    Ok(more && reader.next()?.is_some())
}
