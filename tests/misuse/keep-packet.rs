// SPDX-License-Identifier: GPL-2.0
// error: E0499
//
// A packet that is kept while the next one is read.

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

pub fn wrong(reader: &mut Reader<'_, Ask>) -> Result<bool> {
    let first = reader.next()?;
    let second = reader.next()?;

    Ok(first.is_some() && second.is_some())
}
