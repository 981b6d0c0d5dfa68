// SPDX-License-Identifier: GPL-2.0

//! The two buffers that the host has of an attached card: it writes received frames to one, and
//! reads frames to be sent, and small ones only, from the other.

use crate::{
    lent::{
        all_free,
        give_bit,
        take_bit, //
    },
    nvsp::Sections, //
};
use kernel::{
    alloc::KVec,
    io::{
        io_project,
        Io,
        SysMem, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::Atomic,
        SetOnce, //
    },
    vmbus::SharedMemory, //
};

const MIB: usize = 1 << 20;

/// Most bytes of a receive buffer, and of one for versions 1 and 2.
pub(crate) const MAX_RECEIVE: usize = 31 * MIB;
pub(crate) const MAX_RECEIVE_LEGACY: usize = 15 * MIB;
/// Most bytes of a send buffer.
pub(crate) const MAX_SEND: usize = 15 * MIB;

/// Sections that are asked for: all that fit into the usual buffers. The host decides about their
/// sizes.
pub(crate) const RECEIVE: Sections = Sections {
    size: 1728,
    count: (16 * MIB / 1728) as u32,
};
pub(crate) const SEND: Sections = Sections {
    size: 6144,
    count: (MIB / 6144) as u32,
};

/// Fewer sections cannot be asked for.
pub(crate) const MIN_SECTIONS: u32 = 10;

/// Smaller sections make no sense (`ETH_MIN_MTU`).
const MIN_SECTION: u32 = 68;

/// Bytes of a buffer with these sections, in whole pages.
pub(crate) fn size_of_sections(sections: Sections, max: usize) -> usize {
    let size = (sections.size as usize).saturating_mul(sections.count as usize);

    size.min(max).next_multiple_of(PAGE_SIZE)
}

/// The buffer for received frames.
pub(crate) struct ReceiveBuffer {
    memory: SharedMemory,
    /// Once the host has agreed.
    sections: SetOnce<Sections>,
}

impl ReceiveBuffer {
    pub(crate) fn new(memory: SharedMemory) -> Self {
        Self {
            memory,
            sections: SetOnce::new(),
        }
    }

    /// What the host knows the memory by.
    pub(crate) fn handle(&self) -> u32 {
        self.memory.handle()
    }

    /// `sections` is what the host makes of it; [`EINVAL`] if that does not fit.
    pub(crate) fn agree(&self, sections: Sections) -> Result {
        let size = u64::from(sections.size) * u64::from(sections.count);

        if sections.size < MIN_SECTION
            || sections.count == 0
            || size > self.memory.memory().len() as u64
            || !self.sections.populate(sections)
        {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// The sections, once the host has agreed.
    #[inline]
    pub(crate) fn sections(&self) -> Option<Sections> {
        self.sections.copy()
    }

    /// What the host says that it has written; [`None`] if that is outside, or not agreed on.
    #[inline]
    pub(crate) fn get(&self, at: u32, len: u32) -> Option<SysMem<'_, [u8]>> {
        self.sections.as_ref()?;
        part(self.memory.memory(), at as usize, len as usize).ok()
    }
}

/// A part of shared memory; [`ERANGE`] if it is not inside.
#[inline]
pub(crate) fn part(memory: SysMem<'_, [u8]>, at: usize, len: usize) -> Result<SysMem<'_, [u8]>> {
    let end = at.checked_add(len).ok_or(ERANGE)?;

    Ok(io_project!(memory, [try: at..end]))
}

/// The buffer for frames to be sent.
pub(crate) struct SendBuffer {
    memory: SharedMemory,
    /// Once the host has agreed.
    agreed: SetOnce<SendSections>,
}

struct SendSections {
    sections: Sections,
    /// A bit for each section that is free.
    free: KVec<Atomic<u64>>,
}

impl SendBuffer {
    pub(crate) fn new(memory: SharedMemory) -> Self {
        Self {
            memory,
            agreed: SetOnce::new(),
        }
    }

    /// What the host knows the memory by.
    pub(crate) fn handle(&self) -> u32 {
        self.memory.handle()
    }

    /// `size` is that of the sections that the host has cut it into; [`EINVAL`] if it makes no
    /// sense.
    pub(crate) fn agree(&self, size: u32) -> Result {
        // CAST: At most `MAX_SEND`.
        let len = self.memory.memory().len() as u32;
        let count = len.checked_div(size).unwrap_or(0);

        if size < MIN_SECTION || count == 0 {
            return Err(EINVAL);
        }
        let agreed = SendSections {
            sections: Sections { size, count },
            free: all_free(count as usize)?,
        };
        if !self.agreed.populate(agreed) {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// The sections, once the host has agreed.
    #[inline]
    pub(crate) fn sections(&self) -> Option<Sections> {
        self.agreed.as_ref().map(|agreed| agreed.sections)
    }

    /// Takes a free section. Each queue begins to look in a place of its own, so that as long as
    /// there are enough no two of them touch the same cache line of what is free.
    #[inline]
    pub(crate) fn take(&self, queue: u16) -> Option<u32> {
        let free = &self.agreed.as_ref()?.free;
        let home = usize::from(queue).checked_rem(free.len())?;
        let (word, bit) = take_bit(free, home)?;

        // CAST: Less than the number of sections.
        Some(word as u32 * 64 + bit)
    }

    /// Gives a section back.
    #[inline]
    pub(crate) fn give(&self, section: u32) {
        if let Some(agreed) = self.agreed.as_ref() {
            give_bit(&agreed.free, section as usize);
        }
    }

    /// The memory of a section.
    #[inline]
    pub(crate) fn section(&self, section: u32) -> Option<SysMem<'_, [u8]>> {
        let size = self.sections()?.size as usize;
        let start = (section as usize).checked_mul(size)?;

        part(self.memory.memory(), start, size).ok()
    }
}
