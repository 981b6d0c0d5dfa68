// SPDX-License-Identifier: GPL-2.0

//! A channel of the bus driver: its rings, and who sends requests.

use crate::io::SysMem;
use crate::prelude::*;
use crate::requestor::{self, Table};
use crate::ring::Ring;
use std::cell::{Cell, RefCell, RefMut};
use std::ptr::NonNull;

pub(crate) struct Channel {
    rings: Cell<[*mut [u8]; 2]>,
    requests: RefCell<Option<Table>>,
    limit: Cell<u32>,
    signals: Cell<u32>,
    pub(crate) rescinded: Cell<bool>,
}

pub(crate) struct Outbound<'a>(&'a Channel);

impl<'a> Outbound<'a> {
    pub(crate) fn lock(self) -> Self {
        self
    }

    pub(crate) fn ring(&self) -> Option<Ring<'a>> {
        self.0.ring(0)
    }
}

pub(crate) struct Requests<'a>(RefMut<'a, Option<Table>>);

impl Requests<'_> {
    pub(crate) fn table(&mut self) -> &mut Option<Table> {
        &mut self.0
    }
}

pub(crate) struct Counters;

impl Counters {
    pub(crate) fn found_full(&self) {}
    pub(crate) fn found_room(&self) {}
    pub(crate) fn count_out_empty(&self) {}
}

impl Channel {
    pub(crate) fn new() -> Self {
        Self {
            rings: Cell::new([std::ptr::slice_from_raw_parts_mut(std::ptr::null_mut(), 0); 2]),
            requests: RefCell::new(None),
            limit: Cell::new(0),
            signals: Cell::new(0),
            rescinded: Cell::new(false),
        }
    }

    pub(crate) fn set_rings(&self, rings: [*mut [u8]; 2]) {
        self.rings.set(rings);
    }

    /// The ring to the host, 0, or that from it, 1.
    pub(crate) fn ring(&self, which: usize) -> Option<Ring<'_>> {
        let memory = self.rings.get()[which];
        if memory.is_null() {
            return None;
        }
        // SAFETY: Tests keep the memory as long as the channel.
        Ring::new(unsafe { SysMem::new(memory) }).ok()
    }

    pub(crate) fn memory(&self, which: usize) -> SysMem<'_, [u8]> {
        // SAFETY: As above.
        unsafe { SysMem::new(self.rings.get()[which]) }
    }

    pub(crate) fn target_cpu(&self) -> u32 {
        0
    }

    pub(crate) fn has_confidential_ring(&self) -> bool {
        false
    }

    pub(crate) fn show_ring(
        &self,
        _block: Option<NonNull<crate::bindings::page>>,
        _pages: usize,
        _send: usize,
    ) {
    }

    pub(crate) fn outbound(&self) -> Outbound<'_> {
        Outbound(self)
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters
    }

    pub(crate) fn is_rescinded(&self) -> bool {
        self.rescinded.get()
    }

    pub(crate) fn relid(&self) -> u32 {
        1
    }

    pub(crate) fn new_request(&self, address: u64) -> Result<Option<u64>> {
        requestor::insert(self, address)
    }

    pub(crate) fn cancel_request(&self, number: u64, address: u64) {
        requestor::take(self, number, Some(address));
    }

    pub(crate) fn request_limit(&self) -> u32 {
        self.limit.get()
    }

    pub(crate) fn set_request_limit(&self, limit: u32) {
        self.limit.set(limit);
    }

    pub(crate) fn show_request_limit(&self, limit: u32) {
        self.limit.set(limit);
    }

    pub(crate) fn requests(&self) -> Requests<'_> {
        Requests(self.requests.borrow_mut())
    }

    pub(crate) fn signalled(&self) {
        self.signals.set(self.signals.get() + 1);
    }
}
