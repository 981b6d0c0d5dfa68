// SPDX-License-Identifier: GPL-2.0

//! Memory of an isolated guest that is decrypted for the host.

use crate::channel::Channel;
use kernel::{
    bindings,
    prelude::*, //
};

/// Decrypted pieces of memory, as large as there are, mapped in a row.
///
/// What cannot be encrypted again is not freed: nobody may find old secrets in it, and nobody new
/// ones.
///
/// # Invariants
///
/// `pieces` are blocks of pages that were decrypted. `address` is null, or where they are mapped.
pub(super) struct Decrypted {
    address: *mut c_void,
    pieces: KVVec<*mut bindings::page>,
}

impl Decrypted {
    /// Allocates so many pages. May sleep.
    pub(super) fn new(channel: &Channel, pages: usize) -> Result<Self> {
        let mut all = KVVec::with_capacity(pages, GFP_KERNEL)?;
        // INVARIANT: There are no blocks yet.
        let mut this = Self {
            address: core::ptr::null_mut(),
            // At worst every block is a page.
            pieces: KVVec::with_capacity(pages, GFP_KERNEL)?,
        };
        let mut order = bindings::MAX_PAGE_ORDER;

        while all.len() < pages {
            order = order.min((pages - all.len()).ilog2());
            // SAFETY: It may be called in process context.
            let piece = unsafe { bindings::hyperv_alloc_block(channel.target_cpu(), order) };
            if piece.is_null() {
                order = order.checked_sub(1).ok_or(ENOMEM)?;
                continue;
            }
            // SAFETY: The block was just allocated.
            let address = unsafe { bindings::page_address(piece) };
            // SAFETY: The block is mapped there, and ours.
            if unsafe { bindings::set_memory_decrypted(address as usize, 1 << order) } != 0 {
                // Its state is unknown: it is lost.
                return Err(EIO);
            }
            // INVARIANT: The block was decrypted.
            this.pieces.push(piece, GFP_KERNEL)?;
            for index in 0..1usize << order {
                all.push(piece.wrapping_add(index), GFP_KERNEL)?;
            }
        }

        // SAFETY: The pages exist, and are as many.
        this.address =
            unsafe { bindings::vmap_kernel(all.as_mut_ptr(), all.len() as c_uint, true) };
        if this.address.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: So many pages are mapped there.
        unsafe {
            this.address
                .cast::<u8>()
                .write_bytes(0, pages * bindings::PAGE_SIZE)
        };
        Ok(this)
    }

    /// Gives all of it to a driver.
    pub(super) fn into_raw(self) -> (*mut c_void, *mut *mut bindings::page, u32) {
        let mut this = core::mem::ManuallyDrop::new(self);
        let pieces = core::mem::replace(&mut this.pieces, KVVec::new());
        let (pieces, count, _) = pieces.into_raw_parts();

        // There are fewer than `u32::MAX`, because the size in bytes has 32 bits.
        (this.address, pieces, count as u32)
    }

    /// Takes it back.
    ///
    /// # Safety
    ///
    /// It must be what `into_raw()` has returned, once.
    pub(super) unsafe fn from_raw(
        address: *mut c_void,
        pieces: *mut *mut bindings::page,
        count: u32,
    ) -> Self {
        let count = count as usize;
        // SAFETY: By the safety requirements this was a vector. What it has room for beyond its
        // length only matters for growing, which it will not.
        let pieces = unsafe { KVVec::from_raw_parts(pieces, count, count) };

        // INVARIANT: By the safety requirements.
        Self { address, pieces }
    }
}

impl Drop for Decrypted {
    fn drop(&mut self) {
        if !self.address.is_null() {
            // SAFETY: By the type invariant they are mapped there.
            unsafe { bindings::vunmap(self.address) };
        }
        for piece in self.pieces.iter() {
            // SAFETY: By the type invariant it is a block.
            let order = unsafe { bindings::hyperv_block_order(*piece) };
            // SAFETY: As above.
            let address = unsafe { bindings::page_address(*piece) };

            // SAFETY: As above, and it is ours.
            if unsafe { bindings::set_memory_encrypted(address as usize, 1 << order) } == 0 {
                // SAFETY: As above; nobody uses it any more.
                unsafe { bindings::__free_pages(*piece, order) };
            }
        }
    }
}
