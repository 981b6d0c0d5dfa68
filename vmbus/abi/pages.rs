// SPDX-License-Identifier: GPL-2.0

//! The pages that the whole bus shares with the host: interrupt page and monitor pages.
//!
//! `uio_hv_generic` maps them to user space, so they are where C has them.

use crate::hw;
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// The pages, from [`Pages::new`] to the drop.
///
/// # Invariants
///
/// The pages in `vmbus_connection` are allocated, and belong to this value.
pub(crate) struct Pages(());

/// The pages are not given back: the host may write to them.
static KEEP: Atomic<bool> = Atomic::new(false);

/// Has the pages leak at the end.
pub(crate) fn keep() {
    KEEP.store(true, Relaxed);
}

fn connection() -> *mut bindings::vmbus_connection {
    &raw mut bindings::vmbus_connection
}

impl Pages {
    /// Allocates the pages, and makes those of the monitor visible for the host. May sleep.
    ///
    /// Once at a time.
    pub(crate) fn new() -> Result<Self> {
        KEEP.store(false, Relaxed);
        let interrupt = zeroed_page()?;
        // SAFETY: The interrupt handler runs only later; nobody else uses the fields yet.
        unsafe { (*connection()).int_page = interrupt };
        // SAFETY: As above. The first half is what the host sends.
        unsafe { (*connection()).recv_int_page = interrupt };
        // SAFETY: As above.
        unsafe { (*connection()).send_int_page = interrupt.wrapping_byte_add(HALF) };
        // INVARIANT: What is missing is null.
        let this = Self(());

        for index in 0..2 {
            let page = zeroed_page()?;

            // SAFETY: The page is mapped, and ours.
            if unsafe { bindings::set_memory_decrypted(page as usize, 1) } != 0 {
                // Nobody knows who can read it: it is lost.
                return Err(EIO);
            }
            // SAFETY: What was encrypted is no use any more; the page is ours.
            unsafe { page.cast::<u8>().write_bytes(0, bindings::PAGE_SIZE) };
            // SAFETY: As above; `index` is below 2.
            unsafe { (*connection()).monitor_pages[index] = page.cast() };
        }
        Ok(this)
    }
}

/// Half a page, in bytes of the host.
const HALF: usize = 2048;

fn zeroed_page() -> Result<*mut c_void> {
    // SAFETY: It may be called in process context.
    let page =
        unsafe { bindings::get_free_pages_noprof(bindings::GFP_KERNEL | bindings::__GFP_ZERO, 0) };

    if page == 0 {
        return Err(ENOMEM);
    }
    Ok(page as *mut c_void)
}

impl Drop for Pages {
    fn drop(&mut self) {
        let keep = KEEP.load(Relaxed);

        for index in 0..2 {
            // SAFETY: The connection has ended: nobody uses the fields; `index` is below 2.
            let page = unsafe {
                core::mem::replace(
                    &mut (*connection()).monitor_pages[index],
                    core::ptr::null_mut(),
                )
            };

            if page.is_null() || keep {
                continue;
            }
            // SAFETY: The page is mapped, and ours by the type invariant.
            if unsafe { bindings::set_memory_encrypted(page as usize, 1) } == 0 {
                // SAFETY: As above.
                unsafe { bindings::free_pages(page as usize, 0) };
            }
        }

        // SAFETY: As above.
        let page =
            unsafe { core::mem::replace(&mut (*connection()).int_page, core::ptr::null_mut()) };
        if !keep {
            // SAFETY: As above.
            unsafe { bindings::free_pages(page as usize, 0) };
        }
        // SAFETY: As above.
        unsafe { (*connection()).recv_int_page = core::ptr::null_mut() };
        // SAFETY: As above.
        unsafe { (*connection()).send_int_page = core::ptr::null_mut() };
    }
}

fn address(page: *const c_void) -> u64 {
    hw::physical_address(page)
}

/// Where the monitor pages are, as the host sees them.
pub(crate) fn monitor_addresses() -> (u64, u64) {
    // SAFETY: The pages are there from before the connection is made.
    let [first, second] = unsafe { (*connection()).monitor_pages };
    let shared = hw::shared_boundary();

    (
        address(first.cast()) | shared,
        address(second.cast()) | shared,
    )
}

/// Where the interrupt page is.
pub(crate) fn interrupt_address() -> u64 {
    // SAFETY: As above.
    address(unsafe { (*connection()).int_page })
}
