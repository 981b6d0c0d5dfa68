// SPDX-License-Identifier: GPL-2.0
// error: none
//
// What the others spoil: a session is opened and used, and opened again.

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

pub fn right(dev: &Device<Bound>) -> Result<Arc<Session<Nothing>>> {
    let sizes = Sizes::new(8192, 8192, 64).ok_or(EINVAL)?;
    let session: Arc<Session<Nothing>> = dev.channel().open(sizes, 4, Ok::<_, Error>(Nothing))?;

    session.writer().send(b"in time")?;
    session.close();
    dev.channel().open(sizes, 4, Ok::<_, Error>(Nothing))
}

pub fn build(session: &Session<Nothing>) -> Result {
    let mut packet = session.writer().reserve(Shape {
        ranges: 1,
        pages: 1,
        payload: 8,
    })?;

    packet.range(0, 4096, [7])?;
    packet.payload(b"complete")?;
    packet.commit(Ask(1), false);
    Ok(())
}

pub fn poll(session: &Session<Nothing>) -> Result<bool> {
    let Some(mut reader) = session.reader() else {
        return Ok(false);
    };

    while let Some(packet) = reader.next()? {
        if let Incoming::Owed { owed, payload } = packet {
            let _ = owed.complete(session.writer(), payload, false);
        }
    }
    reader.finish()
}

pub fn once(owed: Owed, writer: &Writer<Ask>) {
    let _ = owed.complete(writer, b"", false);
}
