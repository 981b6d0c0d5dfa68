// SPDX-License-Identifier: GPL-2.0

//! A disk's own write cache, of which a power cut leaves what it likes.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Backing;
use crate::fault::Rng;

/// What a disk writes at once or not at all.
const SECTOR: u64 = 512;

struct Cache {
    inner: Box<dyn Backing>,
    /// Sectors that were written since the last flush, by number.
    dirty: BTreeMap<u64, [u8; SECTOR as usize]>,
}

/// A backing whose writes are durable only after a flush. A clone is the same disk.
#[derive(Clone)]
pub struct WriteCache(Arc<Mutex<Cache>>);

impl WriteCache {
    /// A cache in front of `inner`, whose size is a whole number of sectors.
    pub fn new(inner: Box<dyn Backing>) -> Self {
        Self(Arc::new(Mutex::new(Cache { inner, dirty: BTreeMap::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power fails: of the sectors that were not made durable some are, by chance. Returns how
    /// many there were, and how many of them are lost.
    pub fn cut(&self, rng: &mut Rng) -> io::Result<(usize, usize)> {
        let mut cache = self.lock();
        let dirty = std::mem::take(&mut cache.dirty);
        // From none to all, as the moment wants it.
        let quarters = rng.below(5);
        let mut lost = 0;
        for (number, sector) in &dirty {
            if rng.below(4) < quarters {
                cache.inner.write_at(number * SECTOR, sector)?;
            } else {
                lost += 1;
            }
        }
        cache.inner.flush()?;
        Ok((dirty.len(), lost))
    }
}

impl Backing for WriteCache {
    fn size(&self) -> u64 {
        self.lock().inner.size()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let cache = self.lock();
        cache.inner.read_at(at, buf)?;
        let end = at + buf.len() as u64;
        for (number, sector) in cache.dirty.range(at / SECTOR..end.div_ceil(SECTOR)) {
            let start = number * SECTOR;
            let from = at.max(start);
            let to = end.min(start + SECTOR);
            buf[(from - at) as usize..(to - at) as usize]
                .copy_from_slice(&sector[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }

    fn write_at(&mut self, at: u64, buf: &[u8]) -> io::Result<()> {
        let end = at.checked_add(buf.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        if end > self.size() || !at.is_multiple_of(SECTOR) || !end.is_multiple_of(SECTOR) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut cache = self.lock();
        for (number, bytes) in (at / SECTOR..).zip(buf.chunks_exact(SECTOR as usize)) {
            let sector = cache.dirty.entry(number).or_insert([0; SECTOR as usize]);
            sector.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let cache = &mut *self.lock();
        for (number, sector) in std::mem::take(&mut cache.dirty) {
            cache.inner.write_at(number * SECTOR, &sector)?;
        }
        cache.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryBacking;

    #[test]
    fn only_a_flush_lasts() {
        let mut lost_some = false;
        let mut kept_some = false;
        for seed in 0..16 {
            let mut disk = WriteCache::new(Box::new(MemoryBacking::new(1 << 20)));
            disk.write_at(0, &[1; 8192]).unwrap();
            disk.flush().unwrap();
            disk.write_at(4096, &[2; 8192]).unwrap();
            let mut seen = [0; 16384];
            disk.read_at(0, &mut seen).unwrap();
            assert_eq!((seen[4095], seen[4096], seen[12287], seen[12288]), (1, 2, 2, 0));
            let mut part = [0; 2];
            disk.read_at(4095, &mut part).unwrap();
            assert_eq!(part, [1, 2]);

            let (dirty, lost) = disk.cut(&mut Rng::new(seed)).unwrap();
            assert_eq!(dirty, 16);
            (lost_some, kept_some) = (lost_some || lost > 0, kept_some || lost < dirty);
            disk.read_at(0, &mut seen).unwrap();
            assert_eq!(seen[..4096], [1; 4096]);
            for (number, sector) in seen.chunks_exact(512).enumerate().skip(8) {
                let old = u8::from(number < 16);
                let new = if number < 24 { 2 } else { old };
                assert!(sector.iter().all(|&b| b == sector[0] && (b == old || b == new)));
            }
        }
        assert!(lost_some && kept_some);
    }
}
