// SPDX-License-Identifier: GPL-2.0

//! How a channel is opened and closed, and what the bus calls in between.
//!
//! The channel is in a mode in which the bus calls back in hard interrupt context, under a lock of
//! the channel, or from the channel's tasklet, and masks nothing. An open channel owns a reference
//! to its [`Core`]: `per_channel_state` and the callback's context point to it.
//!
//! A sub-channel cannot be closed alone: the bus closes it with its primary. Until then a session
//! that is closed is silent; nobody uses its rings but the host.
//!
//! C source: [`drivers/hv/channel.c`](srctree/drivers/hv/channel.c),
//! [`drivers/hv/channel_mgmt.c`](srctree/drivers/hv/channel_mgmt.c)

use super::{
    channel::{
        Sizes,
        SubChannel, //
    },
    link::Link,
    raw::{
        Mode,
        Offered,
        Raw, //
    },
    session::{
        Handler,
        Session, //
    },
    Device, //
};
use crate::{
    alloc::{
        KVVec,
        KVec, //
    },
    bindings,
    cpu::CpuId,
    device,
    new_mutex,
    optional_name,
    prelude::*,
    static_lock_class,
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
        Arc,
        Mutex, //
    },
    task::might_sleep,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use core::{
    any::TypeId,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// Stands in `per_channel_state` while a channel is opened or closed.
const BUSY: *mut c_void = core::ptr::without_provenance_mut(1);

/// What a [`Core`] begins with, whatever its type is.
#[repr(C)]
struct Entry {
    /// The handler's type.
    handler: TypeId,
    /// Takes a reference to the `Core`.
    hold: unsafe fn(*const Entry),
    /// Closes its session and gives a reference back.
    close: unsafe fn(*const Entry),
}

/// The sessions of a primary channel's sub-channels; [`None`] once it is closed.
pub(super) type Subs = Mutex<Option<KVec<Arc<dyn Sub>>>>;

/// An open or silent session of a sub-channel, for that of the primary.
pub(super) trait Sub: Send + Sync {
    /// Makes it silent, and takes its object from the channel.
    fn shut(&self);

    /// Waits for what the bus has called, when a grace period has passed since it was shut, and
    /// takes a reference to the channel, which is valid until the primary is closed.
    fn settle(&self);

    /// Ends it, when the primary was closed. Gives back the reference to the channel.
    fn end(&self, closed: bool);
}

/// What is behind a session.
///
/// # Invariants
///
/// From [`Core::open`] until the end of [`Core::close`], or of the primary's, the channel was opened
/// for this object and `owner` of the channel is [`BUSY`] or points to this object, in which case
/// it has a reference.
#[repr(C)]
#[pin_data]
pub(super) struct Core<H: Handler> {
    entry: Entry,
    #[pin]
    pub(super) link: Link<H::Request>,
    pub(super) sub_index: u16,
    /// The processor that the host interrupts.
    cpu: Atomic<u32>,
    /// The channel was opened: wake.
    ready: AtomicFlag,
    /// The handler was told of the rescind.
    told: AtomicFlag,
    /// How many functions that the bus has called run.
    hooks: Atomic<i32>,
    #[pin]
    subs: Subs,
    /// The session was closed. That of the primary is locked before those of sub-channels.
    #[pin]
    closed: Mutex<bool>,
    /// What the channel had for its reference, when that was taken from it.
    context: Atomic<*mut c_void>,
    #[pin]
    pub(super) handler: H,
}

impl<H: Handler> Core<H> {
    /// From where the handler is called.
    const MODE: Mode = if H::POLLED {
        Mode::Softirq
    } else {
        Mode::HardIrq
    };

    #[inline]
    pub(super) fn new<E>(
        dev: ARef<Device>,
        channel: Raw,
        sub_index: u16,
        requests: usize,
        handler: impl PinInit<H, E>,
    ) -> Result<Arc<Self>>
    where
        Error: From<E>,
    {
        let link = Link::new(dev, channel, requests)?;
        // A sub-channel has none.
        let subs = (sub_index == 0).then(KVec::new);
        let (primary, sub) = (static_lock_class!(), static_lock_class!());
        let class = if sub_index == 0 { primary } else { sub };

        Arc::pin_init::<Error>(
            try_pin_init!(Self {
                entry: Entry {
                    handler: TypeId::of::<H>(),
                    hold: hold::<H>,
                    close: close::<H>,
                },
                link <- link,
                sub_index,
                cpu: Atomic::new(0),
                ready: AtomicFlag::new(false),
                told: AtomicFlag::new(false),
                hooks: Atomic::new(0),
                subs <- new_mutex!(subs, "vmbus::Core::subs"),
                closed <- Mutex::new(false, optional_name!("vmbus::Core::closed"), class),
                context: Atomic::new(core::ptr::null_mut()),
                handler <- handler,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Opens the channel. Sleeps until the host has answered.
    ///
    /// Returns [`EBUSY`] if it is open, [`ENOMEM`], and the errors of the bus.
    ///
    /// # Safety
    ///
    /// The channel of `this` must be valid; its device is bound, or it is a sub-channel that was
    /// just offered. This is called once.
    #[inline]
    pub(super) unsafe fn open(this: &Arc<Self>, sizes: Sizes) -> Result {
        might_sleep();
        let channel = this.link.channel();
        let buffer = KVVec::from_elem(0u8, sizes.payload, GFP_KERNEL)?;
        // SAFETY: The channel is valid.
        let owner = unsafe { channel.owner() };

        // The bus would give the rings of an open channel away before it looks whether the channel
        // is open.
        owner
            .cmpxchg(core::ptr::null_mut(), BUSY, Full)
            .map_err(|_| EBUSY)?;
        // SAFETY: The channel is valid, and whoever else opens it finds it busy.
        unsafe { channel.reset(Some(Self::MODE)) };

        // The channel's reference.
        let context: *mut c_void = Arc::into_raw(this.clone()).cast_mut().cast();
        // SAFETY: The channel is valid and not open. If this fails the callback is withdrawn below,
        // and otherwise when the session is shut, before the channel gives its reference back.
        let opened = unsafe { channel.open(sizes.send, sizes.receive, wake::<H>, context) };
        let used = opened.and_then(|()| {
            // SAFETY: It is open now. It is closed only after the session was shut and a grace
            // period has passed.
            unsafe { this.link.open(buffer) }
        });
        if let Err(error) = used {
            // The bus leaves our callback in a channel that it could not open.
            //
            // SAFETY: The channel is valid.
            unsafe { channel.silence() };
            if opened.is_ok() && this.sub_index == 0 {
                // SAFETY: The channel is valid, and nobody uses its rings.
                unsafe { channel.close() };
            }
            // SAFETY: The channel is valid and silent, and was not opened or has no rings.
            unsafe { channel.reset(None) };
            owner.store(core::ptr::null_mut(), Release);
            // SAFETY: The callback was the only one who had the channel's reference.
            drop(unsafe { Arc::from_raw(context.cast_const().cast::<Self>()) });
            return Err(error);
        }

        // SAFETY: The channel is valid.
        let cpu = unsafe { channel.target_cpu() };
        this.cpu.store(cpu.as_u32(), Relaxed);
        // Hooks find the object that belongs to them.
        owner.store(context, Release);
        let hook: Offered = sub_offered::<H>;
        let offered = (this.sub_index == 0).then_some(hook);
        // SAFETY: The channel is valid.
        unsafe { channel.set_hooks(Some(cpu_changed::<H>), offered) };
        this.ready.store(true, Release);
        // What the host has sent until now has woken nobody.
        if H::POLLED {
            // SAFETY: The channel is valid.
            unsafe { channel.schedule() };
        } else {
            this.handler.wake();
        }
        Ok(())
    }

    /// The processor that the host interrupts.
    #[inline]
    pub(super) fn target_cpu(&self) -> CpuId {
        CpuId::from_u32(self.cpu.load(Relaxed)).unwrap_or_else(CpuId::current)
    }

    /// Tells the handler, once, that the channel was rescinded.
    #[inline]
    pub(super) fn tell_rescinded(&self) {
        if !self.told.xchg(true, Full) {
            self.handler.rescinded();
        }
    }

    /// Makes the session silent, for the one who has set `closed`: nobody uses the rings any more,
    /// and nothing is called from an interrupt.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    #[inline]
    unsafe fn silence(&self) {
        self.ready.store(false, Release);
        // SAFETY: By the safety requirements.
        unsafe { self.link.channel().silence() };
        self.link.shut();
        if self.link.is_rescinded() {
            self.tell_rescinded();
        }
    }

    /// Closes the session. Sleeps.
    #[inline]
    pub(super) fn close(&self) {
        might_sleep();
        let mut closed = self.closed.lock();
        if *closed {
            return;
        }

        *closed = true;
        // SAFETY: The device is there, and so is its primary channel. A sub-channel that was opened
        // is valid until the session of the primary has locked `closed`, too, and closed it.
        unsafe { self.silence() };
        if self.sub_index == 0 {
            self.close_primary();
        }
    }

    /// Closes the channel, and its sub-channels before it.
    #[inline]
    fn close_primary(&self) {
        let channel = self.link.channel();

        // SAFETY: The device is there, and so is its primary channel.
        unsafe { self.take() };
        // Waits for a hook that opens a sub-channel; none can after this.
        let subs = self.subs.lock().take().unwrap_or_default();
        for sub in &subs {
            sub.shut();
        }
        // After this nobody looks at what was shut, but hooks that were counted before.
        rcu::synchronize_rcu();
        self.wait_for_hooks();
        for sub in &subs {
            sub.settle();
        }

        // SAFETY: The channel is valid. All sessions that used its rings, or those of its
        // sub-channels, are shut, and a grace period has passed.
        let closed = unsafe { channel.close() };
        for sub in &subs {
            sub.end(closed);
        }
        // SAFETY: The device is there, and so is its primary channel.
        unsafe { self.end(closed) };
    }

    /// Takes the object from the channel.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    #[inline]
    unsafe fn take(&self) {
        let channel = self.link.channel();

        // SAFETY: By the safety requirements.
        unsafe { channel.set_hooks(None, None) };
        // SAFETY: By the safety requirements.
        let context = unsafe { channel.owner() }.xchg(BUSY, Full);
        self.context.store(context, Relaxed);
    }

    /// Waits until no function runs that the bus has called before the object was
    /// [taken](Core::take).
    #[inline]
    fn wait_for_hooks(&self) {
        while self.hooks.load(Acquire) != 0 {
            fsleep(Delta::from_millis(1));
        }
    }

    /// Ends the session of a channel that was closed, and gives the channel's reference back.
    ///
    /// # Safety
    ///
    /// The channel must be valid, and the object [taken](Core::take), before a grace period and the
    /// last [hook](Core::wait_for_hooks).
    #[inline]
    unsafe fn end(&self, confirmed: bool) {
        let channel = self.link.channel();
        // SAFETY: By the safety requirements.
        let rescinded = unsafe { channel.is_rescinded() };

        if rescinded {
            self.link.set_rescinded();
        }
        // SAFETY: The session was shut before.
        unsafe { self.link.end(confirmed || rescinded) };
        // SAFETY: By the safety requirements; it is silent and busy.
        unsafe { channel.reset(None) };
        // SAFETY: By the safety requirements.
        unsafe { channel.owner() }.store(core::ptr::null_mut(), Release);

        let context = self.context.xchg(core::ptr::null_mut(), Relaxed);
        // SAFETY: By the type invariants this was the channel's reference, which nobody uses any
        // more. The caller has another one.
        drop(unsafe { Arc::from_raw(context.cast_const().cast::<Self>()) });
    }
}

impl<H: Handler> Sub for Core<H> {
    #[inline]
    fn shut(&self) {
        let mut closed = self.closed.lock();

        if !*closed {
            *closed = true;
            // SAFETY: A sub-channel that was opened is valid until its primary is closed.
            unsafe { self.silence() };
        }
        // SAFETY: As above.
        unsafe { self.take() };
    }

    #[inline]
    fn settle(&self) {
        self.wait_for_hooks();
        // SAFETY: A sub-channel that was opened is valid until its primary is closed. It was shown
        // in sysfs before it was offered to us.
        unsafe { self.link.channel().get() };
    }

    #[inline]
    fn end(&self, closed: bool) {
        let channel = self.link.channel();

        // SAFETY: We have a reference to the channel.
        let confirmed = closed && unsafe { channel.is_forgotten() };
        // SAFETY: We have a reference to the channel. The others were done before the primary was
        // closed.
        unsafe { self.end(confirmed) };
        // SAFETY: This was the reference of `settle()`.
        unsafe { channel.put() };
    }
}

/// See [`Entry::hold`].
///
/// # Safety
///
/// `entry` must be that of a `Core<H>` in an [`Arc`] that exists.
unsafe fn hold<H: Handler>(entry: *const Entry) {
    // SAFETY: By the safety requirements. The reference stays that of its owner.
    let core = ManuallyDrop::new(unsafe { Arc::from_raw(entry.cast::<Core<H>>()) });

    let _ = Arc::into_raw(Arc::clone(&core));
}

/// See [`Entry::close`].
///
/// # Safety
///
/// `entry` must be that of a `Core<H>` in an [`Arc`], and the caller has a reference to it.
unsafe fn close<H: Handler>(entry: *const Entry) {
    // SAFETY: By the safety requirements.
    let core = unsafe { Arc::from_raw(entry.cast::<Core<H>>()) };

    core.close();
}

/// The callback of an open channel: softirq context if the handler is polled, otherwise hard
/// interrupt context, with the channel's `sched_lock` held.
///
/// # Safety
///
/// `context` must point to a `Core<H>` in an [`Arc`], which stays valid until this is withdrawn.
unsafe extern "C" fn wake<H: Handler>(context: *mut c_void) {
    // SAFETY: By the safety requirements.
    let session = unsafe { Session::<H>::of_channel(context.cast_const().cast()) };
    let core = session.core();

    if !core.ready.load(Acquire) {
        return;
    }
    if !H::POLLED {
        core.handler.wake();
    } else if H::poll(&session) {
        // SAFETY: Whoever closes the channel waits for this function.
        unsafe { core.link.channel().schedule() };
    }
}

/// Calls `f` with the object of a channel, if it is of this type and its session is not closed.
///
/// # Safety
///
/// The channel must be valid, and its device have had one of our drivers.
#[inline]
unsafe fn with_core<H: Handler>(channel: Raw, f: impl FnOnce(&Core<H>)) {
    let rcu = rcu::read_lock();
    // SAFETY: By the safety requirements.
    let owner = unsafe { channel.owner() }.load(Acquire);
    if owner.is_null() || owner == BUSY {
        return;
    }

    // SAFETY: By the type invariants of `Core` this is one, whatever its type is. The channel gives
    // its reference back only after it was taken away and a grace period has passed.
    let entry = unsafe { &*owner.cast::<Entry>() };
    if entry.handler != TypeId::of::<H>() {
        // The bus had looked at the hook of an earlier session.
        return;
    }
    // SAFETY: As above; and that is its type.
    let core = unsafe { &*owner.cast::<Core<H>>() };
    core.hooks.fetch_add(1, Full);
    if !core.link.is_closed() {
        drop(rcu);
        f(core);
    }
    // Whoever closes the session waits for this.
    core.hooks.fetch_sub(1, Release);
}

/// The bus has moved a channel's interrupts. Process context.
///
/// # Safety
///
/// As for [`with_core`].
unsafe extern "C" fn cpu_changed<H: Handler>(
    channel: *mut bindings::vmbus_channel,
    old: u32,
    new: u32,
) {
    let (Some(channel), Some(old), Some(new)) = (
        NonNull::new(channel),
        CpuId::from_u32(old),
        CpuId::from_u32(new),
    ) else {
        return;
    };
    let tell = |core: &Core<H>| {
        core.cpu.store(new.as_u32(), Relaxed);
        core.handler.target_cpu_changed(old, new);
    };

    // SAFETY: By the safety requirements.
    unsafe { with_core(Raw::new(channel), tell) };
}

/// The host has offered a sub-channel. Process context.
///
/// # Safety
///
/// `channel` must be a sub-channel that stays valid until this returns. As for [`with_core`] its
/// primary.
unsafe extern "C" fn sub_offered<H: Handler>(channel: *mut bindings::vmbus_channel) {
    let Some(channel) = NonNull::new(channel).map(Raw::new) else {
        return;
    };
    // SAFETY: By the safety requirements.
    let Some(primary) = (unsafe { channel.primary() }) else {
        return;
    };
    let offer = |core: &Core<H>| {
        // SAFETY: The channel is valid until this returns, and the offer does not live longer.
        let offer = unsafe { SubChannel::new(channel, &core.link.dev, &core.subs) };

        core.handler.sub_channel(offer);
    };

    // SAFETY: By the safety requirements.
    unsafe { with_core(primary, offer) };
}

/// Closes the session of a device's primary channel that is still open when the driver's data are
/// gone.
///
/// A session can be leaked, like any value, or somebody has a reference to it still.
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
        // SAFETY: The channel is valid as long as its device, and the device is bound.
        unsafe { self.0.raw_channel().owner() }
    }
}

impl Drop for Leaked<'_> {
    #[inline]
    fn drop(&mut self) {
        loop {
            let rcu = rcu::read_lock();
            let owner = self.owner().load(Acquire);

            if owner.is_null() {
                return;
            }
            if owner == BUSY {
                // Somebody else closes it just now.
                drop(rcu);
                fsleep(Delta::from_millis(1));
                continue;
            }

            let entry: *const Entry = owner.cast_const().cast();
            // SAFETY: By the type invariants of `Core` this is one. The channel gives its reference
            // back only after a grace period that has not begun.
            let Entry { hold, close, .. } = unsafe { &*entry };
            // SAFETY: As above.
            unsafe { hold(entry) };
            drop(rcu);
            dev_warn!(self.0, "the driver has left the channel open\n");
            // SAFETY: This is the reference that was just taken.
            unsafe { close(entry) };
        }
    }
}
