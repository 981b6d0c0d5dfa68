// SPDX-License-Identifier: GPL-2.0

//! The CMOS clock, read only. Linux reads it at boot whatever ACPI says, and waits seconds for
//! one that is not there.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

/// Port of the register number; the data port follows it.
pub const INDEX: u16 = 0x70;
/// Port of the register's value.
pub const DATA: u16 = 0x71;

/// The clock: which register the guest selected.
#[derive(Default)]
pub struct Cmos(AtomicU8);

impl Cmos {
    /// The guest selects a register (the top bit masks NMIs).
    pub fn select(&self, value: u8) {
        self.0.store(value & 0x7f, Ordering::Relaxed);
    }

    /// The guest reads the selected register.
    pub fn read(&self) -> u8 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        register(self.0.load(Ordering::Relaxed), now.as_secs())
    }
}

/// A register's value at a Unix time.
fn register(index: u8, time: u64) -> u8 {
    /// Binary, not BCD; 24 hours.
    const STATUS_B: u8 = 1 << 2 | 1 << 1;
    /// The battery is good.
    const STATUS_D: u8 = 1 << 7;
    let (year, month, day) = date(time / 86400);
    match index {
        0x00 => (time % 60) as u8,
        0x02 => (time / 60 % 60) as u8,
        0x04 => (time / 3600 % 24) as u8,
        0x06 => ((time / 86400 + 4) % 7 + 1) as u8,
        0x07 => day,
        0x08 => month,
        0x09 => (year % 100) as u8,
        0x0b => STATUS_B,
        0x0d => STATUS_D,
        0x32 => (year / 100) as u8,
        _ => 0,
    }
}

/// Year, month and day of a number of days since 1970.
fn date(mut days: u64) -> (u64, u8, u8) {
    let mut year = 1970;
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let months = [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (month, length) in (1..).zip(months) {
            if days < length {
                return (year, month, days as u8 + 1);
            }
            days -= length;
        }
        year += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11016), (2000, 2, 29));
        assert_eq!(date(20779), (2026, 11, 22));
    }

    #[test]
    fn registers() {
        let time = 20779 * 86400 + 11 * 3600 + 5 * 60 + 26;
        assert_eq!([4, 2, 0].map(|index| register(index, time)), [11, 5, 26]);
        assert_eq!(register(6, time), 1, "a Sunday");
    }
}
