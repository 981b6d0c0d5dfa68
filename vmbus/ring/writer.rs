// SPDX-License-Identifier: GPL-2.0

//! Writing packets into the ring to the host.

use super::{
    Ring,
    DESCRIPTOR,
    MAX_PACKET,
    TRAILER, //
};
use crate::{
    channel::Channel,
    hw,
    log::warn_limited, //
};
use kernel::{
    bindings,
    io::{
        io_read,
        io_write, //
    },
    prelude::*,
    sync::barrier::{
        virt_mb,
        Full,
        Read,
        Write, //
    }, //
};

/// A packet to the host, as its sender has it.
pub(crate) struct Packet<'p> {
    /// One of `enum vmbus_packet_type`.
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    /// What the type has behind the descriptor; a multiple of 8 bytes.
    pub(crate) header: [&'p [u8]; 2],
    /// The payload is filled up with zeroes.
    pub(crate) payload: &'p [u8],
}

/// The lengths of a packet, in bytes.
#[derive(Clone, Copy)]
struct Extent {
    /// To the payload.
    offset: u32,
    /// Of everything, filled up.
    len: u32,
}

impl Packet<'_> {
    /// Returns [`EINVAL`] if the payload would not begin at a multiple of 8 bytes, and [`EMSGSIZE`]
    /// if the packet is larger than a packet can be.
    #[inline]
    fn extent(&self) -> Result<Extent> {
        let header: usize = self.header.iter().map(|part| part.len()).sum();
        let offset = header.saturating_add(DESCRIPTOR as usize);
        let len = offset.saturating_add(self.payload.len());

        if offset % 8 != 0 {
            return Err(EINVAL);
        }
        if len > MAX_PACKET as usize {
            return Err(EMSGSIZE);
        }
        // CAST: `MAX_PACKET` fits, and is a multiple of 8.
        Ok(Extent {
            offset: offset as u32,
            len: (len as u32).next_multiple_of(8),
        })
    }

    /// The host has to answer.
    #[inline]
    fn wants_completion(&self) -> bool {
        u32::from(self.flags) == bindings::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED
    }
}

/// Why there is no room for a packet.
#[derive(Debug, PartialEq)]
pub(super) enum NoRoom {
    /// The host has to read first.
    Full,
    /// There will never be any.
    Never,
    /// The indices are nonsense.
    Spoilt,
}

/// Room in a ring for a packet that the host does not see yet.
///
/// # Invariants
///
/// `start` is below the ring's size, and `extent.len + TRAILER` is, too.
pub(super) struct Reservation<'r, 'a> {
    ring: &'r Ring<'a>,
    start: u32,
    extent: Extent,
}

impl<'a> Ring<'a> {
    /// Finds room for a packet. Only one at a time: the caller holds the ring's lock.
    #[inline]
    fn reserve(&self, extent: Extent) -> Result<Reservation<'_, 'a>, NoRoom> {
        // No packet is larger than `MAX_PACKET`.
        let needed = extent.len.wrapping_add(TRAILER);
        if needed >= self.size {
            return Err(NoRoom::Never);
        }

        let (Some(read), Some(write)) = (self.read_index(), self.write_index()) else {
            return Err(NoRoom::Spoilt);
        };
        // A full ring could not be told from an empty one: the last bytes stay free.
        if self.size.wrapping_sub(self.distance(read, write)) <= needed {
            return Err(NoRoom::Full);
        }
        // INVARIANT: The index and the length were checked.
        Ok(Reservation {
            ring: self,
            start: write,
            extent,
        })
    }
}

impl Reservation<'_, '_> {
    /// Copies everything of the packet but its descriptor.
    #[inline]
    fn fill(&self, packet: &Packet<'_>) -> Result {
        // Nothing overflows: all of this is within the data, which is mapped twice.
        let mut at = self.start.wrapping_add(DESCRIPTOR);

        for part in Iterator::chain(packet.header.iter(), [&packet.payload]) {
            if !part.is_empty() {
                self.ring.copy_in(at, part)?;
                // CAST: A part is not longer than the packet.
                at = at.wrapping_add(part.len() as u32);
            }
        }

        let end = self.start.wrapping_add(self.extent.len);
        // CAST: Less than 8.
        let padding = end.wrapping_sub(at) as usize;
        if let Some(zeroes) = [0; 7].get(..padding) {
            self.ring.copy_in(at, zeroes)?;
        }
        self.ring
            .copy_in(end, &(u64::from(self.start) << 32).to_le_bytes())
    }

    /// Writes the descriptor and shows the packet to the host. Returns whether to signal it.
    ///
    /// The host wants a signal when the ring was empty as it sees it: it masks interrupts while
    /// it reads, reads until the ring is empty, and looks once more after it has unmasked them.
    #[inline]
    fn publish(self, kind: u16, flags: u16, id: u64) -> Result<bool> {
        let ring = self.ring;
        let [k0, k1] = kind.to_le_bytes();
        let [o0, o1] = ((self.extent.offset / 8) as u16).to_le_bytes();
        let [l0, l1] = ((self.extent.len / 8) as u16).to_le_bytes();
        let [f0, f1] = flags.to_le_bytes();
        let [i0, i1, i2, i3, i4, i5, i6, i7] = id.to_le_bytes();

        ring.copy_in(
            self.start,
            &[
                k0, k1, o0, o1, l0, l1, f0, f1, i0, i1, i2, i3, i4, i5, i6, i7,
            ],
        )?;
        // The host sees the packet before the index that covers it.
        virt_mb(Write);
        let next = ring.behind(self.start, self.extent.len.wrapping_add(TRAILER));
        io_write!(ring.control, .write_index, next);

        // The host writes its mask and its index, and looks for packets then; we write ours
        // first and look at its after that. One of us sees what the other wrote.
        virt_mb(Full);
        if io_read!(ring.control, .interrupt_mask) != 0 {
            return Ok(false);
        }
        virt_mb(Read);
        Ok(io_read!(ring.control, .read_index) == self.start)
    }
}

#[cfg(CONFIG_KUNIT = "y")]
impl Ring<'_> {
    /// Writes a whole packet, without a channel.
    pub(super) fn write(&self, packet: &Packet<'_>, id: u64) -> Result<bool, NoRoom> {
        let extent = packet.extent().map_err(|_| NoRoom::Never)?;
        let room = self.reserve(extent)?;

        room.fill(packet).map_err(|_| NoRoom::Spoilt)?;
        room.publish(packet.kind, packet.flags, id)
            .map_err(|_| NoRoom::Spoilt)
    }
}

/// Sends a packet. Returns its id as the host sees it, which is `request` itself unless the
/// channel's driver makes ids.
///
/// Any context but NMI; takes the ring's lock, with interrupts off, and the driver's hook is
/// called under it.
///
/// Returns
/// - [`EAGAIN`] if the ring is full, or there are too many requests under way;
/// - [`ENODEV`] if the channel is not open or the host has taken it back, in which case the packet
///   may have been sent nevertheless, but is answered no more;
/// - [`EIO`] if the host has spoilt the ring;
/// - [`EINVAL`] and [`EMSGSIZE`] if there can be no such packet.
#[inline]
pub(crate) fn send(channel: &Channel, packet: &Packet<'_>, request: u64) -> Result<u64> {
    if channel.is_rescinded() {
        return Err(ENODEV);
    }

    let extent = packet.extent()?;
    let outbound = channel.outbound().lock();
    let ring = outbound.ring().ok_or(ENODEV)?;
    let counters = channel.counters();

    let room = match ring.reserve(extent) {
        Ok(room) => room,
        Err(NoRoom::Full) => {
            counters.found_full();
            return Err(EAGAIN);
        }
        Err(NoRoom::Never) => return Err(EMSGSIZE),
        Err(NoRoom::Spoilt) => {
            drop(outbound);
            warn_limited!(
                "channel {}: the host has spoilt the ring to it\n",
                channel.relid()
            );
            return Err(EIO);
        }
    };
    counters.found_room();

    room.fill(packet)?;
    // From now on the request may be completed, by a host that guesses, and what the packet was
    // made of may be gone: so everything has been copied.
    let id = if packet.wants_completion() {
        channel.new_request(request)?
    } else {
        None
    };
    let signal = room.publish(packet.kind, packet.flags, id.unwrap_or(request))?;
    if signal {
        counters.count_out_empty();
    }
    drop(outbound);

    if signal {
        hw::interrupt::signal(channel);
    }
    if channel.is_rescinded() {
        // Nobody else will take the request out.
        if let Some(id) = id {
            channel.cancel_request(id, request);
        }
        return Err(ENODEV);
    }
    Ok(id.unwrap_or(request))
}
