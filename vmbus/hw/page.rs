// SPDX-License-Identifier: GPL-2.0

//! Pages that the hypervisor, the host or the paravisor use as well.

use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};

/// A page for somebody else to use, too.
///
/// In an isolated guest the host can use it only if it was decrypted. If the kernel cannot say any
/// more whether a page is encrypted, the page is lost.
///
/// # Invariants
///
/// `address` is a page that nobody else in this kernel owns. It is decrypted exactly if `decrypted`
/// says so, where there is such a thing.
pub(super) struct Page {
    address: NonNull<u8>,
    decrypted: bool,
}

// SAFETY: The page can be used on, and freed by, any thread.
unsafe impl Send for Page {}

// SAFETY: A reference only gives the address away.
unsafe impl Sync for Page {}

impl Page {
    /// Allocates a page full of zeroes; `what` is for the log. May sleep.
    pub(super) fn new(decrypted: bool, what: &str) -> Result<Self> {
        // SAFETY: It can be called whenever sleeping is allowed.
        let address = unsafe { bindings::get_free_pages_noprof(bindings::GFP_KERNEL, 0) };
        let page = NonNull::new(address as *mut u8).ok_or(ENOMEM)?;

        if decrypted {
            // SAFETY: It is a whole page, and ours.
            to_result(unsafe { bindings::set_memory_decrypted(address, 1) }).inspect_err(|_| {
                pr_err!("lost a page ({}): it could not be decrypted\n", what);
            })?;
        }
        // A change of the encryption may scramble the contents, so this comes after it.
        // SAFETY: It is a whole page, and ours.
        unsafe { page.as_ptr().write_bytes(0, PAGE_SIZE) };

        // INVARIANT: It was just allocated, and decrypted if that was asked for.
        Ok(Self {
            address: page,
            decrypted,
        })
    }

    /// Where the page is.
    #[inline]
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// Gives the page up for [`Page::from_raw`].
    pub(super) fn into_raw(self) -> *mut u8 {
        ManuallyDrop::new(self).as_ptr()
    }

    /// Takes the page back, if there is one.
    ///
    /// # Safety
    ///
    /// `address` must be null or what [`Page::into_raw`] has returned for a page that was created
    /// with this `decrypted`; this may be done once for a page.
    pub(super) unsafe fn from_raw(address: *mut u8, decrypted: bool) -> Option<Self> {
        // INVARIANT: The page was owned, and by the safety requirements nobody else takes it.
        NonNull::new(address).map(|address| Self { address, decrypted })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let address = self.as_ptr() as usize;

        if self.decrypted {
            // SAFETY: By the type invariants it is a whole page, and ours.
            if to_result(unsafe { bindings::set_memory_encrypted(address, 1) }).is_err() {
                pr_err!("lost a page: it could not be encrypted again\n");
                return;
            }
        }
        // SAFETY: As above, and it is like it was when it was allocated.
        unsafe { bindings::free_pages(address, 0) };
    }
}

/// The physical address of kernel memory.
pub(super) fn physical(address: *const u8) -> u64 {
    // SAFETY: It computes, and does not look at the memory.
    unsafe { bindings::virt_to_phys(address.cast_mut().cast()) }
}
