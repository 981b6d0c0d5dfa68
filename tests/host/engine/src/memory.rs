// SPDX-License-Identifier: GPL-2.0

//! The guest's memory as the host sees it: copies and 32-bit atomics, never references.

use std::fmt;

/// Size of a guest page, the unit of every page frame number (PFN).
pub const PAGE: usize = 4096;

/// A guest physical address outside the guest's RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAddress(pub u64);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest address {:#x} is not RAM", self.0)
    }
}

impl std::error::Error for BadAddress {}

/// Guest RAM. The guest runs at the same time, so that a value may change between two reads:
/// copy once, then look at the copy.
pub trait GuestMemory: Send + Sync {
    /// Copies `buf.len()` bytes from guest physical address `gpa`.
    fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), BadAddress>;

    /// Copies `buf` to guest physical address `gpa`.
    fn write(&self, gpa: u64, buf: &[u8]) -> Result<(), BadAddress>;

    /// Loads an aligned `u32` (sequentially consistent).
    fn load(&self, gpa: u64) -> Result<u32, BadAddress>;

    /// Stores an aligned `u32` (sequentially consistent).
    fn store(&self, gpa: u64, value: u32) -> Result<(), BadAddress>;

    /// Takes an aligned `u32` and leaves 0 there, in one step.
    fn take(&self, gpa: u64) -> Result<u32, BadAddress>;

    /// Whether the page with this number is RAM.
    fn has_page(&self, pfn: u64) -> bool;
}

/// A run of bytes that lies in a list of guest pages: the memory behind a GPADL, or one range of
/// a GPA-direct packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRange {
    /// Offset of the first byte in the first page, below [`PAGE`].
    pub offset: u32,
    /// Number of bytes.
    pub len: u32,
    /// Guest page frame numbers.
    pub pfns: Vec<u64>,
}

impl PageRange {
    /// Number of pages that `len` bytes at `offset` touch.
    pub fn pages_needed(offset: u32, len: u32) -> usize {
        (offset as usize + len as usize).div_ceil(PAGE)
    }

    /// The guest address of byte `at`, and how many bytes follow it in the same page.
    pub fn gpa(&self, at: usize) -> Result<(u64, usize), BadAddress> {
        let at = at + self.offset as usize;
        let pfn = self.pfns.get(at / PAGE).ok_or(BadAddress(u64::MAX))?;
        Ok(((pfn << 12) + (at % PAGE) as u64, PAGE - at % PAGE))
    }

    /// Calls `f(guest address, start, end)` for each piece of `at..at + len` within one page.
    fn pieces(
        &self,
        at: usize,
        len: usize,
        mut f: impl FnMut(u64, usize, usize) -> Result<(), BadAddress>,
    ) -> Result<(), BadAddress> {
        if at.checked_add(len).is_none_or(|end| end > self.len as usize) {
            return Err(BadAddress(u64::MAX));
        }
        let mut done = 0;
        while done < len {
            let (gpa, room) = self.gpa(at + done)?;
            let n = room.min(len - done);
            f(gpa, done, done + n)?;
            done += n;
        }
        Ok(())
    }

    /// Copies out of the range, starting at byte `at`.
    pub fn read(&self, mem: &dyn GuestMemory, at: usize, buf: &mut [u8]) -> Result<(), BadAddress> {
        self.pieces(at, buf.len(), |gpa, a, b| mem.read(gpa, &mut buf[a..b]))
    }

    /// Copies into the range, starting at byte `at`.
    pub fn write(&self, mem: &dyn GuestMemory, at: usize, buf: &[u8]) -> Result<(), BadAddress> {
        self.pieces(at, buf.len(), |gpa, a, b| mem.write(gpa, &buf[a..b]))
    }
}
