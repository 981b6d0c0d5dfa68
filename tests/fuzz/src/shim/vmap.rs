// SPDX-License-Identifier: GPL-2.0

//! Mappings in which a page can be twice: two copies, of which each write changes both.

use super::alloc::Flags;
use super::bindings;
use super::cpu::CpuId;
use super::error::{AllocError, Result};
use super::io::SysMem;
use super::page::PAGE_SIZE;
use super::sync::Arc;
use std::alloc::{alloc_zeroed, dealloc, Layout};
use std::cell::RefCell;
use std::ops::Range;
use std::ptr::NonNull;

/// Pages, or rather how many: mappings have contents of their own.
pub struct Pages(usize, bool);

impl Pages {
    pub fn new(count: usize, _cpu: CpuId, _flags: Flags) -> Result<Self, AllocError> {
        Ok(Self(count, false))
    }

    pub fn contiguous(count: usize, _cpu: CpuId, _flags: Flags) -> Result<Self, AllocError> {
        Ok(Self(count, true))
    }

    pub fn share(&mut self) -> Result {
        Ok(())
    }

    pub fn block(&self) -> Option<NonNull<bindings::page>> {
        self.1.then(NonNull::dangling)
    }

    pub fn pfn(&self, number: usize) -> Option<u64> {
        (number < self.0).then_some(number as u64)
    }
}

/// Pages around a mapping that nobody may write to.
const GUARD: usize = 1;
const CANARY: u8 = 0xa5;

struct Mapping {
    /// Of all memory, guards included.
    start: *mut u8,
    pages: usize,
    /// Where each page is once more.
    twins: Vec<Option<usize>>,
}

thread_local! {
    static MAPPINGS: RefCell<Vec<Mapping>> = const { RefCell::new(Vec::new()) };
}

/// A mapping. Used by one thread.
pub struct VMap {
    start: *mut u8,
    pages: usize,
}

fn layout(pages: usize) -> Layout {
    Layout::from_size_align((pages + 2 * GUARD) * PAGE_SIZE, PAGE_SIZE).unwrap()
}

impl VMap {
    pub fn new(_pages: &Arc<Pages>, ranges: &[Range<usize>]) -> Result<Self> {
        let numbers: Vec<usize> = ranges.iter().cloned().flatten().collect();
        let pages = numbers.len();
        let twin = |(at, number): (usize, &usize)| {
            numbers
                .iter()
                .enumerate()
                .position(|(other, n)| other != at && n == number)
        };
        let twins = numbers.iter().enumerate().map(twin).collect();
        // SAFETY: It is not empty.
        let start = unsafe { alloc_zeroed(layout(pages)) };
        assert!(!start.is_null());
        for guard in [0, GUARD + pages] {
            // SAFETY: It is within what was allocated.
            unsafe {
                start
                    .add(guard * PAGE_SIZE)
                    .write_bytes(CANARY, GUARD * PAGE_SIZE)
            };
        }
        MAPPINGS.with_borrow_mut(|all| {
            all.push(Mapping {
                start,
                pages,
                twins,
            })
        });
        Ok(Self { start, pages })
    }

    pub fn view(&self) -> SysMem<'_, [u8]> {
        let data = self.start.wrapping_add(GUARD * PAGE_SIZE);
        // SAFETY: The memory lives as long as the mapping.
        unsafe {
            SysMem::new(std::ptr::slice_from_raw_parts_mut(
                data,
                self.pages * PAGE_SIZE,
            ))
        }
    }

    /// Whether all was written where there is something.
    pub fn check(&self) {
        for guard in [0, GUARD + self.pages] {
            let start = self.start.wrapping_add(guard * PAGE_SIZE);
            // SAFETY: It is within what was allocated, and nobody writes to it.
            let bytes = unsafe { std::slice::from_raw_parts(start, GUARD * PAGE_SIZE) };
            assert!(
                bytes == [CANARY; GUARD * PAGE_SIZE],
                "guard {guard} was written"
            );
        }
    }
}

impl Drop for VMap {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
        MAPPINGS.with_borrow_mut(|all| all.retain(|mapping| mapping.start != self.start));
        // SAFETY: It was allocated so, and nobody uses it any more.
        unsafe { dealloc(self.start, layout(self.pages)) };
    }
}

/// Lets the other copies of what was written follow.
pub fn written(at: *mut u8, len: usize) {
    MAPPINGS.with_borrow(|all| {
        for mapping in all {
            let base = mapping.start as usize + GUARD * PAGE_SIZE;
            let Some(from) = (at as usize).checked_sub(base) else {
                continue;
            };
            if from >= mapping.pages * PAGE_SIZE {
                continue;
            }
            let mut from = from;
            let end = (from + len).min(mapping.pages * PAGE_SIZE);
            while from < end {
                let part = (PAGE_SIZE - from % PAGE_SIZE).min(end - from);
                if let Some(twin) = mapping.twins[from / PAGE_SIZE] {
                    let data = mapping.start.wrapping_add(GUARD * PAGE_SIZE);
                    let to = twin * PAGE_SIZE + from % PAGE_SIZE;
                    // SAFETY: Both are within the mapping, in different pages.
                    unsafe { data.add(to).copy_from_nonoverlapping(data.add(from), part) };
                }
                from += part;
            }
        }
    });
}
