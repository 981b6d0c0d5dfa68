// SPDX-License-Identifier: GPL-2.0

//! What is suspended last, and resumed first.
//!
//! C header: [`include/linux/syscore_ops.h`](srctree/include/linux/syscore_ops.h)

use crate::{
    bindings,
    error::from_result,
    prelude::*,
    types::Opaque, //
};
use core::marker::PhantomPinned;

/// Callbacks around the moment in which the system stands still.
///
/// They run on the boot CPU with interrupts off, while all other CPUs are offline.
pub trait Operations: Send + Sync + 'static {
    /// The system is being suspended. An error stops this.
    fn suspend(&self) -> Result;

    /// The system was resumed, or could not be suspended after [`Operations::suspend`].
    fn resume(&self);
}

/// Callbacks that are registered.
///
/// # Invariants
///
/// `syscore` is registered, and its data is `operations`.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Operations> {
    #[pin]
    syscore: Opaque<bindings::syscore>,
    #[pin]
    operations: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: It has no methods, and the operations are `Send`.
unsafe impl<T: Operations> Send for Registration<T> {}

// SAFETY: It has no methods, and the operations are `Sync`.
unsafe impl<T: Operations> Sync for Registration<T> {}

impl<T: Operations> Registration<T> {
    const OPS: bindings::syscore_ops = bindings::syscore_ops {
        suspend: Some(Self::suspend),
        resume: Some(Self::resume),
        ..pin_init::zeroed()
    };

    /// Registers `operations`. May sleep.
    pub fn new(operations: impl PinInit<T, Error>) -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            operations <- operations,
            syscore: Opaque::zeroed(),
            _pin: PhantomPinned,
            _: {
                // SAFETY: All fields are initialised.
                let this = unsafe { this.as_ref() };
                let syscore = this.syscore.get();

                // SAFETY: Nobody else knows the structure yet.
                unsafe { (*syscore).ops = &Self::OPS };
                // SAFETY: As above.
                unsafe { (*syscore).data = (&raw const this.operations).cast_mut().cast() };
                // INVARIANT: It is registered from here on.
                // SAFETY: The structure is complete and pinned, and it is unregistered before it
                // goes.
                unsafe { bindings::register_syscore(syscore) };
            },
        })
    }

    /// # Safety
    ///
    /// `data` must be the data of a registration.
    unsafe extern "C" fn suspend(data: *mut c_void) -> c_int {
        // SAFETY: By the safety requirements `data` points to the operations.
        let operations = unsafe { &*data.cast::<T>() };

        from_result(|| operations.suspend().map(|()| 0))
    }

    /// # Safety
    ///
    /// `data` must be the data of a registration.
    unsafe extern "C" fn resume(data: *mut c_void) {
        // SAFETY: By the safety requirements `data` points to the operations.
        let operations = unsafe { &*data.cast::<T>() };

        operations.resume();
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants it is registered.
        unsafe { bindings::unregister_syscore(self.syscore.get()) };
    }
}
