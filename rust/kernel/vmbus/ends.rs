// SPDX-License-Identifier: GPL-2.0

//! The guest's ends of the two rings of a channel: where it writes and where it reads.
//!
//! Both ends keep their own index privately, and believe nothing of the host's before it was
//! checked.
//!
//! Nothing here refers to the bus driver's module.
//!
//! C source: [`drivers/hv/ring_buffer.c`](srctree/drivers/hv/ring_buffer.c)

use super::ring::{
    Descriptor,
    Ring,
    DESCRIPTOR,
    TRAILER, //
};
use crate::{
    alloc::KVVec,
    bindings,
    io::Io,
    prelude::*,
    sync::barrier::{
        virt_mb,
        Full,
        Read,
        Write, //
    }, //
};

/// The writing end.
///
/// # Invariants
///
/// Both indices are checked ones of the ring.
pub(super) struct Producer {
    pub(super) ring: Ring,
    /// Where the next packet goes: all before it was published.
    write: u32,
    /// The host's index when we last looked.
    read: u32,
    /// For so many bytes somebody waits, and the host knows; 0 if nobody does.
    asked: u32,
}

impl Producer {
    /// The end of a ring into which nobody has written.
    pub(super) fn new(ring: Ring) -> Self {
        // INVARIANT: 0 is an index of each ring.
        Self {
            ring,
            write: 0,
            read: 0,
            asked: 0,
        }
    }

    /// Where the next packet goes.
    #[inline]
    pub(super) fn index(&self) -> u32 {
        self.write
    }

    /// Makes sure that there is room for so many bytes, a multiple of 8.
    ///
    /// Returns [`EAGAIN`] if there is none, in which case the host will interrupt when there is;
    /// [`EMSGSIZE`] if there will never be any, and [`EIO`] if the host's index is none.
    #[inline]
    pub(super) fn reserve(&mut self, bytes: u32) -> Result {
        let size = self.ring.size();

        if self.asked == 0 && size.room(self.read, self.write) > bytes {
            return Ok(());
        }
        self.look(bytes)
    }

    /// Whether more than so many percent of the ring are free behind so many bytes more.
    #[inline]
    pub(super) fn leaves_free(&mut self, bytes: u32, percent: u32) -> bool {
        let size = self.ring.size();
        let wanted = u64::from(size.bytes()) * u64::from(percent);
        let enough = |room: u32| u64::from(room.saturating_sub(bytes)) * 100 > wanted;

        // There is at least as much as when we last looked.
        enough(size.room(self.read, self.write)) || self.refresh().is_ok_and(enough)
    }

    /// Looks where the host is.
    #[cold]
    fn look(&mut self, bytes: u32) -> Result {
        if bytes >= self.ring.size().bytes() {
            return Err(EMSGSIZE);
        }
        if self.refresh()? <= bytes {
            // Who waits for more gets an interrupt that is good for all.
            self.asked = self.asked.max(bytes);
            self.ring.set_pending(self.asked);
            // The host sees this before we look once more, and it may have made room since.
            virt_mb(Full);
            if self.refresh()? <= bytes {
                return Err(EAGAIN);
            }
        }
        if self.asked > 0 && self.ring.size().room(self.read, self.write) > self.asked {
            self.asked = 0;
            self.ring.set_pending(0);
        }
        Ok(())
    }

    /// How much room there is.
    fn refresh(&mut self) -> Result<u32> {
        // INVARIANT: `read_index()` has checked it.
        self.read = self.ring.read_index().ok_or(EIO)?;
        Ok(self.ring.size().room(self.read, self.write))
    }

    /// Whether the host has to be told of what was published before: it has neither read all of that
    /// nor is about to look.
    #[inline]
    pub(super) fn is_unseen(&self) -> bool {
        // Who published has seen to it that a host which unmasks after this looks at its index.
        if self.ring.is_masked() {
            return false;
        }
        virt_mb(Read);
        self.ring.read_index() != Some(self.write)
    }

    /// Shows the host a packet, which has been written for `reserve(bytes)` where
    /// [`Producer::index`] says.
    ///
    /// Returns whether to signal it. The host wants a signal when its ring stops being empty: it
    /// masks interrupts while it reads, reads all there is, and looks once more after it has
    /// unmasked them.
    #[inline]
    pub(super) fn publish(&mut self, bytes: u32) -> bool {
        let before = self.write;

        // INVARIANT: `behind()` returns an index; there was room for so many bytes.
        self.write = self.ring.size().behind(before, bytes);
        // The host sees the packet before the index that covers it.
        virt_mb(Write);
        self.ring.set_write_index(self.write);

        // The host writes its mask and its index and looks at ours after that; we do it the other
        // way round. One of us sees what the other wrote.
        virt_mb(Full);
        if self.ring.is_masked() {
            return false;
        }
        virt_mb(Read);
        self.ring.read_index() == Some(before)
    }
}

/// A packet that was copied out of the ring.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) descriptor: Descriptor,
    /// Bytes of the buffer that come before the payload.
    pub(super) header: usize,
    /// Bytes of the buffer.
    pub(super) len: usize,
}

/// What the next thing in the ring is.
pub(super) enum Next {
    /// There is nothing more up to where the host was.
    End,
    Packet(Found),
    /// A packet that is larger than was agreed on, or whose payload lies outside of it, and that
    /// answers nothing.
    Refused,
}

/// What [`Consumer::publish`] has found.
#[derive(Clone, Copy)]
pub(super) struct Published {
    /// There are packets.
    pub(super) more: bool,
    /// The host waits for the room that was made.
    pub(super) signal: bool,
}

/// The reading end.
///
/// # Invariants
///
/// All indices are checked ones of the ring.
pub(super) struct Consumer {
    ring: Ring,
    /// Up to where we have read.
    read: u32,
    /// What the host knows of it.
    published: u32,
    /// The host's index when we last looked.
    write: u32,
    /// Nothing can be found any more.
    spoilt: bool,
    /// What follows the descriptor is copied to here: as much as is agreed on.
    buffer: KVVec<u8>,
}

impl Consumer {
    /// The end of a ring from which nobody has read.
    pub(super) fn new(ring: Ring, buffer: KVVec<u8>) -> Self {
        // INVARIANT: 0 is an index of each ring.
        Self {
            ring,
            read: 0,
            published: 0,
            write: 0,
            spoilt: false,
            buffer,
        }
    }

    /// Says that no interrupts are wanted while packets are read.
    #[inline]
    pub(super) fn mask(&self) {
        // What the host sends before it knows costs an interrupt, and nothing else.
        self.ring.mask(true);
    }

    /// Copies what follows the descriptor of the next packet of this batch, and goes on.
    ///
    /// Returns [`EIO`] if what the host has written is no packet: what follows cannot be found.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Next> {
        let size = self.ring.size();
        let used = size.distance(self.read, self.write);

        if used == 0 {
            return if self.spoilt { Err(EIO) } else { Ok(Next::End) };
        }
        if used < DESCRIPTOR + TRAILER {
            return self.spoil();
        }

        // SAFETY: `read` is a checked index, and so a multiple of 8 and below the size.
        let first = unsafe { self.ring.word(self.read) };
        // SAFETY: As above, and the size is not less than the 24 bytes that are used.
        let second = unsafe { self.ring.word(self.read.wrapping_add(8)) };
        let descriptor = Descriptor::parse([first.read_val(), second.read_val()]);
        if !descriptor.fits(used) {
            return self.spoil();
        }

        let start = self.read.wrapping_add(DESCRIPTOR);
        // INVARIANT: A packet and its trailer, of at most `used` bytes, lie before `write`.
        self.read = size.behind(self.read, descriptor.len.wrapping_add(TRAILER));

        let mut len = descriptor.len.wrapping_sub(DESCRIPTOR) as usize;
        // Who waits for an answer gets one, whatever it looks like: what is too long is cut off, and
        // what lies outside is empty.
        let answers = u32::from(descriptor.kind) == bindings::vmbus_packet_type_VM_PKT_COMP;
        if answers {
            len = len.min(self.buffer.len());
        }
        let sound = answers || descriptor.is_sound();
        let (true, Some(buffer)) = (sound, self.buffer.get_mut(..len)) else {
            return Ok(Next::Refused);
        };
        // SAFETY: The packet began below the size, and it is not larger than what is used, which is
        // not more than the size.
        unsafe { self.ring.copy_out(start, buffer) };
        Ok(Next::Packet(Found {
            descriptor,
            header: (descriptor.offset.wrapping_sub(DESCRIPTOR) as usize).min(len),
            len,
        }))
    }

    /// What was copied last.
    #[inline]
    pub(super) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Nothing is read any more.
    #[cold]
    fn spoil<T>(&mut self) -> Result<T> {
        self.spoilt = true;
        // INVARIANT: It is an index, since `read` is.
        self.write = self.read;
        Err(EIO)
    }

    /// Whether something was read that the host does not know of.
    #[inline]
    pub(super) fn is_behind(&self) -> bool {
        self.read != self.published
    }

    /// Looks for packets; returns whether there are any.
    #[inline]
    pub(super) fn look(&mut self) -> Result<bool> {
        if self.spoilt {
            return Err(EIO);
        }
        let Some(write) = self.ring.write_index() else {
            return self.spoil();
        };
        // The packets are read after the index that covers them.
        virt_mb(Read);
        // INVARIANT: `write_index()` has checked it.
        self.write = write;
        Ok(write != self.read)
    }

    /// Gives the room of the packets that were read back to the host, and looks for new ones; with
    /// `unmask`, after it has allowed interrupts.
    #[inline]
    pub(super) fn publish(&mut self, unmask: bool) -> Result<Published> {
        let size = self.ring.size();
        let before = self.published;

        if self.spoilt {
            return Err(EIO);
        }
        if self.is_behind() {
            // What was read has been read before the host may overwrite it.
            virt_mb(Read);
            self.ring.set_read_index(self.read);
            // INVARIANT: `read` is an index.
            self.published = self.read;
        }
        if unmask {
            self.ring.mask(false);
        }

        let mut pending = 0;
        if unmask || before != self.read {
            // The host writes its own index, or the size that it waits for, and reads ours and our
            // mask then; we do it the other way round. One of us sees what the other wrote.
            virt_mb(Full);
            pending = self.ring.pending();
            virt_mb(Read);
        }
        let more = self.look()?;
        let write = self.write;

        Ok(Published {
            more,
            // Only what takes the ring from too little room to enough is worth a signal: the host
            // throttles who signals it for nothing.
            signal: pending != 0
                && size.room(before, write) <= pending
                && size.room(self.read, write) > pending,
        })
    }
}
