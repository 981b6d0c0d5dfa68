// SPDX-License-Identifier: GPL-2.0

//! Locks, counted references, atomics and barriers.

use super::alloc::Flags;
use super::error::AllocError;
use std::ops::{Deref, DerefMut};

/// How a value is made; here it is made already.
pub trait PinInit<T> {
    fn make(self) -> T;
}

impl<T> PinInit<T> for T {
    fn make(self) -> T {
        self
    }
}

pub struct SpinLockIrq<T>(std::sync::Mutex<T>);
pub struct SpinLockIrqGuard<'a, T>(std::sync::MutexGuard<'a, T>);

impl<T> SpinLockIrq<T> {
    pub fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> SpinLockIrqGuard<'_, T> {
        // Who takes it twice in one thread would wait for ever.
        SpinLockIrqGuard(self.0.try_lock().expect("the lock is free"))
    }
}

impl<T> Deref for SpinLockIrqGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for SpinLockIrqGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

pub struct Arc<T>(std::sync::Arc<T>);

impl<T> Arc<T> {
    pub fn new(value: T, _flags: Flags) -> Result<Self, AllocError> {
        Ok(Self(std::sync::Arc::new(value)))
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

pub mod rcu {
    pub struct Guard;

    impl Drop for Guard {
        fn drop(&mut self) {}
    }

    pub fn read_lock() -> Guard {
        Guard
    }
}

pub mod barrier {
    pub struct Full;
    pub struct Read;
    pub struct Write;

    pub fn virt_mb<T>(_kind: T) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }
}

pub mod atomic {
    use std::sync::atomic::Ordering;

    pub struct Relaxed;
    pub struct Acquire;
    pub struct Release;
    pub struct Full;

    pub trait Order {
        const LOAD: Ordering = Ordering::Relaxed;
        const STORE: Ordering = Ordering::Relaxed;
        const BOTH: Ordering;
    }

    impl Order for Relaxed {
        const BOTH: Ordering = Ordering::Relaxed;
    }

    impl Order for Acquire {
        const LOAD: Ordering = Ordering::Acquire;
        const BOTH: Ordering = Ordering::Acquire;
    }

    impl Order for Release {
        const STORE: Ordering = Ordering::Release;
        const BOTH: Ordering = Ordering::Release;
    }

    impl Order for Full {
        const BOTH: Ordering = Ordering::SeqCst;
    }

    /// What there are atomics of.
    pub trait Plain: Sized {
        type Std;

        fn make(self) -> Self::Std;
        fn load(at: &Self::Std, order: Ordering) -> Self;
        fn store(at: &Self::Std, value: Self, order: Ordering);
        fn swap(at: &Self::Std, value: Self, order: Ordering) -> Self;
        fn exchange(at: &Self::Std, old: Self, new: Self, order: Ordering) -> Result<Self, Self>;
    }

    pub struct Atomic<T: Plain>(T::Std);
    pub struct AtomicFlag(Atomic<bool>);

    macro_rules! plain {
        ($([$($generic:ident)?] $ty:ty, $std:ty;)*) => { $(
            impl $(<$generic>)? Plain for $ty {
                type Std = $std;

                fn make(self) -> $std {
                    <$std>::new(self)
                }

                fn load(at: &$std, order: Ordering) -> Self {
                    at.load(order)
                }

                fn store(at: &$std, value: Self, order: Ordering) {
                    at.store(value, order)
                }

                fn swap(at: &$std, value: Self, order: Ordering) -> Self {
                    at.swap(value, order)
                }

                fn exchange(at: &$std, old: Self, new: Self, order: Ordering) -> Result<Self, Self> {
                    at.compare_exchange(old, new, order, Ordering::Relaxed)
                }
            }
        )* };
    }

    plain! {
        [] bool, std::sync::atomic::AtomicBool;
        [] u32, std::sync::atomic::AtomicU32;
        [] u64, std::sync::atomic::AtomicU64;
        [T] *mut T, std::sync::atomic::AtomicPtr<T>;
    }

    impl<T: Plain> Atomic<T> {
        pub fn new(value: T) -> Self {
            Self(value.make())
        }

        pub fn load<O: Order>(&self, _order: O) -> T {
            T::load(&self.0, O::LOAD)
        }

        pub fn store<O: Order>(&self, value: T, _order: O) {
            T::store(&self.0, value, O::STORE)
        }

        pub fn xchg<O: Order>(&self, value: T, _order: O) -> T {
            T::swap(&self.0, value, O::BOTH)
        }

        pub fn cmpxchg<O: Order>(&self, old: T, new: T, _order: O) -> Result<T, T> {
            T::exchange(&self.0, old, new, O::BOTH)
        }
    }

    impl AtomicFlag {
        pub fn new(value: bool) -> Self {
            Self(Atomic::new(value))
        }

        pub fn load<O: Order>(&self, order: O) -> bool {
            self.0.load(order)
        }

        pub fn store<O: Order>(&self, value: bool, order: O) {
            self.0.store(value, order)
        }
    }
}
