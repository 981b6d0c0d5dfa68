// SPDX-License-Identifier: GPL-2.0

//! Work in softirq context that lives where its owner lives.

use crate::{
    bindings,
    container_of,
    prelude::*,
    sync::LockClassKey,
    types::Opaque, //
};
use core::{
    convert::Infallible,
    ops::Deref, //
};

/// What a [`Bh`] runs.
pub trait BhItem: Send + Sync {
    /// Runs, on one processor at a time. Softirq context: must not sleep, nor take long.
    fn run(this: &Bh<Self>)
    where
        Self: Sized;
}

/// Creates a [`Bh`] initialiser with a newly-created lock class.
#[macro_export]
macro_rules! new_bh {
    ($data:expr $(, $name:literal)?) => {
        $crate::workqueue::Bh::new(
            $data, $crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}
pub use new_bh;

/// A work item for the system's bottom halves workqueue, and the data that it works on.
///
/// Unlike [`Work`](super::Work), which keeps its data alive while it is queued, this one is
/// cancelled when it is dropped: then it does not run, and will not. It must not be dropped by
/// itself, [`BhItem::run`], therefore, which would wait for its own end.
///
/// C counterpart: `queue_work(system_bh_wq, ...)`.
#[pin_data(PinnedDrop)]
pub struct Bh<T: BhItem> {
    #[pin]
    work: Opaque<bindings::work_struct>,
    #[pin]
    data: T,
}

// SAFETY: Work items may be queued and cancelled by any thread.
unsafe impl<T: BhItem> Send for Bh<T> {}

// SAFETY: They may be queued concurrently.
unsafe impl<T: BhItem> Sync for Bh<T> {}

impl<T: BhItem> Bh<T> {
    /// Creates one. Use [`new_bh!`](crate::new_bh).
    pub fn new<E>(
        data: impl PinInit<T, E>,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self, E>
    where
        E: From<Infallible>,
    {
        try_pin_init!(Self {
            data <- data,
            work <- Opaque::ffi_init(|work| {
                // SAFETY: `work` is valid for writes, and stays where it is.
                unsafe {
                    bindings::init_work_with_key(
                        work,
                        Some(Self::run),
                        false,
                        name.as_char_ptr(),
                        key.as_ptr(),
                    )
                };
            }),
        }? E)
    }

    /// Has it run soon, once, unless that is due already. Any context but NMI.
    ///
    /// Scheduled while it runs, it runs again.
    #[inline]
    pub fn schedule(&self) {
        // SAFETY: The work item is initialized, and cancelled before it goes. The queue is always
        // there.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_bh_wq,
                self.work.get(),
            )
        };
    }

    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        let work = Opaque::cast_from(work);
        // SAFETY: The workqueue calls with the work item of a `Self`, which is valid: it is
        // cancelled, which waits for this function, before it goes.
        let this = unsafe { &*container_of!(work, Self, work) };

        T::run(this);
    }
}

impl<T: BhItem> Deref for Bh<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.data
    }
}

#[pinned_drop]
impl<T: BhItem> PinnedDrop for Bh<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The work item is initialized. Nobody has a reference any more to queue it with.
        unsafe { bindings::cancel_work_sync(self.work.get()) };
    }
}
