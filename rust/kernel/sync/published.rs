// SPDX-License-Identifier: GPL-2.0

//! A value that many read and few replace.

use crate::sync::{
    atomic::{
        Acquire,
        Atomic,
        Full, //
    },
    rcu,
    Arc, //
};
use core::{
    marker::PhantomData,
    ptr, //
};

/// A shared value, or none, that readers get without a lock and without counting references.
///
/// What was replaced lives on until all its readers are done.
///
/// # Examples
///
/// ```
/// use kernel::sync::{rcu, Arc, Published};
///
/// let published = Published::new(Some(Arc::new(1, GFP_KERNEL)?));
/// assert_eq!(published.read(&rcu::read_lock()), Some(&1));
///
/// let old = published.replace(None);
/// assert_eq!(old.as_deref(), Some(&1));
/// assert_eq!(published.read(&rcu::read_lock()), None);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// The pointer is NULL or comes from [`Arc::into_raw`], whose reference this owns. A reference that
/// was owned is not dropped before the end of an RCU grace period.
pub struct Published<T: Send + Sync>(Atomic<*mut T>, PhantomData<Arc<T>>);

impl<T: Send + Sync> Published<T> {
    /// Publishes a first value, or none.
    pub fn new(value: Option<Arc<T>>) -> Self {
        // INVARIANT: `into_raw()` makes it so.
        Self(Atomic::new(Self::into_raw(value)), PhantomData)
    }

    fn into_raw(value: Option<Arc<T>>) -> *mut T {
        value.map_or(ptr::null_mut(), |value| Arc::into_raw(value).cast_mut())
    }

    /// # Safety
    ///
    /// `value` must come from [`Self::into_raw`], whose reference the caller owns.
    unsafe fn from_raw(value: *mut T) -> Option<Arc<T>> {
        if value.is_null() {
            return None;
        }
        // SAFETY: By the safety requirements.
        Some(unsafe { Arc::from_raw(value) })
    }

    /// The value, as long as the RCU read lock is held. Any context.
    #[inline]
    pub fn read<'a>(&'a self, _guard: &'a rcu::Guard) -> Option<&'a T> {
        let value = self.0.load(Acquire);

        // SAFETY: It is NULL, or a value of which a reference is owned until a grace period after
        // it was replaced; there is none while `_guard` lives.
        unsafe { value.as_ref() }
    }

    /// Publishes another value, or none, and returns what was there, without readers.
    ///
    /// Process context; sleeps until readers of the old value are done.
    pub fn replace(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        // INVARIANT: `into_raw()` makes it so. The old reference is ours now.
        let old = self.0.xchg(Self::into_raw(value), Full);

        rcu::synchronize_rcu();
        // SAFETY: By the type invariant.
        unsafe { Self::from_raw(old) }
    }
}

impl<T: Send + Sync> Drop for Published<T> {
    fn drop(&mut self) {
        let old = self.0.load(Acquire);

        // SAFETY: By the type invariant; there are no readers without a reference to `self`.
        drop(unsafe { Self::from_raw(old) });
    }
}
