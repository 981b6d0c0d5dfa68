// SPDX-License-Identifier: GPL-2.0

//! Rules that hold for every device: the host watches them all the time.
//!
//! A broken rule counts as a violation, and a test fails, even if the guest is happy. What the C
//! drivers of Linux are known to do against a rule is a counter instead.

use std::collections::{BTreeMap, BTreeSet};

use crate::memory::{PageRange, PAGE};

/// Signals in a row that announce nothing, after which the guest is lost in a loop.
const LOST: u32 = 10_000;

/// What is under way on one open channel.
#[derive(Debug, Default)]
pub struct Channel {
    /// The guest's requests that wait for the host's completion.
    requests: BTreeSet<u64>,
    /// The host's packets that wait for the guest's completion.
    awaited: BTreeMap<u64, u32>,
    empty_signals: u32,
    /// A fault was injected here: what follows is not the guest's doing alone.
    pub(crate) disturbed: bool,
}

impl Channel {
    /// The guest asked for a completion of this transaction.
    pub(crate) fn requested(&mut self, id: u64) -> Result<(), &'static str> {
        match self.requests.insert(id) {
            true => Ok(()),
            false => Err("an id is used again before its completion"),
        }
    }

    /// The host completed it.
    pub(crate) fn completed(&mut self, id: u64) {
        self.requests.remove(&id);
    }

    /// The host asked the guest for a completion.
    pub(crate) fn sent(&mut self, id: u64) {
        *self.awaited.entry(id).or_default() += 1;
    }

    /// The guest completed it.
    pub(crate) fn answered(&mut self, id: u64) -> Result<(), &'static str> {
        match self.awaited.get_mut(&id) {
            Some(n) if *n > 1 => *n -= 1,
            Some(_) => {
                self.awaited.remove(&id);
            }
            None => return Err("the guest completes what is not under way"),
        }
        Ok(())
    }

    /// The guest signalled, and there was a reason for it or not. Returns whether it seems to do
    /// nothing else any more.
    pub(crate) fn signalled(&mut self, found: bool) -> bool {
        self.empty_signals = if found { 0 } else { self.empty_signals + 1 };
        let lost = self.empty_signals == LOST;
        if lost {
            self.empty_signals = 0;
        }
        lost
    }
}

/// Whether ranges that follow one another have holes: those in the middle are whole pages.
pub(crate) fn ragged(ranges: &[PageRange]) -> bool {
    let page = PAGE as u32;
    let ends = |range: &PageRange| range.offset.wrapping_add(range.len).is_multiple_of(page);
    ranges.windows(2).any(|pair| !ends(&pair[0]) || pair[1].offset != 0)
}

/// Messages that the guest posts over and over.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    last: Vec<u8>,
    count: u32,
}

impl Repeats {
    /// Equal messages in a row after which the guest is lost in a loop. Linux tries a version
    /// once, and nothing else is ever said twice.
    const LOST: u32 = 1000;

    /// Takes a message; returns whether it is one too many.
    pub fn seen(&mut self, message: &[u8]) -> bool {
        if self.last == message {
            self.count += 1;
        } else {
            self.count = 0;
            self.last.clear();
            self.last.extend(message);
        }
        self.count == Self::LOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_while_under_way() {
        let mut channel = Channel::default();
        assert!(channel.requested(1).is_ok() && channel.requested(2).is_ok());
        assert!(channel.requested(1).is_err());
        channel.completed(1);
        assert!(channel.requested(1).is_ok());
    }

    #[test]
    fn packets_are_answered_once() {
        let mut channel = Channel::default();
        assert!(channel.answered(0).is_err(), "nothing was sent");
        channel.sent(7);
        channel.sent(7);
        channel.sent(8);
        assert!(channel.answered(7).is_ok() && channel.answered(7).is_ok());
        assert!(channel.answered(7).is_err());
        assert!(channel.answered(8).is_ok());
    }

    #[test]
    fn a_loop_of_signals_is_noticed() {
        let mut channel = Channel::default();
        assert!((0..2 * LOST).all(|n| !channel.signalled(n % 1000 == 0)));
        assert_eq!((0..2 * LOST).filter(|_| channel.signalled(false)).count(), 2);
    }

    #[test]
    fn a_loop_of_messages_is_noticed() {
        let mut repeats = Repeats::default();
        assert!((0..5000).all(|n: u32| !repeats.seen(&(n / 900).to_le_bytes())));
        assert_eq!((0..5000).filter(|_| repeats.seen(b"again")).count(), 1);
    }

    #[test]
    fn holes_between_ranges() {
        let range = |offset, len| PageRange { offset, len, pfns: vec![0] };
        assert!(!ragged(&[range(100, 3996), range(0, 4096), range(0, 17)]));
        assert!(!ragged(&[range(100, 17)]));
        assert!(ragged(&[range(100, 17), range(0, 17)]));
        assert!(ragged(&[range(0, 4096), range(8, 17)]));
    }
}
