// SPDX-License-Identifier: GPL-2.0

//! Memory that packets name, and that the host reads until it has completed them: headers of frames
//! that stay where they are, and control messages.

use kernel::{
    alloc::KVec,
    device::{
        Bound,
        Device, //
    },
    dma::Coherent,
    io::{
        io_project,
        Io, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    }, //
};

const PAGE: usize = 4096;

/// Slots of equal size, none of which crosses a page.
pub(crate) struct Lent {
    /// One by one: there may be no two free ones in a row.
    pages: KVec<Coherent<[u8]>>,
    slot: usize,
    /// A bit for each slot that is free.
    free: KVec<Atomic<u64>>,
}

/// A slot, given back when this is dropped. If it is leaked, the memory is too.
pub(crate) struct Slot {
    lent: Arc<Lent>,
    index: usize,
}

impl Lent {
    /// So many slots of so many bytes, a power of 2 that is at most a page. May sleep.
    pub(crate) fn new(dev: &Device<Bound>, slot: usize, count: usize) -> Result<Arc<Self>> {
        if !slot.is_power_of_two() || slot > PAGE {
            return Err(EINVAL);
        }
        let len = slot.checked_mul(count).ok_or(EINVAL)?;
        let free = all_free(count)?;
        let mut pages = KVec::with_capacity(len.div_ceil(PAGE), GFP_KERNEL)?;

        for _ in 0..len.div_ceil(PAGE) {
            let page = Coherent::<u8>::zeroed_slice(dev, PAGE, GFP_KERNEL)?;

            pages.push(page, GFP_KERNEL)?;
        }
        Ok(Arc::new(Self { pages, slot, free }, GFP_KERNEL)?)
    }

    /// Whether there is a free slot. Any context.
    #[inline]
    pub(crate) fn has_free(&self) -> bool {
        self.free.iter().any(|word| word.load(Relaxed) != 0)
    }

    /// Takes a slot. Any context.
    #[inline]
    pub(crate) fn take(this: &Arc<Self>) -> Option<Slot> {
        let (word, bit) = take_bit(&this.free, 0)?;

        Some(Slot {
            lent: this.clone(),
            index: word * 64 + bit as usize,
        })
    }
}

impl Slot {
    /// Its page, and where it begins in that.
    #[inline]
    fn start(&self) -> Result<(&Coherent<[u8]>, usize)> {
        let start = self.index.wrapping_mul(self.lent.slot);
        let page = self.lent.pages.get(start / PAGE).ok_or(EINVAL)?;

        Ok((page, start % PAGE))
    }

    /// Writes at the begin of the slot. Fails with [`EMSGSIZE`] if it is not large enough.
    #[inline]
    pub(crate) fn write(&self, bytes: &[u8]) -> Result {
        if bytes.len() > self.lent.slot {
            return Err(EMSGSIZE);
        }
        let (page, start) = self.start()?;
        let end = start.checked_add(bytes.len()).ok_or(EMSGSIZE)?;
        let place = io_project!(page.as_view().as_sys_mem(), [try: start..end]);

        place.copy_from_slice(bytes);
        Ok(())
    }

    /// The number of its page for the host, and where it begins in that.
    #[inline]
    pub(crate) fn place(&self) -> Result<(u64, u32)> {
        let (page, start) = self.start()?;

        // CAST: Less than a page.
        Ok((page.dma_address() / PAGE as u64, start as u32))
    }
}

impl Drop for Slot {
    // Once: whatever may hold a frame or a message may drop one.
    #[inline(never)]
    fn drop(&mut self) {
        give_bit(&self.lent.free, self.index);
    }
}

/// Words with so many bits set. May sleep.
pub(crate) fn all_free(count: usize) -> Result<KVec<Atomic<u64>>> {
    let mut free = KVec::with_capacity(count.div_ceil(64), GFP_KERNEL)?;

    for first in (0..count).step_by(64) {
        let bits = match count - first {
            left @ 0..64 => (1 << left) - 1,
            _ => u64::MAX,
        };
        free.push(Atomic::new(bits), GFP_KERNEL)?;
    }
    Ok(free)
}

/// Takes the first set bit, beginning to look in a word of the caller's choice: its number and the
/// bit's. Any context.
#[inline]
pub(crate) fn take_bit(words: &[Atomic<u64>], home: usize) -> Option<(usize, u32)> {
    if let Some(bit) = take_of(words.get(home)?) {
        return Some((home, bit));
    }
    take_elsewhere(words)
}

/// Takes the first set bit of all words.
#[cold]
fn take_elsewhere(words: &[Atomic<u64>]) -> Option<(usize, u32)> {
    words
        .iter()
        .enumerate()
        .find_map(|(at, word)| Some((at, take_of(word)?)))
}

/// Takes the first set bit of a word.
#[inline]
fn take_of(word: &Atomic<u64>) -> Option<u32> {
    let mut bits = word.load(Relaxed);

    while bits != 0 {
        match word.cmpxchg(bits, bits & (bits - 1), Acquire) {
            Ok(bits) => return Some(bits.trailing_zeros()),
            Err(now) => bits = now,
        }
    }
    None
}

/// Sets a bit again. Any context.
#[inline]
pub(crate) fn give_bit(words: &[Atomic<u64>], index: usize) {
    if let Some(word) = words.get(index / 64) {
        let mut bits = word.load(Relaxed);
        while let Err(now) = word.cmpxchg(bits, bits | 1 << (index % 64), Release) {
            bits = now;
        }
    }
}
