// SPDX-License-Identifier: GPL-2.0

//! Frames that share a section of the send buffer, and a packet.
//!
//! When the stack says that more frames follow at once, a small one waits for them. It never waits
//! for longer than that: whatever the last of them is, it takes those that wait along, or has them
//! sent before itself.

use crate::{
    attached::Attached,
    nic::Nic,
    nvsp,
    queue::{
        Frame,
        Pending, //
    },
    trace,
    transmit::Sender, //
};
use kernel::{
    net::{
        skb::{
            DropReason,
            TxSkb, //
        },
        Device, //
    },
    prelude::*,
    vmbus::Shape, //
};

/// Frames that were copied to a section and are not sent yet.
pub(crate) struct Batch {
    section: u32,
    /// Bytes of the section that are used.
    used: u32,
    /// Messages.
    count: u32,
    /// Bytes of all frames.
    bytes: u32,
    /// The last frame; those before it are done with, but for the figures.
    skb: TxSkb,
}

impl Batch {
    /// A frame that was copied to the begin of a section, where its message has `used` bytes.
    #[inline]
    pub(crate) fn new(section: u32, used: u32, skb: TxSkb) -> Self {
        Self {
            section,
            used,
            count: 1,
            // CAST: A frame has less than 2^31 bytes.
            bytes: skb.len() as u32,
            skb,
        }
    }

    /// Where a message of so many bytes goes, if it can share the section.
    #[inline]
    pub(crate) fn place(&self, attached: &Attached, size: usize, len: usize) -> Option<usize> {
        let used = self.used as usize;
        let end = used.checked_add(len)?;

        (self.count < attached.batch() && end.checked_add(attached.alignment())? < size)
            .then_some(used)
    }

    #[inline]
    pub(crate) fn section(&self) -> u32 {
        self.section
    }

    /// Adds a frame that was copied to its place; its message has `len` bytes.
    #[inline]
    pub(crate) fn join(&mut self, len: u32, skb: TxSkb) {
        // Both are smaller than a section.
        self.used = self.used.saturating_add(len);
        self.count += 1;
        // CAST: Smaller than a section.
        self.bytes = self.bytes.saturating_add(skb.len() as u32);
        core::mem::replace(&mut self.skb, skb).consume();
    }

    /// Sends the batch. If that cannot be, its frames are dropped: one may be, but there was room a
    /// moment ago.
    ///
    /// Returns whether the queue is to be stopped.
    pub(crate) fn send(self, on: &Sender<'_>, more: bool) -> bool {
        self.post(on, more).unwrap_or_else(|(_, this)| {
            // What was sent before does not wait for these.
            on.open.session.writer().flush();
            on.dev.counters.tx_no_space.inc();
            this.discard(on.dev, on.attached);
            false
        })
    }

    /// Sends the batch; on error it is given back.
    ///
    /// Returns whether the queue is to be stopped.
    #[inline]
    pub(crate) fn post(self, on: &Sender<'_>, more: bool) -> Result<bool, (Error, Self)> {
        const SHAPE: Shape = Shape {
            ranges: 0,
            pages: 0,
            payload: nvsp::MESSAGE,
        };
        let session = &on.open.session;
        let message = nvsp::Message::rndis(false, self.section, self.used);

        let mut packet = match session.writer().reserve(SHAPE) {
            Ok(packet) => packet,
            Err(error) => return Err((error, self)),
        };
        if let Err(error) = packet.payload(message.bytes()) {
            return Err((error, self));
        }
        trace::nvsp_send_pkt(session, &packet, &message);
        let low = on.is_low(&mut packet);
        let request = Pending::Frame(Frame {
            skb: self.skb,
            section: self.section,
            _header: None,
            packets: self.count,
            bytes: self.bytes,
            // Before the host can complete it.
            sent: on.queue.map(|queue| queue.sent(self.bytes)),
        });
        packet.commit(request, more);
        Ok(low)
    }

    /// Its only frame, which is not sent.
    #[inline]
    pub(crate) fn into_skb(self) -> TxSkb {
        self.skb
    }

    /// Drops the frames.
    #[cold]
    pub(crate) fn discard(self, dev: &Device<Nic>, attached: &Attached) {
        dev.tx_dropped.add(self.count.into());
        if let Some(send) = attached.send.as_ref() {
            send.give(self.section);
        }
        self.skb.drop_reason(DropReason::FULL_RING);
    }
}
