// SPDX-License-Identifier: GPL-2.0

//! Devices that come and go: taken away at random moments of what the guest does with them, and
//! offered again as soon as it has let go.

use super::*;
use crate::fault::number;

/// A device that flickers.
pub(super) struct Flicker {
    device: usize,
    /// How often it still goes.
    left: u64,
    /// The longest that it stays, in milliseconds.
    most: u64,
    /// When it goes at the latest.
    due: Option<u64>,
}

/// Steps at which it may go; it may also go at any moment in between.
const STEPS: [Step; 5] = [Step::Offered, Step::Gpadl, Step::Open, Step::Opened, Step::Close];

impl Host {
    /// `fault flicker DEVICE ROUNDS MS`.
    pub(super) fn flicker(&mut self, name: &str, rounds: &str, ms: &str) -> Result<String, String> {
        let device = self.find(name)?;
        let (left, most) = (number(rounds)?, number(ms)?);
        self.flickers.retain(|flicker| flicker.device != device);
        self.flickers.push(Flicker { device, left, most, due: None });
        self.flicker_begins(device);
        Ok(String::new())
    }

    /// How many departures are to come.
    pub(super) fn flickers_left(&self) -> u64 {
        self.flickers.iter().map(|flicker| flicker.left).sum()
    }

    /// When a device goes by itself.
    pub(super) fn next_flicker(&self) -> Option<u64> {
        self.flickers.iter().filter_map(|flicker| flicker.due).min()
    }

    /// A device was offered: how long it stays, and whether a step of the guest ends that before.
    pub(super) fn flicker_begins(&mut self, device: usize) {
        let Some(flicker) = self.flickers.iter_mut().find(|f| f.device == device && f.left > 0)
        else {
            return;
        };
        let rng = &mut self.faults.rng;
        // What happens right after an offer takes less time than the rest.
        let most = if rng.below(2) == 0 { flicker.most.min(10) } else { flicker.most };
        flicker.due = Some(self.faults.now + rng.below(most + 1));
        if let Some(&step) = STEPS.get(rng.below(10) as usize) {
            self.faults.rescind.push((device, step, 1));
        }
    }

    /// A device goes. Returns whether it comes again by itself.
    pub(super) fn flicker_ends(&mut self, device: usize) -> bool {
        let Some(flicker) = self.flickers.iter_mut().find(|f| f.device == device && f.left > 0)
        else {
            return false;
        };
        flicker.left -= 1;
        flicker.due = None;
        self.faults.rescind.retain(|(of, ..)| *of != device);
        self.trace.count("flickers", 1);
        true
    }

    /// Takes away what has stayed long enough; now and then a sub-channel goes first.
    pub(super) fn flicker_on(&mut self) {
        let now = self.faults.now;
        for index in 0..self.flickers.len() {
            let Flicker { device, due, .. } = self.flickers[index];
            if due.is_none_or(|due| due > now) {
                continue;
            }
            let subs = 1..self.devices[device].slots.len();
            let sub = subs.start + self.faults.rng.below(subs.len() as u64) as usize;
            let there = |slot: &Slot| slot.relid.is_some() && !slot.leaving;
            if subs.contains(&sub) && there(&self.devices[device].slots[sub]) {
                let later = now + self.faults.rng.below(3);
                self.withdraw((device, sub));
                self.flickers[index].due = Some(later);
                self.trace.count("flickers_of_sub_channels", 1);
                continue;
            }
            self.flickers[index].due = None;
            self.take_away(device);
        }
    }

    /// All channels that the guest has, as the host sees it: numbers, and `-` before those that it
    /// was told are gone.
    pub(super) fn list_channels(&self) -> String {
        let leaving = |at: &(usize, usize)| self.devices[at.0].slots[at.1].leaving;
        let names = self.channels.iter().map(|(relid, at)| match leaving(at) {
            true => format!("-{relid}"),
            false => relid.to_string(),
        });
        names.collect::<Vec<_>>().join(" ")
    }
}
