// SPDX-License-Identifier: GPL-2.0

//! Workqueues that belong to their creator.

use super::{
    HasWork,
    Queue,
    Work,
    WorkItem, //
};
use crate::{
    bindings,
    fmt,
    prelude::*,
    sync::Arc, //
};
use core::{
    ops::Deref,
    ptr::NonNull, //
};

/// A [`Queue`] that was created, and is destroyed when it is dropped.
///
/// Dropping it runs what is queued, and sleeps until that is done.
///
/// It is not for work that memory reclaim waits for: such a queue (`WQ_MEM_RECLAIM`) must not wait
/// for others, which is more than can be said of work items that call any driver.
///
/// # Invariants
///
/// The pointer is a valid workqueue, which nobody else destroys.
pub struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: Workqueues may be used, and destroyed, by any thread.
unsafe impl Send for OwnedQueue {}

// SAFETY: As above.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// Creates a queue that runs one work item at a time, in the order in which they were queued.
    ///
    /// Process context, may sleep.
    pub fn ordered(name: &CStr) -> Result<Self> {
        Self::new(name, bindings::wq_flags___WQ_ORDERED, 1)
    }

    /// The same, but nothing runs while the system goes to sleep or hibernates: that begins when the
    /// running work item has ended, and the others wait until it is over.
    ///
    /// For work that waits for devices which are suspended before the one that it belongs to. Such a
    /// queue must not be flushed by code that suspends a device.
    ///
    /// Process context, may sleep.
    pub fn ordered_freezable(name: &CStr) -> Result<Self> {
        let flags = bindings::wq_flags___WQ_ORDERED | bindings::wq_flags_WQ_FREEZABLE;

        Self::new(name, flags, 1)
    }

    /// Creates a queue whose work items may all run at the same time.
    ///
    /// Process context, may sleep.
    pub fn concurrent(name: &CStr) -> Result<Self> {
        Self::new(name, 0, 0)
    }

    fn new(name: &CStr, flags: bindings::wq_flags, max_active: c_int) -> Result<Self> {
        let flags = flags | bindings::wq_flags_WQ_UNBOUND;

        // SAFETY: Both strings end with a zero byte, and the format takes one string.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                flags,
                max_active,
                name.as_char_ptr(),
            )
        };

        // INVARIANT: We have created it.
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// Waits until what is queued now has run.
    ///
    /// May sleep. Not to be called by a work item of this queue.
    pub fn flush(&self) {
        // SAFETY: By the type invariant this is a valid workqueue.
        unsafe { bindings::__flush_workqueue(self.0.as_ptr()) };
    }
}

/// Takes a work item out of its queue, whichever that is, and waits for the end of one that runs.
///
/// One that was queued, also one that is held up because the system sleeps, does not run. It is for
/// [`Work`], not for `DelayedWork`, whose timer this would wait for.
///
/// May sleep. Not to be called by the work item itself. Whoever calls this sees to it that nobody
/// queues it again meanwhile.
pub fn cancel_sync<T, const ID: u64>(of: &Arc<T>)
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasWork<T, ID>,
{
    let of = Arc::as_ptr(of).cast_mut();
    // SAFETY: The caller's reference keeps it valid.
    let work = unsafe { T::raw_get_work(of) };
    // SAFETY: It is a field of what is valid.
    let work = unsafe { Work::raw_get(work) };

    // SAFETY: `Work::new()` has initialized it.
    if unsafe { bindings::cancel_work_sync(work) } {
        // SAFETY: It was queued, with a reference that would have been given to `run()`.
        drop(unsafe { Arc::from_raw(of) });
    }
}

impl Deref for OwnedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariant this is a valid workqueue, until `self` is dropped.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl fmt::Debug for OwnedQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnedQueue")
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is ours to destroy.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
