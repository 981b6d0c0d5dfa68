// SPDX-License-Identifier: GPL-2.0

//! What is done when the kernel panics.
//!
//! C header: [`include/linux/panic_notifier.h`](srctree/include/linux/panic_notifier.h)

use crate::{
    bindings,
    container_of,
    error::to_result,
    prelude::*,
    types::Opaque, //
};
use core::marker::PhantomPinned;

/// A callback for a panic.
pub trait Callback: Send + Sync + 'static {
    /// Those with higher priorities are called before.
    const PRIORITY: i32;

    /// The kernel is in a panic.
    ///
    /// All other CPUs are stopped, whatever they were doing and whatever locks they held, and
    /// interrupts are off. This must not sleep, and should allocate nothing.
    fn panic(&self);
}

/// A callback that is registered.
///
/// # Invariants
///
/// `block` is in the list of panic notifiers.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Callback> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    #[pin]
    callback: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: It has no methods, and the callback is `Send`.
unsafe impl<T: Callback> Send for Registration<T> {}

// SAFETY: It has no methods, and the callback is `Sync`.
unsafe impl<T: Callback> Sync for Registration<T> {}

impl<T: Callback> Registration<T> {
    /// Registers `callback`.
    pub fn new(callback: impl PinInit<T, Error>) -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            callback <- callback,
            block: Opaque::zeroed(),
            _pin: PhantomPinned,
            _: {
                // SAFETY: All fields are initialised.
                let block = unsafe { this.as_ref() }.block.get();

                // SAFETY: Nobody else knows the block yet.
                unsafe { (*block).notifier_call = Some(Self::call) };
                // SAFETY: As above.
                unsafe { (*block).priority = T::PRIORITY };
                // INVARIANT: If this succeeds, the block is in the list.
                // SAFETY: The block is complete and pinned, and it is taken out of the list before
                // it goes.
                to_result(unsafe {
                    bindings::atomic_notifier_chain_register(
                        &raw mut bindings::panic_notifier_list,
                        block,
                    )
                })?;
            },
        })
    }

    /// # Safety
    ///
    /// `block` must be the block of a registration.
    unsafe extern "C" fn call(
        block: *mut bindings::notifier_block,
        _action: c_ulong,
        _message: *mut c_void,
    ) -> c_int {
        // SAFETY: By the safety requirements `block` is part of a registration.
        let this = unsafe {
            &*container_of!(
                block.cast::<Opaque<bindings::notifier_block>>(),
                Self,
                block
            )
        };

        this.callback.panic();
        bindings::NOTIFY_DONE as c_int
    }
}

#[pinned_drop]
impl<T: Callback> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // This waits for callbacks that are running.
        // SAFETY: By the type invariants the block is in the list.
        unsafe {
            bindings::atomic_notifier_chain_unregister(
                &raw mut bindings::panic_notifier_list,
                self.block.get(),
            )
        };
    }
}
