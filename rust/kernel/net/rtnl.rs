// SPDX-License-Identifier: GPL-2.0

//! RTNL, the lock of the configuration of network devices, as a type.
//!
//! A function that needs RTNL takes a `&mut Rtnl`. Whoever has one holds the lock: a
//! [`Guard`] that was taken, or an operation that the network core calls with RTNL held. There is
//! one for each time that the lock is held, so it also is the right to what only RTNL protects; see
//! [`Cell`].
//!
//! C header: [`include/linux/rtnetlink.h`](srctree/include/linux/rtnetlink.h)

use crate::{
    bindings,
    types::NotThreadSafe, //
};
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    },
};

/// Evidence that the current task holds RTNL.
///
/// # Invariants
///
/// RTNL is held by the current task as long as there is a reference to this, and all references to
/// tokens that exist at a time are reborrowed from one of them.
pub struct Rtnl(NotThreadSafe);

impl Rtnl {
    /// Creates the token.
    ///
    /// # Safety
    ///
    /// The current task must hold RTNL as long as the returned token exists, and whoever else in
    /// this task has a `&mut Rtnl` must have lent it to the function that has called this one.
    #[inline]
    pub(super) unsafe fn assume_held() -> Self {
        // INVARIANT: By the safety requirements.
        Self(NotThreadSafe)
    }
}

/// RTNL, taken. It is released when this is dropped.
///
/// Releasing it runs what the network core had put off until then, which may sleep for long.
pub struct Guard(Rtnl);

impl Deref for Guard {
    type Target = Rtnl;

    fn deref(&self) -> &Rtnl {
        &self.0
    }
}

impl DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Rtnl {
        &mut self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: It is held: by the type invariant of `Rtnl`.
        unsafe { bindings::rtnl_unlock() };
    }
}

/// Takes RTNL. Process context, sleeps. A task that holds it already waits for itself.
pub fn lock() -> Guard {
    // SAFETY: This may be called in process context.
    unsafe { bindings::rtnl_lock() };

    // SAFETY: It is held until the guard is dropped. Nobody in this task has a token, or it would
    // still wait above.
    Guard(unsafe { Rtnl::assume_held() })
}

/// Data that only RTNL protects.
pub struct Cell<T>(UnsafeCell<T>);

// SAFETY: The content may be moved to another thread, by way of the lock, if it is `Send`.
unsafe impl<T: Send> Send for Cell<T> {}

// SAFETY: Whoever gets a reference to the content holds RTNL, so only one thread does at a time.
unsafe impl<T: Send> Sync for Cell<T> {}

impl<T> Cell<T> {
    /// A cell with this content.
    pub const fn new(content: T) -> Self {
        Self(UnsafeCell::new(content))
    }

    /// Looks at the content.
    #[inline]
    pub fn get<'a>(&'a self, _rtnl: &'a Rtnl) -> &'a T {
        // SAFETY: RTNL is held by this task, so no other one has a reference, and as long as the
        // token is borrowed nobody in this one gets a mutable one.
        unsafe { &*self.0.get() }
    }

    /// Changes the content.
    ///
    /// The token is borrowed meanwhile: there is one cell at a time that can be changed.
    #[inline]
    pub fn get_mut<'a>(&'a self, _rtnl: &'a mut Rtnl) -> &'a mut T {
        // SAFETY: RTNL is held by this task, so no other one has a reference, and as long as the
        // token is borrowed mutably nobody in this one has another.
        unsafe { &mut *self.0.get() }
    }
}
