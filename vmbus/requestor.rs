// SPDX-License-Identifier: GPL-2.0

//! Requests that a driver has sent, and whose answers it finds by a number.
//!
//! The host gets a number and gives it back, whatever it says: so a number is looked up, taken out
//! once, and says how often its place was taken before. An answer that comes twice finds nothing,
//! even if the place has been taken again.
//!
//! C source: [`drivers/hv/channel.c`](srctree/drivers/hv/channel.c)

use crate::channel::Channel;
use kernel::{
    alloc::KVVec,
    prelude::*, //
};

/// What stands for "there are no numbers" (`VMBUS_NO_RQSTOR`).
pub(crate) const NONE: u64 = u64::MAX;
/// What stands for "no number is left", or "no such number" (`VMBUS_RQST_ERROR`).
pub(crate) const ERROR: u64 = u64::MAX - 1;
/// What stands for any address (`VMBUS_RQST_ADDR_ANY`).
pub(crate) const ANY: u64 = u64::MAX;

/// A place is taken. The other bits count how often it was.
const TAKEN: u8 = 1 << 7;

/// The requests of a channel.
///
/// A number is the place and one, since the host does not answer request 0, and in its upper half
/// how often the place was taken.
///
/// # Invariants
///
/// `addresses` and `marks` have the same length. `free` is a place, or none; the address of a free
/// place is the next free one, or none.
pub(crate) struct Table {
    /// What a request is for the driver, usually its address.
    addresses: KVVec<u64>,
    marks: KVVec<u8>,
    free: u64,
}

impl Table {
    /// Creates a table of so many places. May sleep.
    pub(crate) fn new(size: u32) -> Result<Self> {
        let mut addresses = KVVec::with_capacity(size as usize, GFP_KERNEL)?;

        // The last one's successor is no place.
        for next in 1..=u64::from(size) {
            addresses.push(next, GFP_KERNEL)?;
        }
        // INVARIANT: All places are free, in their order.
        Ok(Self {
            addresses,
            marks: KVVec::from_elem(0, size as usize, GFP_KERNEL)?,
            free: 0,
        })
    }

    /// Enters a request. Returns its number, or [`None`] if all places are taken.
    pub(crate) fn insert(&mut self, address: u64) -> Option<u64> {
        let place = self.free;
        let index = usize::try_from(place).ok()?;
        let slot = self.addresses.get_mut(index)?;
        let mark = self.marks.get_mut(index)?;

        // INVARIANT: That is the next free one, and `place` is not free any more.
        self.free = *slot;
        *slot = address;
        *mark = mark.wrapping_add(1) | TAKEN;
        Some(u64::from(*mark & !TAKEN) << 32 | place.wrapping_add(1))
    }

    /// Finds a request by what the host gave back, and takes it out if it is `address`, or if that
    /// is not given. Returns its address, or [`None`] if there is no such request.
    pub(crate) fn take(&mut self, number: u64, address: Option<u64>) -> Option<u64> {
        let place = (number & u64::from(u32::MAX)).checked_sub(1)?;
        let index = usize::try_from(place).ok()?;
        let slot = self.addresses.get_mut(index)?;
        let mark = self.marks.get_mut(index)?;

        if *mark & TAKEN == 0 || u64::from(*mark & !TAKEN) != number >> 32 {
            return None;
        }
        let found = *slot;
        if address.is_none_or(|address| address == found) {
            // INVARIANT: `place` is the first free one, and the one that was is the next.
            *slot = self.free;
            self.free = place;
            *mark &= !TAKEN;
        }
        Some(found)
    }
}

/// Gives a channel that is to be opened a table, if its driver wants one. May sleep.
pub(crate) fn allocate(channel: &Channel) -> Result {
    let limit = channel.request_limit();
    let table = if limit > 0 {
        Some(Table::new(limit)?)
    } else {
        None
    };

    exchange(channel, table, limit);
    Ok(())
}

/// Takes the table away from a channel that is closed. May sleep.
pub(crate) fn free(channel: &Channel) {
    exchange(channel, None, 0);
}

fn exchange(channel: &Channel, table: Option<Table>, limit: u32) {
    channel.show_request_limit(limit);
    let old = core::mem::replace(channel.requests().table(), table);

    // It can be large: the lock is free by now.
    drop(old);
}

/// Enters a request; [`None`] if the channel's driver wants no numbers. Any context but NMI.
///
/// Returns [`EAGAIN`] if there are too many.
#[inline]
pub(crate) fn insert(channel: &Channel, address: u64) -> Result<Option<u64>> {
    if channel.request_limit() == 0 {
        return Ok(None);
    }
    let number = channel
        .requests()
        .table()
        .as_mut()
        .and_then(|table| table.insert(address));

    number.map(Some).ok_or(EAGAIN)
}

/// See [`Table::take`]. Any context but NMI.
#[inline]
pub(crate) fn take(channel: &Channel, number: u64, address: Option<u64>) -> Option<u64> {
    channel
        .requests()
        .table()
        .as_mut()
        .and_then(|table| table.take(number, address))
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(hv_vmbus_requestor)]
mod tests {
    use super::*;

    #[test]
    fn every_place_once() -> Result {
        let mut table = Table::new(3)?;
        let numbers = [table.insert(7), table.insert(8), table.insert(9)].map(|n| n.unwrap_or(0));

        assert!(numbers.iter().all(|number| *number != 0));
        assert_eq!(table.insert(10), None);
        assert_eq!(table.take(numbers[1], None), Some(8));
        assert_eq!(table.take(numbers[1], None), None);
        assert!(table.insert(10).is_some());
        assert_eq!(table.insert(11), None);
        Ok(())
    }

    #[test]
    fn an_old_number_finds_nothing() -> Result {
        let mut table = Table::new(1)?;
        let old = table.insert(7).ok_or(EINVAL)?;
        assert_eq!(table.take(old, None), Some(7));
        let new = table.insert(8).ok_or(EINVAL)?;

        assert_eq!(table.take(old, None), None);
        assert_eq!(table.take(0, None), None);
        assert_eq!(table.take(2, None), None);
        assert_eq!(table.take(u64::MAX, None), None);
        assert_eq!(table.take(new, Some(9)), Some(8));
        assert_eq!(table.take(new, Some(8)), Some(8));
        assert_eq!(table.take(new, None), None);
        Ok(())
    }
}
