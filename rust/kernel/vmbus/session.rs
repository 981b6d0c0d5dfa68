// SPDX-License-Identifier: GPL-2.0

//! An open channel.

use super::{
    channel::SubChannel,
    core::Core,
    inflight::Request,
    reader::Reader,
    writer::Writer, //
};
use crate::{
    bindings,
    build_error,
    cpu::CpuId,
    prelude::*,
    sync::Arc,
    time::Delta, //
};
use core::mem::ManuallyDrop;

/// What a driver has for an open channel: who is told when something happens.
///
/// Packets are read by the driver when it wants, through [`Session::reader`]. Either it has a
/// polling context of its own, NAPI for example, and its [`wake`](Handler::wake) schedules that; or
/// it is [polled](Handler::poll) by the bus.
///
/// The handler lives as long as the session or the channel needs it, that of a sub-channel until
/// its primary is closed. It must not own its session.
pub trait Handler: Send + Sync + 'static {
    /// What stands in the in-flight table.
    type Request: Request;

    /// Whether the bus calls [`poll`](Handler::poll), and not [`wake`](Handler::wake).
    const POLLED: bool = false;

    /// There is something to read, or there is room to write for which a writer has waited.
    ///
    /// Hard interrupt context, or process context at the end of `open()`; may be called by several
    /// processors at once. Schedules what polls: NAPI, a work item.
    ///
    /// Not called before the channel is open. It is called once then, before `open()` has returned
    /// the session: whoever polls has to look again when it gets to know the session.
    fn wake(&self) {
        build_error!(NOT_POLLED)
    }

    /// There is something to read, or there is room to write for which a writer has waited.
    ///
    /// Softirq context, mostly on the processor that was interrupted; must not take long, nor close
    /// the session. Called by one processor at a time, for the first time after the channel was
    /// opened, which may be before `open()` has returned the session. Returns whether it wants to
    /// be called once more, after other softirqs; otherwise the next call is that after the host's
    /// next interrupt.
    ///
    /// C counterpart: `vmbus_on_event()`.
    fn poll(session: &Session<Self>) -> bool
    where
        Self: Sized,
    {
        let _ = session;
        build_error!(POLLED)
    }

    /// The host has taken the channel back: nothing will be answered. Wakes the driver's waiters.
    ///
    /// Process context; must not wait or close the session. Called at most once, by whoever notices
    /// it first: a [`Session::wait`] that sleeps, or what closes the session. The bus itself
    /// unbinds the driver from the device, which it cannot while probe runs.
    fn rescinded(&self) {}

    /// The host has offered a sub-channel. By default it stays closed.
    ///
    /// Process context; may sleep, but must take no lock that is held when the session is closed,
    /// and must not close it: closing waits for this. Called for the primary channel only.
    fn sub_channel(&self, offer: SubChannel<'_>) {
        let _ = offer;
    }

    /// The channel's interrupts go to another processor from now on.
    ///
    /// Process context, with locks of the bus held; must not open or close sessions.
    fn target_cpu_changed(&self, old: CpuId, new: CpuId) {
        let _ = (old, new);
    }
}

/// A handler without `wake()` says that it is polled.
const NOT_POLLED: &str = "a handler that is not polled must implement `wake()`";
/// A handler that says that it is polled can be.
const POLLED: &str = "a handler that is polled must implement `poll()`";

/// An open channel.
///
/// It is closed by [`Session::close`], when it is dropped, when the session of its primary channel
/// is closed, or, whatever is still open then, when the driver is unbound from the device. All that
/// remains of a closed session returns [`ENODEV`]; the channel can be opened again, with other
/// sizes and another handler.
///
/// A sub-channel that is closed alone is silent only: its waker is not called, and nothing is read
/// and written. The host forgets it, and its requests are cancelled, when the primary is closed.
pub struct Session<H: Handler> {
    core: Arc<Core<H>>,
}

impl<H: Handler> Session<H> {
    /// A session of a channel that was opened.
    #[inline]
    pub(super) fn new(core: Arc<Core<H>>) -> Result<Arc<Self>> {
        // If there is no memory for it, it is dropped, which closes it.
        Ok(Arc::new(Self { core }, GFP_KERNEL)?)
    }

    /// The session of a channel, for those whom the channel calls: it is not closed at its end.
    ///
    /// # Safety
    ///
    /// `core` must come from [`Arc::into_raw`], and be valid as long as the returned value is used.
    #[inline]
    pub(super) unsafe fn of_channel(core: *const Core<H>) -> ManuallyDrop<Self> {
        // SAFETY: By the safety requirements. The reference stays that of its owner, since the
        // `Arc` is not dropped.
        let core = unsafe { Arc::from_raw(core) };

        ManuallyDrop::new(Self { core })
    }

    #[inline]
    pub(super) fn core(&self) -> &Core<H> {
        &self.core
    }

    /// The handler.
    #[inline]
    pub fn handler(&self) -> &H {
        &self.core.handler
    }

    /// What sends packets on this channel.
    #[inline]
    pub fn writer(&self) -> &Writer<H::Request> {
        self.core.link.writer()
    }

    /// Begins reading. The host sends no interrupts from now on until [`Reader::finish`].
    ///
    /// Any context but NMI and hard interrupts. [`None`] if another context reads, which will be
    /// told to look again at its end; if the session is closed; or if the host has spoilt the ring.
    #[inline]
    pub fn reader(&self) -> Option<Reader<'_, H::Request>> {
        self.core.link.reader(H::POLLED)
    }

    /// Returns whether the host has taken the channel back. Any context.
    #[inline]
    pub fn is_rescinded(&self) -> bool {
        self.core.link.is_rescinded()
    }

    /// Returns whether the session is closed. Any context.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.core.link.is_closed()
    }

    /// The processor that the host interrupts for this channel. Any context.
    #[inline]
    pub fn target_cpu(&self) -> CpuId {
        self.core.target_cpu()
    }

    /// Which of the device's channels this is; 0 for the primary.
    #[inline]
    pub fn sub_index(&self) -> u16 {
        self.core.sub_index
    }

    /// The C structure of the channel, for trace events. It is valid as long as the session is open,
    /// which it is while there is a [`Reader`] or a reserved packet.
    #[inline]
    pub fn as_raw_channel(&self) -> *mut bindings::vmbus_channel {
        self.core.link.channel().as_ptr()
    }

    /// Sleeps until `done` says so, which is asked first, after each [`Session::notify`], and at
    /// least every 100 ms. No lock is held then.
    ///
    /// Process context; uninterruptible: a host may be slow. Not in the polling context, which it
    /// would wait for.
    ///
    /// Returns [`ENODEV`] if the session is closed or the host has taken the channel back, [`EIO`]
    /// if it has spoilt the ring, and [`ETIMEDOUT`] after `timeout`. `done` is asked last: if it
    /// says yes, all of these do not matter.
    #[inline]
    pub fn wait(&self, timeout: Delta, mut done: impl FnMut() -> bool) -> Result {
        self.core
            .link
            .wait(timeout, &mut done, &|| self.core.tell_rescinded())
    }

    /// Has waiters ask whether they are done. Any context but NMI.
    #[inline]
    pub fn notify(&self) {
        self.core.link.notify();
    }

    /// Closes the channel, and its sub-channels before it.
    ///
    /// Waits for whoever reads, ends waits, has the host forget the rings, and cancels requests.
    /// When this returns no method of the handler runs, or will, other than by the driver. Once the
    /// session is closed this does nothing.
    ///
    /// Process context; sleeps until the host has answered. Not in the polling context, nor in a
    /// method of the handler.
    #[inline]
    pub fn close(&self) {
        self.core.close();
    }
}

impl<H: Handler> Drop for Session<H> {
    #[inline]
    fn drop(&mut self) {
        self.core.close();
    }
}
