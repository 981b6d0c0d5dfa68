// SPDX-License-Identifier: GPL-2.0

//! NAPI: interrupts that turn into polling.
//!
//! A driver has a [`Napi`] for each queue that it polls. Its data live in it. While polling is
//! enabled, which an [`Enabled`] stands for, [`Napi::schedule`] makes the softirq call
//! [`Poll::poll`], again and again until that calls [`Polling::complete`].
//!
//! C source: [`net/core/dev.c`](srctree/net/core/dev.c)

use super::{
    device::Device,
    operations::Operations,
    skb::RxSkb, //
};
use crate::{
    bindings, container_of,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};

/// What is polled.
pub trait Poll: Send + Sync + Sized + 'static {
    /// The operations of the device that it belongs to.
    type Device: Operations;

    /// What only the poll function uses.
    type State: Send;

    /// Does some of the work that there is, but no more than the budget allows, and ends with
    /// [`Polling::again`] or [`Polling::complete`].
    ///
    /// Softirq context, on one processor at a time until [`Polling::complete`]; netpoll calls it
    /// with interrupts off and a budget of 0, for completions of what was sent, and nothing else.
    fn poll<'a>(this: &'a Napi<Self>, polling: Polling<'a, Self>) -> Polled<'a>;
}

/// A call of [`Poll::poll`], as long as nobody else can poll the instance.
pub struct Polling<'a, P: Poll> {
    state: &'a mut P::State,
    budget: Budget,
}

/// How a call of [`Poll::poll`] has ended. There is one for each [`Polling`], made of it.
#[must_use]
pub struct Polled<'a> {
    result: c_int,
    _of_poll: PhantomData<&'a mut ()>,
}

impl<'a, P: Poll> Polling<'a, P> {
    /// What only the poll function uses, and how much it may do.
    #[inline]
    pub fn parts(&mut self) -> (&mut P::State, &mut Budget) {
        (self.state, &mut self.budget)
    }

    /// There is more to do, now or when others had their turn: poll again.
    #[inline]
    pub fn again(self) -> Polled<'a> {
        self.budget.flush();
        Polled {
            // CAST: It came as one.
            result: self.budget.limit as c_int,
            _of_poll: PhantomData,
        }
    }

    /// Nothing is left to do: poll again when somebody calls [`Napi::schedule`], or has called it
    /// since this poll began. If the budget is used up, this is the same as [`Polling::again`].
    ///
    /// From here on the instance may be polled on another processor. Returns whether interrupts
    /// are to be allowed again; not if the instance will be polled without one: it was scheduled
    /// meanwhile, somebody polls it in a loop, or a timer will.
    #[inline]
    pub fn complete(self) -> (Polled<'a>, bool) {
        if self.budget.is_used() {
            return (self.again(), false);
        }
        self.budget.flush();
        let polled = Polled {
            // CAST: Less than the limit, which came as one.
            result: self.budget.used as c_int,
            _of_poll: PhantomData,
        };
        // SAFETY: We are in the poll function of the instance, which has used less than it might,
        // and whose state is not used any more: `self` has it, and is gone.
        let idle =
            unsafe { bindings::napi_complete_done(self.budget.napi.as_ptr(), polled.result) };

        (polled, idle)
    }
}

/// How many frames a poll may receive. Stands for being in the poll function of an instance.
pub struct Budget {
    napi: NonNull<bindings::napi_struct>,
    limit: u32,
    used: u32,
    /// Frames were redirected, and wait to be flushed.
    redirected: bool,
    _not_send: NotThreadSafe,
}

impl Budget {
    #[inline]
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether all of it is used.
    #[inline]
    pub fn is_used(&self) -> bool {
        self.used >= self.limit
    }

    /// Counts a frame.
    #[inline]
    pub fn count(&mut self) {
        self.used = self.used.saturating_add(1);
    }

    /// A frame was redirected by a program.
    #[inline]
    pub(super) fn redirected(&mut self) {
        self.redirected = true;
    }

    /// Sends what was redirected on its way.
    #[inline]
    fn flush(&self) {
        if self.redirected {
            // SAFETY: We are in the poll function that has redirected it.
            unsafe { bindings::xdp_do_flush() }
        }
    }

    /// Makes a buffer for a frame of so many bytes; [`None`] if there is no memory.
    #[inline]
    pub fn alloc_skb(&self, len: usize) -> Option<RxSkb> {
        let len = u32::try_from(len).ok().filter(|len| *len < 1 << 24)?;

        // SAFETY: We are in the poll function of this instance.
        let skb = NonNull::new(unsafe { bindings::napi_alloc_skb(self.napi.as_ptr(), len) })?;

        // SAFETY: A new buffer is empty and linear.
        Some(unsafe { RxSkb::from_raw(skb) })
    }

    /// Hands a received frame to the stack.
    ///
    /// One that is shorter than an Ethernet header is dropped.
    #[inline]
    pub fn gro_receive(&mut self, skb: RxSkb) {
        if skb.len() < super::skb::ETH_HLEN {
            return;
        }
        let skb = skb.into_raw();

        // SAFETY: The instance's device is valid as long as the instance. The frame has a whole
        // Ethernet header in its linear part.
        unsafe {
            (*skb).__bindgen_anon_4.headers.as_mut().protocol =
                bindings::eth_type_trans(skb, (*self.napi.as_ptr()).dev)
        };
        // SAFETY: We are in the poll function of this instance, and give the frame up.
        unsafe { bindings::napi_gro_receive(self.napi.as_ptr(), skb) };
    }
}

/// A NAPI instance.
///
/// The last reference must be dropped in process context: that sleeps.
///
/// # Invariants
///
/// `raw` is an instance of the device `dev`, which calls [`poll_callback`]. It is enabled if and
/// only if there is an [`Enabled`] for it, as `enabled` says.
#[pin_data(PinnedDrop)]
pub struct Napi<P: Poll> {
    #[pin]
    raw: Opaque<bindings::napi_struct>,
    dev: ARef<Device<P::Device>>,
    enabled: Atomic<bool>,
    state: UnsafeCell<P::State>,
    #[pin]
    data: P,
}

// SAFETY: All fields may be sent to another thread; an instance belongs to none.
unsafe impl<P: Poll> Send for Napi<P> {}

// SAFETY: `data` and `dev` are `Sync`; `raw` is handed to functions that may be called by any
// thread; `state` is accessed by the poll function alone, which runs on one processor at a time.
unsafe impl<P: Poll> Sync for Napi<P> {}

impl<P: Poll> Napi<P> {
    /// Makes an instance, and adds it to its device, not enabled. Process context, may sleep.
    pub fn new<E>(
        dev: ARef<Device<P::Device>>,
        state: P::State,
        data: impl PinInit<P, E>,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        try_pin_init!(Self {
            data <- data,
            enabled: Atomic::new(false),
            state: UnsafeCell::new(state),
            raw <- {
                let dev = dev.as_raw();

                Opaque::ffi_init(move |slot: *mut bindings::napi_struct| {
                    // SAFETY: `slot` is valid for writes, and has room for the structure, for
                    // which all zeroes are valid, and what the function below expects.
                    unsafe { slot.write_bytes(0, 1) };
                    // SAFETY: The device is valid as long as the instance, which has a reference.
                    // Nothing polls before it is enabled.
                    unsafe { bindings::netif_napi_add(dev, slot, Some(poll_callback::<P>)) };
                })
            },
            dev,
        })
    }

    /// The C structure.
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::napi_struct {
        self.raw.get()
    }

    /// The device that this is an instance of.
    #[inline]
    pub fn device(&self) -> &Device<P::Device> {
        &self.dev
    }

    /// Makes the softirq poll. Any context, hard interrupts too. Nothing, if polling is not
    /// enabled.
    #[inline]
    pub fn schedule(&self) {
        // SAFETY: By the type invariant this is a valid instance.
        if unsafe { bindings::napi_schedule_prep(self.raw.get()) } {
            // SAFETY: As above, and it was prepared.
            unsafe { bindings::__napi_schedule(self.raw.get()) };
        }
    }
}

impl<P: Poll> Deref for Napi<P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        &self.data
    }
}

#[pinned_drop]
impl<P: Poll> PinnedDrop for Napi<P> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant this is a valid instance. It is not enabled, because an
        // `Enabled` has a reference. Its memory is not used after a grace period, for which this
        // function waits.
        unsafe { bindings::netif_napi_del(self.raw.get()) };
    }
}

/// Polling of an instance, enabled. Dropping it waits for the poll function, and disables it.
///
/// Process context, sleeps.
///
/// # Invariants
///
/// The instance is enabled, and there is one `Enabled` for it.
pub struct Enabled<P: Poll>(Arc<Napi<P>>);

impl<P: Poll> Enabled<P> {
    /// Enables polling. Process context, may sleep.
    ///
    /// Fails with [`EBUSY`] if it is enabled already.
    pub fn new(napi: Arc<Napi<P>>) -> Result<Self> {
        napi.enabled.cmpxchg(false, true, Full).map_err(|_| EBUSY)?;

        // SAFETY: By the type invariant this is a valid instance. It was not enabled.
        unsafe { bindings::napi_enable(napi.raw.get()) };

        // INVARIANT: It is enabled now, and nobody else has changed `enabled`.
        Ok(Self(napi))
    }

    /// The instance.
    #[inline]
    pub fn napi(&self) -> &Arc<Napi<P>> {
        &self.0
    }
}

impl<P: Poll> Deref for Enabled<P> {
    type Target = Napi<P>;

    #[inline]
    fn deref(&self) -> &Napi<P> {
        &self.0
    }
}

impl<P: Poll> Drop for Enabled<P> {
    fn drop(&mut self) {
        debug_assert!(self.0.enabled.load(Acquire));
        // SAFETY: By the type invariant it is enabled.
        unsafe { bindings::napi_disable(self.0.raw.get()) };
        self.0.enabled.store(false, Release);
    }
}

/// The poll function of all instances.
///
/// # Safety
///
/// Only to be called by NAPI, for an instance of a [`Napi<P>`] that is enabled.
unsafe extern "C" fn poll_callback<P: Poll>(
    raw: *mut bindings::napi_struct,
    limit: c_int,
) -> c_int {
    // SAFETY: By the safety requirements `raw` is in a `Napi<P>`.
    let napi = unsafe { container_of!(Opaque::cast_from(raw), Napi<P>, raw) };

    // SAFETY: It is valid: an enabled instance is kept by its `Enabled`, which waits for this.
    let napi = unsafe { &*napi };

    let Some(raw) = NonNull::new(raw) else {
        return 0;
    };
    let budget = Budget {
        napi: raw,
        limit: u32::try_from(limit).unwrap_or(0),
        used: 0,
        redirected: false,
        _not_send: NotThreadSafe,
    };

    // SAFETY: NAPI calls this on one processor at a time, until `Polling::complete()`, which gives
    // up the state; and nobody else accesses it.
    let state = unsafe { &mut *napi.state.get() };

    P::poll(napi, Polling { state, budget }).result
}
