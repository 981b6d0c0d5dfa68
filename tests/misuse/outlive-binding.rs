// SPDX-License-Identifier: GPL-2.0
// error: lifetime
//
// A session that outlives the binding of its device.

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

pub fn wrong(dev: &Device<Bound>) -> Result<Pin<KBox<Session<'static, Nothing>>>> {
    let open = dev.channel().open(SIZES, Ok::<_, Error>(Nothing));

    KBox::pin_init(open, GFP_KERNEL)
}
