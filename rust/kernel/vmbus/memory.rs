// SPDX-License-Identifier: GPL-2.0

//! Memory that the host may write or read at any time.
//!
//! C source: [`drivers/hv/channel.c`](srctree/drivers/hv/channel.c)

use super::{
    raw::Raw,
    Device, //
};
use crate::{
    bindings,
    device,
    error::to_result,
    io::SysMem,
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::ARef, //
};
use core::ptr::NonNull;

/// Zeroed memory that the host has a handle to, a GPADL: it may write and read it at any time, by
/// offsets from its start.
///
/// The memory is contiguous for the guest, and need not be for the host. It belongs to the device
/// and outlives sessions: they may be closed and opened again meanwhile. Dropping it takes it back
/// from the host, which sleeps; close the session before that, or tell the host by its protocol.
/// If the host does not confirm that, the memory is leaked, with a warning.
///
/// # Invariants
///
/// - `dev` is the device whose primary channel `gpadl` is of.
/// - `address` points to `len` mapped bytes, which were allocated with `chunks` and `count`.
pub struct SharedMemory {
    dev: ARef<Device>,
    gpadl: bindings::vmbus_gpadl,
    address: NonNull<u8>,
    len: usize,
    chunks: *mut *mut bindings::page,
    count: u32,
    torn_down: bool,
}

// SAFETY: Nothing of this belongs to a thread.
unsafe impl Send for SharedMemory {}

// SAFETY: `&SharedMemory` gives numbers, and a `SysMem`.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Allocates `len` bytes, rounded up to whole pages, and gives them to the host, by the
    /// device's primary channel, which is open.
    ///
    /// Process context; sleeps until the host has answered.
    ///
    /// Returns [`EINVAL`] if `len` is 0 or more than 1 GiB, [`ENOMEM`], [`ENODEV`] if the host has
    /// taken the device back, and [`EDQUOT`] if it refuses the memory.
    #[inline]
    pub fn new(dev: &Device<device::Bound>, len: usize) -> Result<Self> {
        if len == 0 || len > 1 << 30 {
            return Err(EINVAL);
        }
        let len = len.next_multiple_of(PAGE_SIZE);
        // CAST: At most 2^30.
        let size = len as u32;
        let channel = dev.raw_channel().as_ptr();
        let mut chunks = core::ptr::null_mut();
        let mut count = 0;

        // SAFETY: The channel is valid as long as its device, and the pointers are valid.
        let address =
            unsafe { bindings::vmbus_alloc_buffer(channel, size, &mut chunks, &mut count) };
        let address = NonNull::new(address.cast::<u8>()).ok_or(ENOMEM)?;
        let dev: &Device = dev;
        // INVARIANT: So much was allocated.
        let mut this = Self {
            dev: dev.into(),
            gpadl: bindings::vmbus_gpadl::default(),
            address,
            len,
            chunks,
            count,
            // As long as the host does not have it.
            torn_down: true,
        };
        // What has to be decrypted for the host was allocated so.
        //
        // SAFETY: The channel is valid; the buffer has so many bytes, whole pages, and stays until
        // `drop()`; the structure is valid.
        to_result(unsafe {
            bindings::vmbus_establish_gpadl_caller_decrypted(
                channel,
                address.as_ptr().cast(),
                size,
                &mut this.gpadl,
            )
        })?;
        this.torn_down = false;
        Ok(this)
    }

    /// The handle by which the host knows the memory.
    #[inline]
    pub fn handle(&self) -> u32 {
        self.gpadl.gpadl_handle
    }

    /// The memory. The host can change it at any time.
    #[inline]
    pub fn memory(&self) -> SysMem<'_, [u8]> {
        let bytes = core::ptr::slice_from_raw_parts_mut(self.address.as_ptr(), self.len);

        // SAFETY: By the type invariants it is mapped as long as `self` lives.
        unsafe { SysMem::new(bytes) }
    }

    /// Takes the memory back from the host and frees it. Process context; sleeps until the host has
    /// answered.
    ///
    /// Returns [`EIO`] if the host has not confirmed that, in which case the memory is leaked.
    #[inline]
    pub fn teardown(mut self) -> Result {
        if self.take_back() {
            Ok(())
        } else {
            Err(EIO)
        }
    }

    /// Returns whether the host has given the memory back.
    #[inline]
    fn take_back(&mut self) -> bool {
        if self.torn_down {
            return true;
        }
        let channel: Raw = self.dev.raw_channel();

        // SAFETY: The channel is valid as long as its device; the structure is what was filled in.
        let failed =
            unsafe { bindings::vmbus_teardown_gpadl(channel.as_ptr(), &mut self.gpadl) } != 0;
        // The bus may say that all is well when it could not even ask; but then there is a handle.
        //
        // SAFETY: As above.
        let confirmed = self.gpadl.gpadl_handle == 0 || unsafe { channel.is_rescinded() };
        self.torn_down = confirmed && !failed;
        self.torn_down
    }
}

impl Drop for SharedMemory {
    #[inline]
    fn drop(&mut self) {
        if !self.take_back() {
            dev_warn!(
                self.dev,
                "{} KiB of memory are leaked: the host may still access them\n",
                self.len / 1024
            );
            return;
        }

        // SAFETY: By the type invariants this is how it was allocated. The host has given it back,
        // and nobody has a view of it any more.
        unsafe {
            bindings::vmbus_free_buffer(self.address.as_ptr().cast(), self.chunks, self.count)
        };
    }
}
