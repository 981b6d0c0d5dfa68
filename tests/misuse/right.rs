// SPDX-License-Identifier: GPL-2.0
// error: none
//
// What the others spoil: a session is opened and used.

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

pub fn right<'a>(dev: &'a Device<Bound>) -> Result<Pin<KBox<Session<'a, Nothing>>>> {
    let open = dev.channel().open(SIZES, Ok::<_, Error>(Nothing));
    let session = KBox::pin_init(open, GFP_KERNEL)?;

    session.sender().send(b"in time", 0)?;
    Ok(session)
}

pub fn once(owed: Owed, sender: &Sender) {
    let _ = owed.complete(sender, b"");
}
