// SPDX-License-Identifier: GPL-2.0

//! Numbers that look random and follow from a seed, and how many rounds there are.

/// The host's generator, and what else the fuzzers want of it.
pub struct Rng(hvengine::fault::Rng);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(hvengine::fault::Rng::new(seed))
    }

    pub fn number(&mut self) -> u64 {
        self.0.number()
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0.below(limit as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number() as u8).collect()
    }

    /// A number of the kind at which comparisons go wrong.
    pub fn edge(&mut self, size: u32) -> u32 {
        let near = self.of(&[0, size, 2 * size, u32::MAX, 1 << 31, u32::from(u16::MAX)]);
        match self.below(4) {
            0 => self.number() as u32,
            1 => self.below(size as usize) as u32 & !7,
            _ => near.wrapping_add(self.below(33) as u32).wrapping_sub(16),
        }
    }
}

/// Rounds of a test: a million with SOAK=1, few under Miri, and what takes seconds otherwise.
pub fn rounds() -> u64 {
    let soak = std::env::var("SOAK").is_ok_and(|value| !value.is_empty() && value != "0");
    if cfg!(miri) {
        200
    } else if soak {
        1_000_000
    } else {
        50_000
    }
}
