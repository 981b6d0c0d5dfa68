// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of a disk are.

use std::io;
use std::ops::Range;

use super::CHUNK;

/// Where a disk's bytes are.
pub trait Backing: Send {
    /// Number of bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from byte `at` on.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes `buf` from byte `at` on.
    fn write_at(&mut self, at: u64, buf: &[u8]) -> io::Result<()>;

    /// Makes what was written durable.
    fn flush(&mut self) -> io::Result<()>;

    /// Turns `len` bytes from `at` on into zeros and gives their storage back if it can.
    fn zero_range(&mut self, at: u64, len: u64) -> io::Result<()> {
        let zeros = [0; 4096];
        let (mut at, end) = (at, at + len);
        while at < end {
            let n = (end - at).min(zeros.len() as u64);
            self.write_at(at, &zeros[..n as usize])?;
            at += n;
        }
        Ok(())
    }

    /// Makes it larger, with zeros at the end, or smaller.
    fn resize(&mut self, _size: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether byte `at` has storage of its own, and for how many bytes from there on that is so.
    fn extent(&self, at: u64) -> (bool, u64) {
        (true, self.size().saturating_sub(at))
    }
}

/// Bytes of another backing that nobody changes: what is written lies in memory.
pub struct CopyBacking {
    below: Box<dyn Backing>,
    above: MemoryBacking,
}

impl CopyBacking {
    /// The bytes of `below`, as long as nobody writes others.
    pub fn new(below: Box<dyn Backing>) -> Self {
        let above = MemoryBacking::new(below.size());
        Self { below, above }
    }

    /// Takes what is partly overwritten from below.
    fn fetch(&mut self, at: u64) -> io::Result<()> {
        let number = (at / CHUNK as u64) as usize;
        if self.above.chunks.get(number).is_some_and(Option::is_none) {
            let mut chunk = blank_chunk();
            let start = number as u64 * CHUNK as u64;
            let len = (self.size() - start).min(CHUNK as u64) as usize;
            self.below.read_at(start, &mut chunk[..len])?;
            self.above.chunks[number] = Some(chunk);
        }
        Ok(())
    }
}

impl Backing for CopyBacking {
    fn size(&self) -> u64 {
        self.below.size()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        for (n, inside, outside) in self.above.pieces(at, buf.len() as u64)? {
            let here = at + outside.start as u64;
            match &self.above.chunks[n] {
                Some(chunk) => buf[outside].copy_from_slice(&chunk[inside]),
                None => self.below.read_at(here, &mut buf[outside])?,
            }
        }
        Ok(())
    }

    fn write_at(&mut self, at: u64, buf: &[u8]) -> io::Result<()> {
        // Pieces in the middle are written as a whole; fetching them too costs little.
        for (n, _, _) in self.above.pieces(at, buf.len() as u64)? {
            self.fetch(n as u64 * CHUNK as u64)?;
        }
        self.above.write_at(at, buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes in our own memory, which holds only the pieces that were written.
pub struct MemoryBacking {
    size: u64,
    chunks: Vec<Option<Box<[u8]>>>,
}

impl MemoryBacking {
    /// `size` bytes of zeros.
    pub fn new(size: u64) -> Self {
        let chunks = vec![None; size.div_ceil(CHUNK as u64) as usize];
        Self { size, chunks }
    }

    /// Splits `len` bytes at `at` by chunk: its number, the bytes in it, the bytes of the whole.
    fn pieces(
        &self,
        at: u64,
        len: u64,
    ) -> io::Result<impl Iterator<Item = (usize, Range<usize>, Range<usize>)>> {
        if at.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        Ok(std::iter::from_fn(move || {
            let here = at + done;
            let from = (here % CHUNK as u64) as usize;
            let n = (len - done).min((CHUNK - from) as u64) as usize;
            let start = done as usize;
            done += n as u64;
            let piece = ((here / CHUNK as u64) as usize, from..from + n, start..start + n);
            (n > 0).then_some(piece)
        }))
    }
}

fn blank_chunk() -> Box<[u8]> {
    vec![0; CHUNK].into_boxed_slice()
}

impl Backing for MemoryBacking {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        for (n, inside, outside) in self.pieces(at, buf.len() as u64)? {
            match &self.chunks[n] {
                Some(chunk) => buf[outside].copy_from_slice(&chunk[inside]),
                None => buf[outside].fill(0),
            }
        }
        Ok(())
    }

    fn write_at(&mut self, at: u64, buf: &[u8]) -> io::Result<()> {
        for (n, inside, outside) in self.pieces(at, buf.len() as u64)? {
            let chunk = self.chunks[n].get_or_insert_with(blank_chunk);
            chunk[inside].copy_from_slice(&buf[outside]);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn zero_range(&mut self, at: u64, len: u64) -> io::Result<()> {
        for (n, inside, _) in self.pieces(at, len)? {
            if inside.len() == CHUNK {
                self.chunks[n] = None;
            } else if let Some(chunk) = &mut self.chunks[n] {
                chunk[inside].fill(0);
            }
        }
        Ok(())
    }

    fn resize(&mut self, size: u64) -> io::Result<()> {
        if size < self.size {
            // What is cut off must not come back when the disk grows again.
            self.zero_range(size, self.size - size)?;
        }
        self.chunks.resize(size.div_ceil(CHUNK as u64) as usize, None);
        self.size = size;
        Ok(())
    }

    fn extent(&self, at: u64) -> (bool, u64) {
        let first = (at / CHUNK as u64) as usize;
        let rest = self.chunks.get(first..).unwrap_or_default();
        let mapped = rest.first().is_some_and(Option::is_some);
        let same = rest.iter().take_while(|chunk| chunk.is_some() == mapped).count();
        let end = ((first + same) as u64 * CHUNK as u64).min(self.size);
        (mapped, end.saturating_sub(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_leave_what_is_below() {
        let len = 3 * CHUNK as u64 / 2;
        let mut below = MemoryBacking::new(len);
        below.write_at(0, &vec![7; len as usize]).unwrap();
        let mut copy = CopyBacking::new(Box::new(below));
        copy.write_at(CHUNK as u64 - 2, &[1, 2, 3, 4]).unwrap();
        copy.zero_range(len - 3, 3).unwrap();
        let mut back = vec![0; len as usize];
        copy.read_at(0, &mut back).unwrap();
        assert_eq!(back[CHUNK - 3..CHUNK + 3], [7, 1, 2, 3, 4, 7]);
        assert_eq!(back[len as usize - 4..], [7, 0, 0, 0]);
        assert!(copy.read_at(len - 1, &mut [0; 2]).is_err());
        assert!(copy.write_at(len - 1, &[0; 2]).is_err());
        let mut below = [0; 4];
        copy.below.read_at(CHUNK as u64 - 2, &mut below).unwrap();
        assert_eq!(below, [7; 4]);
    }
}
