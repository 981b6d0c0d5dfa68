// SPDX-License-Identifier: GPL-2.0

//! Pages, and mappings of them that are contiguous where the pages are not.
//!
//! What a device or a hypervisor reads by a list of pages needs no memory in one piece: pages are
//! allocated one by one, and the kernel sees them through a mapping, in any order and more than
//! once if that helps, as with a ring whose data follow themselves.
//!
//! C header: [`include/linux/vmalloc.h`](srctree/include/linux/vmalloc.h)

use crate::{
    alloc::{
        AllocError,
        Flags,
        KVVec, //
    },
    bindings,
    cpu::CpuId,
    error::to_result,
    io::SysMem,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};
use core::{
    ops::Range,
    ptr::NonNull, //
};

/// Who can read and write the pages.
#[derive(Clone, Copy, PartialEq)]
enum Visibility {
    /// This machine.
    Private,
    /// The hypervisor and its host too.
    Shared,
    /// Some of them perhaps: they cannot be used for anything else.
    Unknown,
}

/// Pages of memory, each by itself or all of them in one piece.
///
/// # Invariants
///
/// - `pages` are allocated pages that belong to this value. If there is a `block`, it is an
///   allocation of that order and they are its first ones; otherwise each is its own allocation.
/// - With [`Visibility::Private`] all of them are encrypted if the kernel's memory is, with
///   [`Visibility::Shared`] none.
pub struct Pages {
    pages: KVVec<NonNull<bindings::page>>,
    block: Option<u32>,
    visibility: Visibility,
}

// SAFETY: Nothing about pages belongs to a thread.
unsafe impl Send for Pages {}

// SAFETY: `&Pages` gives numbers and addresses only.
unsafe impl Sync for Pages {}

/// Allocates `2^order` pages, near the processor if there are any.
fn alloc(cpu: CpuId, order: u32, flags: Flags) -> Result<NonNull<bindings::page>, AllocError> {
    // SAFETY: This only looks up a processor's number.
    let node = unsafe { bindings::cpu_to_node(i32::from(cpu)) };
    // SAFETY: Pages can be allocated wherever `flags` allow it.
    let page = unsafe { bindings::alloc_pages_node(node, flags.as_raw(), order) };

    NonNull::new(page).ok_or(AllocError)
}

impl Pages {
    /// Allocates pages, which need not lie together, near a processor.
    ///
    /// May sleep if the flags allow it.
    pub fn new(count: usize, cpu: CpuId, flags: Flags) -> Result<Self, AllocError> {
        // INVARIANT: There are none yet.
        let mut this = Self {
            pages: KVVec::with_capacity(count, flags)?,
            block: None,
            visibility: Visibility::Private,
        };

        for _ in 0..count {
            let page = alloc(cpu, 0, flags)?;
            // INVARIANT: The page was just allocated. There is room for it, so this cannot fail,
            // and would only leak it.
            this.pages.push(page, flags)?;
        }
        Ok(this)
    }

    /// Allocates pages in one piece, near a processor.
    ///
    /// May sleep if the flags allow it. With more than a few pages this fails on a machine whose
    /// memory is fragmented: see [`Pages::new`]. So it does with none.
    pub fn contiguous(count: usize, cpu: CpuId, flags: Flags) -> Result<Self, AllocError> {
        if count == 0 {
            return Err(AllocError);
        }
        let order = count
            .checked_next_power_of_two()
            .ok_or(AllocError)?
            .trailing_zeros();
        let mut pages = KVVec::with_capacity(count, flags)?;
        let first = alloc(cpu, order, flags)?;

        for n in 0..count {
            // A block's pages have their descriptions in a row.
            let page = NonNull::new(first.as_ptr().wrapping_add(n));
            if page.is_none_or(|page| pages.push(page, flags).is_err()) {
                // SAFETY: The block was just allocated, and nobody has it.
                unsafe { bindings::__free_pages(first.as_ptr(), order) };
                return Err(AllocError);
            }
        }
        // INVARIANT: These are the first pages of the block.
        Ok(Self {
            pages,
            block: Some(order),
            visibility: Visibility::Private,
        })
    }

    /// How many pages there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The first page, if they lie in one piece.
    #[inline]
    pub fn block(&self) -> Option<NonNull<bindings::page>> {
        self.block.and(self.pages.first().copied())
    }

    /// The page frame numbers of so many pages from the `first` one on.
    pub fn pfns(&self, first: usize, count: usize) -> impl Iterator<Item = u64> + '_ {
        (first..first.saturating_add(count)).map_while(|number| self.pfn(number))
    }

    /// The page frame number of a page, counted from 0, if there is one.
    pub fn pfn(&self, number: usize) -> Option<u64> {
        let page = self.pages.get(number)?;

        // SAFETY: By the type invariant it is a page.
        Some(unsafe { bindings::page_to_pfn(page.as_ptr()) } as u64)
    }

    /// The pieces in which the memory lies: addresses in the kernel's own mapping, and pages.
    fn pieces(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (count, len) = match self.block {
            Some(_) => (1, self.pages.len()),
            None => (self.pages.len(), 1),
        };

        self.pages.iter().take(count).map(move |page| {
            // SAFETY: By the type invariant it is a page. It is not from high memory, unless the
            // caller asked for that, and then this is 0.
            let address = unsafe { bindings::page_address(page.as_ptr()) };
            (address.addr(), len)
        })
    }

    /// Lets the hypervisor and its host read and write the pages.
    ///
    /// Does nothing on a machine whose memory is not protected from them. May sleep. What the
    /// pages hold is undefined then. If it fails they are never freed: nobody knows who can
    /// access them.
    pub fn share(&mut self) -> Result {
        if self.visibility == Visibility::Shared {
            return Ok(());
        }

        // INVARIANT: This is right until all of them are done.
        self.visibility = Visibility::Unknown;
        for (address, len) in self.pieces() {
            // SAFETY: These are our pages, and nobody uses them. The allocation is far smaller
            // than what an `int` counts.
            to_result(unsafe { bindings::set_memory_decrypted(address, len as c_int) })?;
        }
        // INVARIANT: All of them are decrypted.
        self.visibility = Visibility::Shared;
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let mut lost = 0;

        if self.visibility == Visibility::Unknown {
            lost = self.len();
        } else {
            let shared = self.visibility == Visibility::Shared;

            for (page, (address, len)) in self.pages.iter().zip(self.pieces()) {
                // SAFETY: These are our pages, and nobody uses them any more.
                if shared && unsafe { bindings::set_memory_encrypted(address, len as c_int) } != 0 {
                    lost += len;
                    continue;
                }
                // SAFETY: By the type invariant the page begins an allocation of this order, which
                // nobody uses any more.
                unsafe { bindings::__free_pages(page.as_ptr(), self.block.unwrap_or(0)) };
            }
        }
        if lost > 0 {
            pr_warn!("{lost} pages that the host may see are not freed\n");
        }
    }
}

/// A mapping of [`Pages`].
///
/// # Invariants
///
/// `len` bytes are mapped at `address`, to pages of `_pages`.
pub struct VMap {
    address: NonNull<c_void>,
    len: usize,
    _pages: Arc<Pages>,
}

// SAFETY: Nothing about a mapping belongs to a thread.
unsafe impl Send for VMap {}

// SAFETY: `&VMap` gives a `SysMem` only.
unsafe impl Sync for VMap {}

impl VMap {
    /// Maps ranges of pages, by their numbers, one after another.
    ///
    /// Returns [`EINVAL`] if there is a number without a page, or none at all, and [`ENOMEM`]. May
    /// sleep.
    pub fn new(pages: &Arc<Pages>, ranges: &[Range<usize>]) -> Result<Self> {
        let mut list = KVVec::new();

        for range in ranges {
            let part = pages.pages.get(range.clone()).ok_or(EINVAL)?;
            list.reserve(part.len(), GFP_KERNEL)?;
            for page in part {
                list.push(page.as_ptr(), GFP_KERNEL)?;
            }
        }
        if list.is_empty() {
            return Err(EINVAL);
        }

        let decrypted = pages.visibility == Visibility::Shared;
        let count = c_uint::try_from(list.len())?;
        // SAFETY: `list` holds `count` pages, which live as long as the mapping does.
        let address = unsafe { bindings::vmap_kernel(list.as_mut_ptr(), count, decrypted) };

        // INVARIANT: All of the list was mapped.
        Ok(Self {
            address: NonNull::new(address).ok_or(ENOMEM)?,
            len: list.len() * PAGE_SIZE,
            _pages: pages.clone(),
        })
    }

    /// The memory. Others may change it at any time.
    #[inline]
    pub fn view(&self) -> SysMem<'_, [u8]> {
        let bytes = core::ptr::slice_from_raw_parts_mut(self.address.as_ptr().cast(), self.len);

        // SAFETY: By the type invariant it is mapped as long as `self` lives.
        unsafe { SysMem::new(bytes) }
    }
}

impl Drop for VMap {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is a mapping, and nobody uses it any more.
        unsafe { bindings::vunmap(self.address.as_ptr()) };
    }
}
