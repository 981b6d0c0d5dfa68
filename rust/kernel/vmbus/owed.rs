// SPDX-License-Identifier: GPL-2.0

//! Completing what the host has sent.
//!
//! C source: [`drivers/hv/channel.c`](srctree/drivers/hv/channel.c)

use super::{
    inflight::Request,
    writer::Writer, //
};
use crate::{
    bindings,
    prelude::*, //
};

/// The completion that the host waits for.
///
/// It can outlive the packet that it belongs to, and be sent from anywhere: the host waits, and
/// has lent something meanwhile, a section of a receive buffer for example. Once the session is
/// closed it can be dropped.
#[must_use = "the host waits for its completion"]
#[derive(Debug)]
pub struct Owed {
    id: u64,
    tag: u32,
}

impl Owed {
    #[inline]
    pub(super) fn new(id: u64, tag: u32) -> Self {
        Self { id, tag }
    }

    /// Completes what the host has sent, by the writer of the channel from which it came. `more`
    /// is that of [`Packet::commit`].
    ///
    /// If it cannot be sent it is given back with the error, which is one of [`Writer::send`], and
    /// [`ENODEV`] if it came from another session.
    #[inline]
    pub fn complete<R: Request>(
        self,
        writer: &Writer<R>,
        payload: &[u8],
        more: bool,
    ) -> Result<(), (Error, Self)> {
        if self.tag != writer.tag() {
            return Err((ENODEV, self));
        }
        writer
            .post(
                payload,
                bindings::vmbus_packet_type_VM_PKT_COMP,
                self.id,
                more,
            )
            .map_err(|error| (error, self))
    }

    /// The id that the host has given to it, for traces.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }
}
