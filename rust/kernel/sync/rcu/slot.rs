// SPDX-License-Identifier: GPL-2.0

//! A place for an object that readers find under RCU.

use super::{
    synchronize_rcu,
    Guard, //
};
use crate::{
    ffi::c_void,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};
use core::{
    marker::PhantomData,
    ptr::null_mut, //
};

/// Holds an [`Arc`], or nothing, and lets readers borrow it under RCU.
///
/// Readers pay for one load. Whoever replaces the content waits for the readers of what was there
/// before, and gets it.
///
/// # Invariants
///
/// The pointer is NULL or was made by [`Arc::into_foreign`]. The count that it stands for is given
/// up only after a grace period in which the pointer was not here any more.
pub struct Slot<T: Send + Sync + 'static> {
    ptr: Atomic<*mut c_void>,
    _held: PhantomData<Arc<T>>,
}

// SAFETY: It holds an `Arc<T>`, and `T` is `Send` and `Sync`.
unsafe impl<T: Send + Sync + 'static> Send for Slot<T> {}

// SAFETY: As above; all methods may be called concurrently.
unsafe impl<T: Send + Sync + 'static> Sync for Slot<T> {}

impl<T: Send + Sync + 'static> Slot<T> {
    /// An empty slot.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: The pointer is NULL.
        Self {
            ptr: Atomic::new(null_mut()),
            _held: PhantomData,
        }
    }

    /// Borrows what is there as long as `guard` lives. Any context in which RCU reads.
    #[inline]
    pub fn load<'a>(&'a self, guard: &'a Guard) -> Option<ArcBorrow<'a, T>> {
        let _ = guard;
        let ptr = self.ptr.load(Acquire);
        if ptr.is_null() {
            return None;
        }
        // SAFETY: By the type invariants it was made by `Arc::into_foreign`, and its count is not
        // given up before `guard` is released, because the grace period for that has not begun
        // when it was taken, or ends after it is released.
        Some(unsafe { <Arc<T> as ForeignOwnable>::borrow(ptr) })
    }

    /// Gets a reference of its own to what is there. Any context in which RCU reads.
    // Who needs this on a data path would `load()`.
    #[inline(never)]
    pub fn get(&self) -> Option<Arc<T>> {
        let guard = Guard::new();

        self.load(&guard).map(Arc::from)
    }

    /// Puts something there, or nothing, and returns what was there before once nobody reads it.
    ///
    /// Process context; sleeps for a grace period if there was something.
    pub fn replace(&self, new: Option<Arc<T>>) -> Option<Arc<T>> {
        let new = new.map_or(null_mut(), Arc::into_foreign);
        // INVARIANT: NULL, or made by `Arc::into_foreign` just now.
        let old = self.ptr.xchg(new, Full);

        if old.is_null() {
            return None;
        }
        synchronize_rcu();
        // SAFETY: By the type invariants it was made by `Arc::into_foreign`. It was taken out of
        // the slot once, by us, and nobody reads it any more.
        Some(unsafe { Arc::from_foreign(old) })
    }
}

impl<T: Send + Sync + 'static> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> Drop for Slot<T> {
    fn drop(&mut self) {
        let old = self.ptr.load(Acquire);

        if !old.is_null() {
            // SAFETY: As in `replace()`; nobody borrows the slot, hence nobody reads what is
            // there.
            drop(unsafe { Arc::<T>::from_foreign(old) });
        }
    }
}
