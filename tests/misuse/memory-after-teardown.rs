// SPDX-License-Identifier: GPL-2.0
// error: E0505
//
// A view of memory that was given back.

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

pub fn wrong(memory: SharedMemory) -> Result<usize> {
    use kernel::io::Io;

    let view = memory.memory();

    memory.teardown()?;
    Ok(view.len())
}
