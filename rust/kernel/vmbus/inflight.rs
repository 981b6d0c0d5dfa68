// SPDX-License-Identifier: GPL-2.0

//! Requests in flight: what the host has not answered yet.
//!
//! A request that is sent moves into a slot of its session's table, and its id, by which the host
//! answers, names the slot and says how many requests there were before. An answer with that id
//! moves it out again; any other answer finds nothing. What was never answered is
//! [cancelled](Request::cancelled) when the host has no access to it any more.
//!
//! Slots are taken under the lock of the ring, and given back by the reader, many at once.
//!
//! Nothing here refers to the bus driver's module.

use crate::{
    alloc::KVVec,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    }, //
};
use core::{
    cell::UnsafeCell,
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    }, //
};

/// What stands in the in-flight table of a session until the host has answered.
pub trait Request: Send {
    /// The host will not answer any more, and has no access to what the request lent it: it has
    /// taken the channel back, or has confirmed that it has forgotten the rings.
    ///
    /// Process context; may sleep, but [`Session::close`](super::Session::close) waits for it.
    ///
    /// If the host has not confirmed that, requests are leaked, with a warning.
    fn cancelled(self);
}

/// A place for a request.
struct Slot<R> {
    /// The id of the request in it; 0 if there is none.
    id: Atomic<u64>,
    /// The next slot of the list that this one is in, counted from 1; 0 at the end.
    next: UnsafeCell<u32>,
    request: UnsafeCell<MaybeUninit<R>>,
}

/// The requests in flight of a session.
///
/// # Invariants
///
/// The `request` of a slot whose `id` is not 0 is initialized.
pub(super) struct Table<R> {
    slots: KVVec<Slot<R>>,
    /// What the reader has given back: the first slot of a list, counted from 1.
    returned: Atomic<u32>,
    /// How many requests were inserted, and taken, modulo 2^32.
    inserted: Atomic<u32>,
    taken: Atomic<u32>,
}

// SAFETY: A table owns requests, which may be sent.
unsafe impl<R: Send> Send for Table<R> {}

// SAFETY: A slot is on the list of who inserts, or has a request, or is on that of who takes, who may
// have an `Answered` of it then, or on the list by which those give it to these; and it is accessed
// by the one to whom it belongs by that. Requests may be sent from one to the other.
unsafe impl<R: Send> Sync for Table<R> {}

/// What those who insert have of a table; guarded by the lock of the ring.
pub(super) struct Free {
    /// The first slot of a list, counted from 1.
    first: u32,
    /// How many requests there were, modulo 2^32.
    generation: u32,
}

/// A request that the host has answered, in the place that it had while it was in flight.
///
/// # Invariants
///
/// The slot's `request` is initialized, and belongs to this value.
pub struct Answered<'a, R>(&'a Slot<R>);

impl<R> Answered<'_, R> {
    /// The request.
    #[inline]
    pub fn into_inner(self) -> R {
        let slot = ManuallyDrop::new(self).0;

        // SAFETY: By the type invariant it is initialized, and was `self`'s, which is gone.
        unsafe { (*slot.request.get()).assume_init_read() }
    }
}

impl<R> Drop for Answered<'_, R> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is initialized, and ours.
        unsafe { (*self.0.request.get()).assume_init_drop() }
    }
}

/// Slots that the reader has emptied and not given back yet.
pub(super) struct Emptied {
    /// First and last slot of a list, counted from 1.
    first: u32,
    last: u32,
    count: u32,
}

impl Emptied {
    #[inline]
    pub(super) const fn new() -> Self {
        Self {
            first: 0,
            last: 0,
            count: 0,
        }
    }
}

impl<R> Table<R> {
    /// A table with so many slots, and all of them free. May sleep.
    pub(super) fn new(slots: usize) -> Result<(Self, Free)> {
        let count = u32::try_from(slots)?;
        let mut list = KVVec::with_capacity(slots, GFP_KERNEL)?;

        for slot in 1..=count {
            let next = if slot == count { 0 } else { slot + 1 };
            let slot = Slot {
                id: Atomic::new(0),
                next: UnsafeCell::new(next),
                request: UnsafeCell::new(MaybeUninit::uninit()),
            };
            list.push(slot, GFP_KERNEL)?;
        }
        let free = Free {
            first: u32::from(count > 0),
            generation: 0,
        };
        // INVARIANT: All ids are 0.
        let table = Self {
            slots: list,
            returned: Atomic::new(0),
            inserted: Atomic::new(0),
            taken: Atomic::new(0),
        };
        Ok((table, free))
    }

    /// How many requests there are: a snapshot.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.inserted
            .load(Relaxed)
            .wrapping_sub(self.taken.load(Relaxed)) as usize
    }

    /// The slot with a number that counts from 1.
    #[inline]
    fn slot(&self, number: u32) -> Option<&Slot<R>> {
        self.slots.get(number.checked_sub(1)? as usize)
    }

    /// Whether there is a slot for one more request.
    #[inline]
    pub(super) fn has_free(&self, free: &mut Free) -> bool {
        if free.first == 0 && self.returned.load(Relaxed) != 0 {
            // The slots' contents are as the reader has left them.
            free.first = self.returned.xchg(0, Acquire);
        }
        free.first != 0
    }

    /// Puts a request into a slot and returns its id; gives it back if there is none.
    ///
    /// # Safety
    ///
    /// `free` must be what [`Table::new`] has returned with this table.
    #[inline]
    pub(super) unsafe fn insert(&self, free: &mut Free, request: R) -> Result<u64, R> {
        if !self.has_free(free) {
            return Err(request);
        }
        let number = free.first;
        let Some(slot) = self.slot(number) else {
            return Err(request);
        };

        // SAFETY: The slot is on the list of `free`, which is ours.
        free.first = unsafe { *slot.next.get() };
        free.generation = free.generation.wrapping_add(1);
        let id = u64::from(free.generation) << 32 | u64::from(number);
        // SAFETY: The slot is on the list of `free`: nobody else inserts into it, and nobody takes
        // from it, because its id is 0.
        unsafe { (*slot.request.get()).write(request) };
        // INVARIANT: It was just initialized. Whoever sees the id sees the request.
        slot.id.store(id, Release);
        self.inserted.store(free.generation, Relaxed);
        Ok(id)
    }

    /// Takes the request with an id, if there is one.
    ///
    /// # Safety
    ///
    /// Only one thread at a time may take requests, and they all must have the same `emptied`, one
    /// after another, or have given theirs [back](Table::give_back). What is returned must be gone
    /// before `emptied` is given back.
    #[inline]
    pub(super) unsafe fn take(&self, id: u64, emptied: &mut Emptied) -> Option<Answered<'_, R>> {
        // CAST: The lower half is the slot.
        let number = id as u32;
        let slot = self.slot(number)?;

        if slot.id.load(Acquire) != id {
            return None;
        }
        slot.id.store(0, Relaxed);
        // INVARIANT: By the type invariant the request is initialized. Nobody else takes it at this
        // time, by the safety requirements, nor will anybody after this, when the id is gone; and
        // nobody inserts another one before the slot is given back.
        let request = Answered(slot);

        // SAFETY: The slot is ours since the request was taken.
        unsafe { *slot.next.get() = emptied.first };
        emptied.first = number;
        if emptied.last == 0 {
            emptied.last = number;
        }
        emptied.count = emptied.count.wrapping_add(1);
        Some(request)
    }

    /// Lets others have the slots that were emptied.
    #[inline]
    pub(super) fn give_back(&self, emptied: &mut Emptied) {
        if emptied.first == 0 {
            return;
        }
        let Some(last) = self.slot(emptied.last) else {
            return;
        };
        let mut before = self.returned.load(Relaxed);

        loop {
            // SAFETY: The slot is on the list of `emptied`, which is ours.
            unsafe { *last.next.get() = before };
            // Whoever sees the list sees what is in it. Only whole lists are ever taken away, so
            // it does not matter if it was another one meanwhile.
            match self.returned.cmpxchg(before, emptied.first, Release) {
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        self.taken.store(
            self.taken.load(Relaxed).wrapping_add(emptied.count),
            Relaxed,
        );
        *emptied = Emptied::new();
    }

    /// Takes all requests there are.
    ///
    /// # Safety
    ///
    /// As for [`Table::take`], and nobody inserts any more.
    pub(super) unsafe fn drain(&self, mut f: impl FnMut(R)) {
        let mut emptied = Emptied::new();

        for slot in &self.slots {
            let id = slot.id.load(Acquire);

            if id != 0 {
                // SAFETY: By the safety requirements.
                if let Some(request) = unsafe { self.take(id, &mut emptied) } {
                    f(request.into_inner());
                }
            }
        }
        self.give_back(&mut emptied);
    }
}
