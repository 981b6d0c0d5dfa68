// SPDX-License-Identifier: GPL-2.0

//! Queues of frames to be sent, and how many bytes of them are under way.

use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// A queue of frames to be sent.
///
/// # Invariants
///
/// The pointer is a queue of a device that is valid as long as this exists.
#[derive(Clone, Copy)]
pub struct TxQueue<'a> {
    queue: NonNull<bindings::netdev_queue>,
    _dev: PhantomData<&'a ()>,
}

impl<'a> TxQueue<'a> {
    /// # Safety
    ///
    /// `queue` must be a queue of a device that is valid for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw(queue: NonNull<bindings::netdev_queue>) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            queue,
            _dev: PhantomData,
        }
    }

    /// Has the stack send nothing on this queue, until it is woken. Any context.
    #[inline]
    pub fn stop(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_tx_stop_queue(self.queue.as_ptr()) }
    }

    /// Has the stack send again. Any context.
    #[inline]
    pub fn wake(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_tx_wake_queue(self.queue.as_ptr()) }
    }

    /// Whether the driver has stopped the queue.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_tx_queue_stopped(self.queue.as_ptr()) }
    }

    /// Whether the queue is stopped, by the driver or by the limit of bytes under way.
    #[inline]
    pub fn is_blocked(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_xmit_stopped(self.queue.as_ptr()) }
    }

    /// Counts bytes that are under way from now on (byte queue limits), until what this returns is
    /// given to [`Completions::add`], or [`TxQueue::reset`].
    ///
    /// One context at a time: under the lock of the queue, as [`super::Operations::start_xmit`] is.
    #[inline]
    pub fn sent(&self, bytes: u32) -> Sent {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netdev_tx_sent_queue(self.queue.as_ptr(), bytes) };
        Sent {
            queue: self.queue,
            bytes,
        }
    }

    /// Begins to collect what is not under way any more.
    #[inline]
    pub fn completions(&self) -> Completions<'a> {
        Completions {
            queue: *self,
            packets: 0,
            bytes: 0,
        }
    }

    /// Nothing is under way. Only while nobody sends on the queue and nothing is completed.
    pub fn reset(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netdev_tx_reset_queue(self.queue.as_ptr()) }
    }
}

/// Bytes that [`TxQueue::sent`] has counted. They stay counted if this is dropped.
#[must_use = "what is not given back is under way until the queue is reset"]
pub struct Sent {
    /// Which queue; it is compared only.
    queue: NonNull<bindings::netdev_queue>,
    bytes: u32,
}

// SAFETY: The pointer is not followed.
unsafe impl Send for Sent {}

// SAFETY: As above.
unsafe impl Sync for Sent {}

/// What is not under way any more on a queue; it is counted when this is dropped.
///
/// One context at a time for each queue: its poll function.
pub struct Completions<'a> {
    queue: TxQueue<'a>,
    packets: u32,
    bytes: u32,
}

impl Completions<'_> {
    /// Adds frames that [`TxQueue::sent`] was told of, in one piece. Of another queue they do not
    /// count.
    #[inline]
    pub fn add(&mut self, sent: Sent) {
        if sent.queue == self.queue.queue {
            self.packets = self.packets.saturating_add(1);
            self.bytes = self.bytes.saturating_add(sent.bytes);
        }
    }
}

impl Drop for Completions<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.packets != 0 {
            // SAFETY: By the type invariant of `TxQueue` the pointer is valid.
            unsafe {
                bindings::netdev_tx_completed_queue(
                    self.queue.queue.as_ptr(),
                    self.packets,
                    self.bytes,
                )
            }
        }
    }
}
