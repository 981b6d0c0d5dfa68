// SPDX-License-Identifier: GPL-2.0

//! An open channel: its callback, its reader, and its end.
//!
//! The channel is in the mode in which the bus calls back in hard interrupt context, under a lock
//! of the channel, and masks nothing (`HV_CALL_ISR`). The callback touches no ring; it queues a
//! work item, which reads.
//!
//! C source: [`drivers/hv/channel.c`](srctree/drivers/hv/channel.c)

use super::{
    channel::{
        Channel,
        Sender,
        Sizes, //
    },
    ring::{
        Packet,
        Reader,
        Ring, //
    },
    Device, //
};
use crate::{
    alloc::KVVec,
    bindings,
    container_of,
    device,
    error::to_result,
    new_condvar,
    new_mutex,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    task::might_sleep,
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    },
    types::Opaque, //
};

/// What receives the packets of an open channel.
///
/// All methods are called by a work item, one call at a time, in process context. They may sleep,
/// but nothing is received meanwhile; they must not wait for a packet ([`Session::wait`]).
pub trait Handler: Send + Sync {
    /// The host has sent a packet.
    fn receive(&self, sender: &Sender, packet: Packet<'_>);

    /// All packets were received that the host had sent, or the ring to the host has room again.
    ///
    /// The place to send what found the ring full.
    fn idle(&self, sender: &Sender) {
        let _ = sender;
    }
}

/// Packets that one run of the work item receives before others get a turn.
const BUDGET: u32 = 256;

/// How often a waiter looks whether the channel was rescinded, in milliseconds: the bus driver
/// tells that only by unbinding the driver, which it cannot while probe waits.
const RESCIND_POLL_MS: u32 = 100;

/// An open channel.
///
/// Dropping it closes the channel: no method of the handler runs after that, or will. This
/// sleeps until the host has confirmed it, or has taken the device back.
///
/// A session that is leaked is closed when the driver is unbound from the device.
///
/// # Invariants
///
/// Once initialized, `core` is what the channel's callback gets, and its work item runs
/// [`poll`] of this session.
#[pin_data(PinnedDrop)]
pub struct Session<'bound, H: Handler> {
    #[pin]
    core: Core<'bound>,
    #[pin]
    handler: H,
}

impl<'bound, H: Handler> Session<'bound, H> {
    #[inline]
    pub(super) fn new<E>(
        channel: Channel<'bound>,
        sizes: Sizes,
        handler: impl PinInit<H, E> + 'bound,
    ) -> impl PinInit<Self, Error> + 'bound
    where
        H: 'bound,
        E: 'bound,
        Error: From<E>,
    {
        try_pin_init!(Self {
            core <- Core::new(channel, poll::<H>),
            handler <- handler,
            _: {
                // SAFETY: All fields are initialized, in their final place. Either this fails, and
                // has withdrawn the callback, or the session is complete: it stays in its place
                // until it has been dropped, which closes the channel, or, if it is leaked, until
                // `Leaked` has closed it.
                unsafe { core.as_ref().get_ref().open(&sizes) }?;
            },
        })
    }

    /// What the handler is.
    #[inline]
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// Sends packets on this channel.
    #[inline]
    pub fn sender(&self) -> &Sender {
        &self.core.sender
    }

    /// Waits until `done` says so. It is asked after each batch of packets, and may not sleep for
    /// long or wait itself.
    ///
    /// Process context; interruptible; not in methods of the handler, which would wait for
    /// themselves.
    ///
    /// Returns [`ENODEV`] if the host has taken the device back or somebody called
    /// [`Session::hang_up`], [`EIO`] if the host has spoilt its ring, [`ETIMEDOUT`] after
    /// `timeout`, and [`ERESTARTSYS`] if a signal is pending. `done` is asked last: if it says
    /// yes, all of these do not matter.
    pub fn wait(&self, timeout: Delta, mut done: impl FnMut(&H) -> bool) -> Result {
        let slice = msecs_to_jiffies(RESCIND_POLL_MS);
        let start = Instant::<Monotonic>::now();
        let mut signal = false;
        let mut end = self.core.end.lock();

        loop {
            if done(&self.handler) {
                return Ok(());
            }
            if let Some(why) = *end {
                return Err(why);
            }
            if self.sender().is_rescinded() {
                return Err(ENODEV);
            }
            if signal {
                return Err(ERESTARTSYS);
            }
            if start.elapsed() >= timeout {
                return Err(ETIMEDOUT);
            }
            signal = matches!(
                self.core.moved.wait_interruptible_timeout(&mut end, slice),
                CondVarTimeoutResult::Signal { .. }
            );
        }
    }

    /// Ends all waits on this session, now and in the future, with [`ENODEV`].
    pub fn hang_up(&self) {
        self.core.ended(ENODEV);
    }

    /// Receives what is there.
    #[inline]
    fn poll(&self) {
        let core = &self.core;
        let mut guard = core.reader.lock();
        let Some(reader) = (*guard).as_mut() else {
            // Not open yet, or not any more.
            return;
        };

        core.sender.room_was_made();
        match self.receive(reader) {
            Ok(more) => {
                if !more {
                    self.handler.idle(&core.sender);
                }
                drop(guard);
                core.tell_waiters();
                if more {
                    core.wake();
                }
            }
            Err(error) => {
                // Once for each session: what the host can repeat must not fill the log.
                dev_err!(
                    core.dev,
                    "the host has spoilt its ring; nothing more is received\n"
                );
                *guard = None;
                drop(guard);
                core.ended(error);
            }
        }
    }

    /// Receives until the ring is empty (`false`) or the budget is used up.
    #[inline]
    fn receive(&self, reader: &mut Reader) -> Result<bool> {
        let sender = &self.core.sender;
        let mut budget = BUDGET;

        loop {
            while budget > 0 {
                let Some(packet) = reader.next()? else { break };
                self.handler.receive(sender, packet);
                budget -= 1;
            }
            let published = reader.publish()?;
            if published.signal {
                self.core.signal();
            }
            if !published.more || budget == 0 {
                return Ok(published.more);
            }
        }
    }
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for Session<'_, H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the channel was opened by this session's `core`. It is
        // not closed yet: `Leaked` closes only what is never dropped.
        unsafe { self.core.close() };
    }
}

/// Runs the reader of a session.
///
/// # Safety
///
/// Only to be called for the work item of a session's `core`.
unsafe extern "C" fn poll<H: Handler>(work: *mut bindings::work_struct) {
    // SAFETY: By the safety requirements `work` is in the `core` of a session.
    let core = unsafe { container_of!(Opaque::cast_from(work), Core<'_>, work) };

    // SAFETY: As above.
    let session = unsafe { container_of!(core.cast_mut(), Session<'_, H>, core) };

    // SAFETY: The session is initialized before the first work item is queued, and lives until
    // `close()` has waited for the last one.
    let session = unsafe { &*session };

    session.poll();
}

/// What a session is without its handler.
///
/// # Invariants
///
/// `sender` and `dev` are of the same device. If the channel's `per_channel_state` points to this
/// object, it is this object that has opened the channel, or is opening or closing it.
#[pin_data]
pub(super) struct Core<'bound> {
    dev: &'bound Device<device::Bound>,
    sender: Sender,
    /// The reader of an open channel. Whoever polls holds the lock while it reads.
    #[pin]
    reader: Mutex<Option<Reader>>,
    /// Why waits end, once they do.
    #[pin]
    end: Mutex<Option<Error>>,
    #[pin]
    moved: CondVar,
    #[pin]
    work: Opaque<bindings::work_struct>,
}

// SAFETY: All fields are `Send` but the work item, which any thread may use.
unsafe impl Send for Core<'_> {}

// SAFETY: All fields are `Sync` but the work item, which is only handed to functions of the
// workqueue that may be called concurrently.
unsafe impl Sync for Core<'_> {}

impl<'bound> Core<'bound> {
    #[inline]
    fn new(
        channel: Channel<'bound>,
        poll: unsafe extern "C" fn(*mut bindings::work_struct),
    ) -> impl PinInit<Self> + 'bound {
        pin_init!(Self {
            dev: channel.device(),
            sender: Sender::new(channel.as_raw()),
            reader <- new_mutex!(None, "vmbus::Session::reader"),
            end <- new_mutex!(None, "vmbus::Session::end"),
            moved <- new_condvar!("vmbus::Session::moved"),
            work <- Opaque::ffi_init(move |slot| {
                // SAFETY: `slot` is valid for writes, and stays in its place.
                unsafe {
                    bindings::init_work_with_key(
                        slot,
                        Some(poll),
                        false,
                        c"vmbus::Session::work".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
        })
    }

    /// The field of the channel that says who has it open.
    #[inline]
    fn owner(&self) -> &Atomic<*mut c_void> {
        // SAFETY: The channel is valid as long as its device, and nobody but this abstraction
        // accesses this field while the device is bound to one of its drivers.
        unsafe { Atomic::from_ptr(&raw mut (*self.sender.as_raw()).per_channel_state) }
    }

    /// Opens the channel.
    ///
    /// # Safety
    ///
    /// `self` must be in the `core` of an initialized [`Session`], whose work item it has. If this
    /// succeeds, `self` must be in its place until [`Core::close`] has returned.
    #[inline]
    unsafe fn open(&self, sizes: &Sizes) -> Result {
        might_sleep();

        let context: *mut c_void = core::ptr::from_ref(self).cast_mut().cast();
        let buffer = KVVec::from_elem(0u8, sizes.payload, GFP_KERNEL)?;

        // The bus driver would give the rings of an open channel away before it looks whether the
        // channel is open.
        self.owner()
            .cmpxchg(core::ptr::null_mut(), context, Full)
            .map_err(|_| EBUSY)?;

        self.reset();
        // SAFETY: The channel is valid, not open, and ours: nobody reads this field.
        unsafe {
            (*self.sender.as_raw()).callback_mode =
                bindings::vmbus_channel_hv_callback_mode_HV_CALL_ISR
        };

        // SAFETY:
        // - The channel is valid and not open.
        // - `wake_callback()` wants a `Core`, which is complete, and stays so until `close()` has
        //   withdrawn the callback, here or later.
        let opened = to_result(unsafe {
            bindings::vmbus_open(
                self.sender.as_raw(),
                sizes.send,
                sizes.receive,
                core::ptr::null_mut(),
                0,
                Some(wake_callback),
                context,
            )
        });

        // SAFETY: If the channel is open its ring is mapped, and is unmapped by `close()`, which
        // takes the reader away before.
        let ring = unsafe { Ring::new(&raw const (*self.sender.as_raw()).inbound) };
        let ring = opened.and_then(|()| ring.ok_or(EINVAL));

        match ring {
            Ok(ring) => *self.reader.lock() = Some(Reader::new(ring, buffer)),
            Err(error) => {
                // The bus driver leaves our callback in a channel that it could not open.
                //
                // SAFETY: `open()` was called.
                unsafe { self.close() };
                return Err(error);
            }
        }

        // What the host has sent until now found no reader.
        self.wake();
        Ok(())
    }

    /// Closes the channel: when this returns, neither the callback nor the work item runs, or will.
    ///
    /// # Safety
    ///
    /// [`Core::open`] must have been called, and this not yet.
    #[inline]
    unsafe fn close(&self) {
        might_sleep();

        self.ended(ENODEV);
        // From here on the work item touches no ring. Waits for one that does.
        let reader = self.reader.lock().take();
        drop(reader);

        // Withdraws the callback, whatever the channel's state is, and has the host forget the
        // rings if it is open; the rings stay mapped.
        //
        // SAFETY: The channel is valid.
        let closed = unsafe { bindings::vmbus_disconnect_ring(self.sender.as_raw()) };

        // SAFETY: The work item is initialized. Nobody queues it any more.
        unsafe { bindings::cancel_work_sync(self.work.get()) };

        // The bus driver leaks the rings if it does not know whether the host has forgotten them,
        // and has freed them if the channel could not be opened.
        if closed == 0 {
            // SAFETY: The channel was open, and nobody uses its rings any more.
            unsafe { bindings::vmbus_free_ring(self.sender.as_raw()) };
        }

        self.reset();
        self.owner().store(core::ptr::null_mut(), Release);
    }

    /// Brings all that drivers can set in a channel into the state that it had when it was
    /// offered. The bus driver does not, and other drivers expect it, or have left something else.
    #[inline]
    fn reset(&self) {
        let channel = self.sender.as_raw();

        // SAFETY: The channel is valid, not open, and ours: nobody reads these fields.
        unsafe {
            (*channel).callback_mode = bindings::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED;
            (*channel).change_target_cpu_callback = None;
            (*channel).sc_creation_callback = None;
            (*channel).chn_rescind_callback = None;
            (*channel).next_request_id_callback = None;
            (*channel).request_addr_callback = None;
            (*channel).low_latency = false;
            (*channel).max_pkt_size = 0;
            (*channel).rqstor_size = 0;
            // Freed, if there was one, when the channel was closed; and freed again with the next
            // session's, if it were still there.
            (*channel).requestor.req_arr = core::ptr::null_mut();
            (*channel).requestor.req_bitmap = core::ptr::null_mut();
        }
    }

    /// Has the work item run. Any context.
    fn wake(&self) {
        // SAFETY: The work item is initialized, and `close()` cancels it before it goes away. The
        // queue always exists.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
                self.work.get(),
            )
        };
    }

    /// Signals the host that there is room in its ring.
    #[inline]
    fn signal(&self) {
        let channel = self.sender.as_raw();

        // SAFETY: The channel is valid, and only its reader, whom we are, writes this field.
        unsafe { (*channel).intr_in_full = (*channel).intr_in_full.wrapping_add(1) };

        // SAFETY: The channel is open, because there is a reader.
        unsafe { bindings::vmbus_setevent(channel) };
    }

    /// Ends waits, and says why; the first reason counts.
    fn ended(&self, why: Error) {
        self.end.lock().get_or_insert(why);
        self.moved.notify_all();
    }

    /// Has waiters look at what they wait for.
    fn tell_waiters(&self) {
        // One that has looked before sleeps when it has released the lock.
        drop(self.end.lock());
        self.moved.notify_all();
    }
}

/// The callback of an open channel: hard interrupt context, with the channel's `sched_lock` held.
///
/// # Safety
///
/// `context` must point to a [`Core`] that stays valid until this is withdrawn.
unsafe extern "C" fn wake_callback(context: *mut c_void) {
    // SAFETY: By the safety requirements.
    let core = unsafe { &*context.cast::<Core<'_>>() };

    core.wake();
}

/// Closes a session that is still open when the driver's data are gone.
///
/// A session can be leaked, like any value. It is pinned, so its memory is never reused then; but
/// the handler may borrow what lives as long as the device is bound.
pub(super) struct Leaked<'bound>(&'bound Device<device::Bound>);

impl<'bound> Leaked<'bound> {
    /// To be created before the driver's probe is called.
    #[inline]
    pub(super) fn new(dev: &'bound Device<device::Bound>) -> Self {
        let leaked = Self(dev);

        // What the driver before us may have left there.
        leaked.owner().store(core::ptr::null_mut(), Release);
        leaked
    }

    #[inline]
    fn owner(&self) -> &Atomic<*mut c_void> {
        let channel = self.0.channel().as_raw().as_ptr();

        // SAFETY: As in `Core::owner()`.
        unsafe { Atomic::from_ptr(&raw mut (*channel).per_channel_state) }
    }
}

impl Drop for Leaked<'_> {
    #[inline]
    fn drop(&mut self) {
        let core = self.owner().load(Acquire);
        if core.is_null() {
            return;
        }

        dev_warn!(self.0, "the driver has leaked the open channel\n");
        // SAFETY: By the type invariants of `Core` this is one that has opened the channel. What
        // the driver owned is gone; hence the session was leaked, and will never be dropped, and
        // its memory, which is pinned, is never reused.
        let core = unsafe { &*core.cast::<Core<'_>>() };

        // SAFETY: It has opened the channel, and nobody else will close it.
        unsafe { core.close() };
    }
}
