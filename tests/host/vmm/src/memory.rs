// SPDX-License-Identifier: GPL-2.0

//! Guest RAM: one region from address 0, on large pages where the machine has them.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use hvengine::memory::{BadAddress, GuestMemory};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileMemory};

/// Guest RAM as the engine sees it.
#[derive(Clone)]
pub struct Ram {
    /// The memory itself, for the loaders.
    pub mmap: GuestMemoryMmap,
    size: u64,
}

impl Ram {
    /// Maps `size` bytes.
    pub fn new(size: u64) -> Result<Self> {
        let mmap = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size as usize)])
            .context("cannot map the guest's memory")?;
        let start = mmap.get_host_address(GuestAddress(0))?;
        // SAFETY: The range is the mapping that was made above; the advice changes no contents.
        unsafe { libc::madvise(start.cast(), size as usize, libc::MADV_HUGEPAGE) };
        Ok(Self { mmap, size })
    }

    /// Number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Host address of the mapping, for KVM.
    pub fn host_address(&self) -> Result<u64> {
        Ok(self.mmap.get_host_address(GuestAddress(0))? as u64)
    }

    /// Sets bits of an aligned word and returns what it was.
    pub fn fetch_or(&self, gpa: u64, bits: u32) -> Result<u32, BadAddress> {
        self.atomic(gpa, |word| word.fetch_or(bits, Ordering::SeqCst))
    }

    fn atomic<R>(&self, gpa: u64, f: impl FnOnce(&AtomicU32) -> R) -> Result<R, BadAddress> {
        let bad = BadAddress(gpa);
        let slice = self.mmap.get_slice(GuestAddress(gpa), 4).map_err(|_| bad)?;
        slice.get_atomic_ref::<AtomicU32>(0).map(f).map_err(|_| bad)
    }
}

impl GuestMemory for Ram {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), BadAddress> {
        self.mmap.read_slice(buf, GuestAddress(gpa)).map_err(|_| BadAddress(gpa))
    }

    fn write(&self, gpa: u64, buf: &[u8]) -> Result<(), BadAddress> {
        self.mmap.write_slice(buf, GuestAddress(gpa)).map_err(|_| BadAddress(gpa))
    }

    fn load(&self, gpa: u64) -> Result<u32, BadAddress> {
        self.atomic(gpa, |word| word.load(Ordering::SeqCst))
    }

    fn store(&self, gpa: u64, value: u32) -> Result<(), BadAddress> {
        self.atomic(gpa, |word| word.store(value, Ordering::SeqCst))
    }

    fn take(&self, gpa: u64) -> Result<u32, BadAddress> {
        self.atomic(gpa, |word| word.swap(0, Ordering::SeqCst))
    }

    fn has_page(&self, pfn: u64) -> bool {
        pfn < self.size >> 12
    }
}

/// Largest size: below the I/O APIC and the MMIO space.
pub const MAX_MIB: u64 = 3072;
