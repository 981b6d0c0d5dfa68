// SPDX-License-Identifier: GPL-2.0

//! What netlink tells a user about a request beside its error code.

use crate::{
    bindings,
    prelude::*, //
};
use core::marker::PhantomData;

/// Where a reason for the failure of a request can be left.
///
/// C header: [`include/linux/netlink.h`](srctree/include/linux/netlink.h)
///
/// # Invariants
///
/// The pointer is NULL, or valid and used by nobody else as long as this exists.
pub struct ExtAck<'a> {
    raw: *mut bindings::netlink_ext_ack,
    _borrowed: PhantomData<&'a mut ()>,
}

impl ExtAck<'_> {
    /// # Safety
    ///
    /// `raw` must be NULL, or valid and used by nobody else as long as the result exists.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut bindings::netlink_ext_ack) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            raw,
            _borrowed: PhantomData,
        }
    }

    /// Leaves a reason. What is longer than the user can be told is cut.
    pub fn set(&mut self, reason: &str) {
        // SAFETY: By the type invariant.
        let Some(raw) = (unsafe { self.raw.as_mut() }) else {
            return;
        };
        let room = raw._msg_buf.len() - 1;

        raw._msg_buf.fill(0);
        for (place, byte) in raw._msg_buf.iter_mut().zip(reason.bytes().take(room)) {
            // CAST: `c_char` is a byte.
            *place = byte as c_char;
        }
        raw._msg = raw._msg_buf.as_ptr();
    }
}
