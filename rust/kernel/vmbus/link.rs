// SPDX-License-Identifier: GPL-2.0

//! What a session is without its handler: the writer, the reader's place, and those who wait.

use super::{
    ends::Consumer,
    inflight::Request,
    raw::Raw,
    reader::Reader,
    ring::Ring,
    writer::Writer,
    Device, //
};
use crate::{
    alloc::KVVec,
    new_condvar,
    new_spinlock_irq,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Full,
            Relaxed,
            Release, //
        },
        rcu,
        CondVar,
        SpinLockIrq, //
    },
    task::might_sleep,
    time::{
        msecs_to_jiffies,
        Delta,
        Instant,
        Monotonic, //
    }, //
};
use core::{
    cell::UnsafeCell,
    ops::Deref, //
};

/// How often a waiter looks whether the channel was rescinded, in milliseconds: the bus tells that
/// only by unbinding the driver, which it cannot while probe waits.
const RESCIND_POLL_MS: u32 = 100;

/// Somebody reads.
const READING: u32 = 1;
/// Somebody else wanted to read meanwhile.
const MISSED: u32 = 2;
/// The session is closed.
const CLOSED: u32 = 4;
/// The host has spoilt its ring.
const SPOILT: u32 = 8;

/// Tells sessions apart: the next one's number.
static TAG: Atomic<u32> = Atomic::new(1);

/// Returns a number that no other session has.
pub(super) fn next_tag() -> u32 {
    TAG.fetch_add(1, Relaxed)
}

/// What waiters look at once more when something has happened.
#[pin_data]
struct Events {
    /// How much has happened.
    #[pin]
    count: SpinLockIrq<u64>,
    #[pin]
    happened: CondVar,
}

impl Events {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            count <- new_spinlock_irq!(0, "vmbus::Events::count"),
            happened <- new_condvar!("vmbus::Events::happened"),
        })
    }

    /// Something has happened. Any context but NMI.
    fn notify(&self) {
        let mut count = self.count.lock();

        *count = count.wrapping_add(1);
        drop(count);
        self.happened.notify_all();
    }

    fn count(&self) -> u64 {
        *self.count.lock()
    }

    /// Sleeps until something has happened since `seen` was [counted](Events::count), but not for
    /// long.
    fn wait(&self, seen: u64) {
        let mut count = self.count.lock();

        if *count == seen {
            self.happened
                .wait_timeout(&mut count, msecs_to_jiffies(RESCIND_POLL_MS));
        }
    }
}

/// A session without its handler.
#[pin_data]
pub(super) struct Link<R: Request> {
    #[pin]
    base: Base,
    #[pin]
    writer: Writer<R>,
}

/// What of a session does not depend on its requests.
///
/// # Invariants
///
/// - `consumer` is accessed by whoever has set [`READING`] in `reading`, or by who opens the
///   session, before [`CLOSED`] is cleared, or closes it, after the last reader.
/// - Unless `closed` is set, the channel is valid; it is freed only after a grace period in which
///   it was set.
#[pin_data]
pub(super) struct Base {
    pub(super) dev: ARef<Device>,
    channel: Raw,
    consumer: UnsafeCell<Option<Consumer>>,
    /// Who reads, and whether anybody may.
    reading: Atomic<u32>,
    closed: AtomicFlag,
    /// The channel was rescinded when it was closed.
    rescinded: AtomicFlag,
    /// What of the host was refused.
    refused: Atomic<u32>,
    #[pin]
    events: Events,
}

// SAFETY: All fields are `Send` but the cell, whose contents are.
unsafe impl Send for Base {}

// SAFETY: All fields are `Sync` but the cell, whose contents are accessed by one thread at a time.
unsafe impl Sync for Base {}

impl<R: Request> Deref for Link<R> {
    type Target = Base;

    #[inline]
    fn deref(&self) -> &Base {
        &self.base
    }
}

impl<R: Request> Link<R> {
    /// A session that is not open yet. May sleep.
    #[inline]
    pub(super) fn new(
        dev: ARef<Device>,
        channel: Raw,
        requests: usize,
    ) -> Result<impl PinInit<Self>> {
        let writer = Writer::new(channel, next_tag(), requests)?;

        Ok(pin_init!(Self {
            base <- Base::new(dev, channel),
            writer <- writer,
        }))
    }

    #[inline]
    pub(super) fn writer(&self) -> &Writer<R> {
        &self.writer
    }

    /// Lets the session be used. May sleep.
    ///
    /// Returns [`EINVAL`] if the channel has no rings.
    ///
    /// # Safety
    ///
    /// The channel must have been opened for this session, and must stay open until
    /// [`Link::shut`] has returned and after that a grace period has passed. This is called once.
    #[inline]
    pub(super) unsafe fn open(&self, buffer: KVVec<u8>) -> Result {
        // SAFETY: By the safety requirements.
        let outbound = unsafe { self.base.open(buffer) }?;

        // SAFETY: By the safety requirements.
        unsafe { self.writer.open(outbound) };
        Ok(())
    }

    /// Lets the session be used no more, waits for its reader, and ends waits. May sleep.
    ///
    /// Can be called more than once, and concurrently.
    #[inline]
    pub(super) fn shut(&self) {
        self.writer.shut();
        self.base.shut();
    }

    /// Ends the requests that were never answered: cancels them if the host has confirmed that it
    /// has forgotten the rings, or was told to; otherwise leaks them. May sleep.
    ///
    /// # Safety
    ///
    /// [`Link::shut`] has returned.
    #[inline]
    pub(super) unsafe fn end(&self, confirmed: bool) {
        let mut leaked = 0u32;

        // SAFETY: There is no reader and no writer any more.
        unsafe {
            self.writer.table().drain(|request| {
                if confirmed {
                    request.cancelled();
                } else {
                    core::mem::forget(request);
                    leaked += 1;
                }
            })
        };
        // SAFETY: By the safety requirements.
        unsafe { self.base.end(leaked) };
    }

    /// See [`Session::reader`](super::Session::reader). A tasklet of the bus has waited already if
    /// the handler is polled by it.
    #[inline]
    pub(super) fn reader(&self, polled: bool) -> Option<Reader<'_, R>> {
        // What the last reader did is done.
        if self.reading.cmpxchg(0, READING, Acquire).is_err() && !self.try_read() {
            return None;
        }

        // SAFETY: We have set `READING`, and whoever closes the session waits for us.
        let Some(consumer) = (unsafe { &mut *self.consumer.get() }) else {
            self.release();
            return None;
        };
        if !polled {
            // SAFETY: The session is open.
            unsafe { self.channel.delay(true) };
        }
        Some(Reader::new(self, consumer))
    }
}

impl Base {
    /// A session that is not open yet.
    fn new(dev: ARef<Device>, channel: Raw) -> impl PinInit<Self> {
        // INVARIANT: It is closed.
        pin_init!(Self {
            dev,
            channel,
            consumer: UnsafeCell::new(None),
            reading: Atomic::new(CLOSED),
            closed: AtomicFlag::new(true),
            rescinded: AtomicFlag::new(false),
            refused: Atomic::new(0),
            events <- Events::new(),
        })
    }

    /// The channel; valid unless the session is closed.
    #[inline]
    pub(super) fn channel(&self) -> Raw {
        self.channel
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// Whether the host has taken the channel back. Any context.
    pub(super) fn is_rescinded(&self) -> bool {
        let _rcu = rcu::read_lock();

        if self.is_closed() {
            return self.rescinded.load(Relaxed);
        }
        // SAFETY: It was valid after the grace period began, and so it is.
        unsafe { self.channel.is_rescinded() }
    }

    /// See [`Link::open`]. Returns the ring to the host.
    ///
    /// # Safety
    ///
    /// That of [`Link::open`].
    unsafe fn open(&self, buffer: KVVec<u8>) -> Result<Ring> {
        // SAFETY: The channel is open.
        let [outbound, inbound] = unsafe { self.channel.rings() };
        // SAFETY: The ring stays mapped by the safety requirements.
        let outbound = unsafe { Ring::of_channel(outbound) }.ok_or(EINVAL)?;
        // SAFETY: As above: a consumer is used by readers only, and `shut()` waits for them.
        let inbound = unsafe { Ring::of_channel(inbound) }.ok_or(EINVAL)?;

        // SAFETY: The session is closed, and only we open it.
        unsafe { *self.consumer.get() = Some(Consumer::new(inbound, buffer)) };
        // INVARIANT: By the safety requirements the channel is valid.
        self.closed.store(false, Release);
        // Whoever may read sees the consumer.
        self.reading.store(0, Release);
        Ok(outbound)
    }

    /// See [`Link::shut`].
    fn shut(&self) {
        might_sleep();

        if self.is_rescinded() {
            self.rescinded.store(true, Relaxed);
        }
        self.closed.store(true, Release);
        self.update(|reading| reading | CLOSED);
        self.events.notify();
        loop {
            let seen = self.events.count();
            // What the reader did is done.
            if self.reading.load(Acquire) & READING == 0 {
                return;
            }
            self.events.wait(seen);
        }
    }

    /// The channel was rescinded, as was seen after the session was shut.
    pub(super) fn set_rescinded(&self) {
        self.rescinded.store(true, Relaxed);
    }

    /// See [`Link::end`]; so many requests were leaked.
    ///
    /// # Safety
    ///
    /// That of [`Link::end`].
    unsafe fn end(&self, leaked: u32) {
        if leaked > 0 {
            dev_warn!(
                self.dev,
                "{} requests are leaked: the host may still access their memory\n",
                leaked
            );
        }
        // SAFETY: There is no reader any more. The ring is not used by this.
        unsafe { *self.consumer.get() = None };
    }

    /// Changes `reading` and returns what it was.
    #[inline]
    fn update(&self, f: impl Fn(u32) -> u32) -> u32 {
        let mut before = self.reading.load(Relaxed);

        loop {
            match self.reading.cmpxchg(before, f(before), Full) {
                Ok(_) => return before,
                Err(now) => before = now,
            }
        }
    }

    /// Tries again to become the reader; otherwise whoever reads is told.
    #[cold]
    fn try_read(&self) -> bool {
        let before = self.update(|reading| match reading {
            0 => READING,
            READING => READING | MISSED,
            _ => reading,
        });

        before == 0
    }

    /// Ends reading. Returns whether somebody else wanted to read.
    #[inline]
    pub(super) fn release(&self) -> bool {
        self.reading.cmpxchg(READING, 0, Release).is_err() && self.release_missed()
    }

    /// Ends reading while there is somebody else who wanted to read, or who waits for the end.
    #[cold]
    fn release_missed(&self) -> bool {
        let before = self.update(|reading| reading & !(READING | MISSED));
        if before & CLOSED != 0 {
            self.events.notify();
        }
        before & MISSED != 0
    }

    /// Counts what was refused.
    #[cold]
    pub(super) fn refuse(&self, what: &str) {
        let refused = self.refused.fetch_add(1, Relaxed).wrapping_add(1);

        // Ever more seldom: what the host can repeat must not fill the log.
        if refused.is_power_of_two() {
            dev_warn!(
                self.dev,
                "channel {}: the host has sent {} ({} of such things)\n",
                self.relid(),
                what,
                refused
            );
        }
    }

    /// The host has spoilt its ring: nobody reads it any more.
    #[cold]
    pub(super) fn spoilt(&self, error: Error) -> Error {
        if self.update(|reading| reading | SPOILT) & SPOILT == 0 {
            dev_err!(
                self.dev,
                "channel {}: the host has spoilt its ring; nothing more is received\n",
                self.relid()
            );
            self.events.notify();
        }
        error
    }

    /// For messages of the reader, who keeps the channel valid.
    fn relid(&self) -> u32 {
        // SAFETY: The session is open while there is a reader.
        unsafe { self.channel.relid() }
    }

    /// Wakes waiters. Any context but NMI.
    pub(super) fn notify(&self) {
        self.events.notify();
    }

    /// See [`Session::wait`](super::Session::wait). `rescinded` is called if the channel is.
    // Not for every kind of `done` once more: who waits has time.
    pub(super) fn wait(
        &self,
        timeout: Delta,
        done: &mut dyn FnMut() -> bool,
        rescinded: &dyn Fn(),
    ) -> Result {
        might_sleep();
        let start = Instant::<Monotonic>::now();

        loop {
            let seen = self.events.count();
            let closed = self.is_closed();
            let gone = self.is_rescinded();
            let spoilt = self.reading.load(Acquire) & SPOILT != 0;
            let late = start.elapsed() >= timeout;

            if gone {
                rescinded();
            }
            // What is done is done, whatever happened then.
            if done() {
                return Ok(());
            }
            if closed || gone {
                return Err(ENODEV);
            }
            if spoilt {
                return Err(EIO);
            }
            if late {
                return Err(ETIMEDOUT);
            }
            self.events.wait(seen);
        }
    }
}
