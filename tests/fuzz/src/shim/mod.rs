// SPDX-License-Identifier: GPL-2.0

//! As much of the kernel as the files need that are compiled here: the names are its.

pub mod alloc;
pub mod bindings;
#[macro_use]
pub mod io;
pub mod sync;
pub mod vmap;

// Of the bus driver.
pub mod abi;
pub mod channel;
// Of `kernel::vmbus`.
pub mod link;
pub mod raw;

pub mod page {
    pub const PAGE_SIZE: usize = 4096;
}

pub mod types {
    pub type NotThreadSafe = std::marker::PhantomData<*mut ()>;
    #[allow(non_upper_case_globals)]
    pub const NotThreadSafe: NotThreadSafe = std::marker::PhantomData;
}

pub mod cpu {
    #[derive(Clone, Copy)]
    pub struct CpuId;

    impl CpuId {
        pub fn current() -> Self {
            Self
        }

        pub fn from_u32(_cpu: u32) -> Option<Self> {
            Some(Self)
        }
    }
}

pub mod error {
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Error(&'static str);

    impl std::fmt::Debug for Error {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    macro_rules! errors {
        ($($name:ident)*) => { $(pub const $name: Error = Error(stringify!($name));)* };
    }
    errors!(EAGAIN EBADMSG EBUSY EINVAL EIO EMSGSIZE ENODEV ENOMEM EPROTO ERANGE ETIMEDOUT);

    impl From<std::num::TryFromIntError> for Error {
        fn from(_: std::num::TryFromIntError) -> Self {
            EINVAL
        }
    }

    #[derive(Debug, Clone, Copy)]
    pub struct AllocError;

    impl From<AllocError> for Error {
        fn from(_: AllocError) -> Self {
            ENOMEM
        }
    }

    pub type Result<T = (), E = Error> = std::result::Result<T, E>;
}

pub mod prelude {
    pub use super::alloc::{Flags, KVVec, KVec, __GFP_ZERO, GFP_ATOMIC, GFP_KERNEL};
    pub use super::error::*;
    pub use super::sync::PinInit;
    pub use crate::{pin_init, static_assert};
    pub use hvfuzz_macros::{kunit_tests, pin_data};
    pub use std::ffi::{c_int, c_void};
    pub use zerocopy::{FromBytes, FromZeros, IntoBytes};
}

pub mod hw {
    pub mod interrupt {
        pub fn signal(channel: &crate::channel::Channel) {
            channel.signalled();
        }
    }
}

pub mod log {
    macro_rules! warn_limited {
        ($($line:tt)*) => {{ let _ = format!($($line)*); }};
    }
    pub(crate) use warn_limited;
}

#[macro_export]
macro_rules! static_assert {
    ($($what:tt)*) => { const _: () = assert!($($what)*); };
}

/// Fields in their order; what is pinned in the kernel is a value like the others here.
#[macro_export]
macro_rules! pin_init {
    (@ $this:ident [$($done:tt)*]) => { $this { $($done)* } };
    (@ $this:ident [$($done:tt)*] $field:ident: $value:expr $(, $($rest:tt)*)?) => {
        $crate::pin_init!(@ $this [$($done)* $field: $value,] $($($rest)*)?)
    };
    (@ $this:ident [$($done:tt)*] $field:ident <- $value:expr $(, $($rest:tt)*)?) => {
        $crate::pin_init!(@ $this [$($done)* $field: $value,] $($($rest)*)?)
    };
    (@ $this:ident [$($done:tt)*] $field:ident $(, $($rest:tt)*)?) => {
        $crate::pin_init!(@ $this [$($done)* $field,] $($($rest)*)?)
    };
    ($this:ident { $($fields:tt)* }) => { $crate::pin_init!(@ $this [] $($fields)*) };
}

#[macro_export]
macro_rules! new_spinlock_irq {
    ($value:expr, $name:expr $(,)?) => {
        $crate::sync::SpinLockIrq::new($value)
    };
}
