// SPDX-License-Identifier: GPL-2.0

//! Persistent reservations.
//!
//! The guest is one initiator. The other one, which a cluster's second node would be, is the
//! control line: reservations without a rival cannot conflict.

use super::*;

/// Length of the parameter list of PERSISTENT RESERVE OUT.
pub(super) const PARAMETERS: usize = 24;

/// Who sends a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nexus {
    Guest,
    Rival,
}

// Service actions of PERSISTENT RESERVE IN.
const READ_KEYS: u8 = 0;
const READ_RESERVATION: u8 = 1;
const REPORT_CAPABILITIES: u8 = 2;

// Service actions of PERSISTENT RESERVE OUT.
const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;
const PREEMPT_AND_ABORT: u8 = 5;
const REGISTER_AND_IGNORE: u8 = 6;

/// SPEC_I_PT, ALL_TG_PT and APTPL, byte 20 of the parameter list: none is supported.
const PARAMETER_FLAGS: u8 = 0x0d;

/// Types of reservations; their scope is always the logical unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind(u8);

impl Kind {
    const WRITE_EXCLUSIVE: u8 = 1;
    const EXCLUSIVE_ACCESS: u8 = 3;
    const WRITE_EXCLUSIVE_REGISTRANTS: u8 = 5;
    const EXCLUSIVE_ACCESS_REGISTRANTS: u8 = 6;
    const WRITE_EXCLUSIVE_ALL: u8 = 7;
    const EXCLUSIVE_ACCESS_ALL: u8 = 8;

    /// From the scope and type byte.
    fn new(byte: u8) -> Option<Self> {
        let known = [
            Self::WRITE_EXCLUSIVE,
            Self::EXCLUSIVE_ACCESS,
            Self::WRITE_EXCLUSIVE_REGISTRANTS,
            Self::EXCLUSIVE_ACCESS_REGISTRANTS,
            Self::WRITE_EXCLUSIVE_ALL,
            Self::EXCLUSIVE_ACCESS_ALL,
        ];
        known.contains(&byte).then_some(Self(byte))
    }

    /// Whoever is registered has the holder's access.
    fn registrants(self) -> bool {
        self.0 >= Self::WRITE_EXCLUSIVE_REGISTRANTS
    }

    /// Whoever is registered is a holder.
    fn all_hold(self) -> bool {
        self.0 >= Self::WRITE_EXCLUSIVE_ALL
    }

    fn reads_too(self) -> bool {
        matches!(
            self.0,
            Self::EXCLUSIVE_ACCESS
                | Self::EXCLUSIVE_ACCESS_REGISTRANTS
                | Self::EXCLUSIVE_ACCESS_ALL
        )
    }
}

/// Registrations and the reservation of one logical unit.
#[derive(Default)]
pub(super) struct Reservations {
    generation: u32,
    /// The keys of the guest and of its rival.
    keys: [Option<u64>; 2],
    held: Option<(Nexus, Kind)>,
    /// Unit attentions for the guest, caused by the rival.
    heard: Vec<Sense>,
}

impl Nexus {
    fn other(self) -> Self {
        match self {
            Self::Guest => Self::Rival,
            Self::Rival => Self::Guest,
        }
    }
}

impl Reservations {
    fn key(&self, who: Nexus) -> Option<u64> {
        self.keys[who as usize]
    }

    fn holds(&self, who: Nexus) -> bool {
        self.held.is_some_and(|(holder, kind)| {
            holder == who || (kind.all_hold() && self.key(who).is_some())
        })
    }

    /// Whether the reservation forbids this command.
    pub(super) fn forbid(&self, who: Nexus, cdb: &[u8; CDB]) -> bool {
        let Some((holder, kind)) = self.held else { return false };
        if holder == who || (kind.registrants() && self.key(who).is_some()) {
            return false;
        }
        match cdb[0] {
            op::READ_6 | op::READ_10 | op::READ_12 | op::READ_16 => kind.reads_too(),
            op::VERIFY_10 | op::VERIFY_16 => kind.reads_too(),
            code if blocks::is_write(code) => true,
            op::MODE_SELECT_6 | op::MODE_SELECT_10 | op::SEND_DIAGNOSTIC => true,
            op::SYNCHRONIZE_CACHE_10 | op::SYNCHRONIZE_CACHE_16 => true,
            // Starting is allowed, stopping is not.
            op::START_STOP => cdb[4] & 1 == 0,
            _ => false,
        }
    }

    /// PERSISTENT RESERVE IN.
    pub(super) fn report(&self, cdb: &[u8; CDB]) -> Result<Vec<u8>, Sense> {
        let mut list = Vec::new();
        match cdb[1] & 0x1f {
            READ_KEYS => self.keys.iter().flatten().for_each(|key| list.extend(key.to_be_bytes())),
            READ_RESERVATION => {
                if let Some((holder, kind)) = self.held {
                    // All registrants hold it: then there is no one key.
                    let key = self.key(holder).filter(|_| !kind.all_hold()).unwrap_or(0);
                    list.extend(key.to_be_bytes());
                    list.extend([0, 0, 0, 0, 0, kind.0, 0, 0]);
                }
            }
            // No way to keep it over power loss; all six types.
            REPORT_CAPABILITIES => return Ok(vec![0, 8, 0, 0x80, 0xea, 0x01, 0, 0]),
            _ => return Err(Sense::BAD_FIELD),
        }
        let mut out = self.generation.to_be_bytes().to_vec();
        out.extend((list.len() as u32).to_be_bytes());
        out.extend(list);
        Ok(out)
    }

    /// PERSISTENT RESERVE OUT.
    pub(super) fn change(
        &mut self,
        who: Nexus,
        cdb: &[u8; CDB],
        list: &[u8; PARAMETERS],
    ) -> Result<(), Failure> {
        let (action, kind) = (cdb[1] & 0x1f, cdb[2]);
        let (key, new) = (be(list, 0, 8), be(list, 8, 8));
        if list[20] & PARAMETER_FLAGS != 0 {
            return Err(Sense::BAD_PARAMETER.into());
        }
        let own = self.key(who);
        match action {
            REGISTER if own.unwrap_or(0) != key => return Err(Failure::Conflict),
            REGISTER | REGISTER_AND_IGNORE => {
                self.generation = self.generation.wrapping_add(1);
                if new == 0 {
                    self.unregister(who);
                } else {
                    self.keys[who as usize] = Some(new);
                }
                return Ok(());
            }
            RESERVE | RELEASE | CLEAR | PREEMPT | PREEMPT_AND_ABORT => {}
            _ => return Err(Sense::BAD_FIELD.into()),
        }
        if own != Some(key) {
            return Err(Failure::Conflict);
        }
        if action == CLEAR {
            self.generation = self.generation.wrapping_add(1);
            let hears = self.key(who.other()).is_some();
            self.keys = [None; 2];
            self.held = None;
            self.tell(who.other(), hears.then_some(Sense::RESERVATIONS_PREEMPTED));
            return Ok(());
        }
        let kind = Kind::new(kind).ok_or(Sense::BAD_FIELD)?;
        match action {
            RESERVE => match self.held {
                None => self.held = Some((who, kind)),
                Some((_, held)) if self.holds(who) && held == kind => {}
                Some(_) => return Err(Failure::Conflict),
            },
            RELEASE => match self.held {
                Some((_, held)) if self.holds(who) => {
                    if held != kind {
                        return Err(Sense::INVALID_RELEASE.into());
                    }
                    self.released(who);
                }
                _ => {}
            },
            _ => self.preempt(who, kind, new)?,
        }
        Ok(())
    }

    fn preempt(&mut self, who: Nexus, kind: Kind, victim: u64) -> Result<(), Failure> {
        let other = who.other();
        // A key of 0 stands for all the others where all registrants hold the reservation.
        let all = victim == 0 && self.held.is_some_and(|(_, held)| held.all_hold());
        if victim == 0 && !all {
            return Err(Sense::BAD_PARAMETER.into());
        }
        let found = all || self.keys.contains(&Some(victim));
        if !found {
            return Err(Failure::Conflict);
        }
        let holder_goes = match self.held {
            Some((_, held)) if held.all_hold() => all,
            Some((holder, _)) => self.key(holder) == Some(victim),
            None => false,
        };
        self.generation = self.generation.wrapping_add(1);
        if all || self.key(other) == Some(victim) {
            let was_there = self.keys[other as usize].take().is_some();
            self.tell(other, was_there.then_some(Sense::REGISTRATIONS_PREEMPTED));
        }
        if holder_goes {
            self.held = Some((who, kind));
        }
        Ok(())
    }

    fn unregister(&mut self, who: Nexus) {
        let held = self.holds(who);
        self.keys[who as usize] = None;
        match self.held {
            // It stays as long as anybody is registered.
            Some((_, kind)) if kind.all_hold() && self.key(who.other()).is_some() => {
                self.held = Some((who.other(), kind));
            }
            Some(_) if held => self.released(who),
            _ => {}
        }
    }

    /// The reservation ends; the other registrants hear of it if it was theirs too.
    fn released(&mut self, who: Nexus) {
        let shared = self.held.take().is_some_and(|(_, kind)| kind.registrants());
        let hears = shared && self.key(who.other()).is_some();
        self.tell(who.other(), hears.then_some(Sense::RESERVATIONS_RELEASED));
    }

    fn tell(&mut self, who: Nexus, sense: Option<Sense>) {
        if who == Nexus::Guest {
            self.heard.extend(sense);
        }
    }

    /// What the rival does: `register KEY`, `reserve TYPE`, `release TYPE`, `clear`,
    /// `preempt KEY TYPE`, keys in hexadecimal. Returns the guest's unit attentions.
    pub(super) fn rival(&mut self, words: &[&str]) -> Result<Vec<Sense>, String> {
        let hex = |word: &str| {
            let digits = word.trim_start_matches("0x");
            u64::from_str_radix(digits, 16).map_err(|_| format!("not a number: {word}"))
        };
        let kind = |word: &str| word.parse::<u8>().map_err(|_| format!("not a type: {word}"));
        let (action, kind, new) = match *words {
            ["register", key] => (REGISTER_AND_IGNORE, 0, hex(key)?),
            ["reserve", word] => (RESERVE, kind(word)?, 0),
            ["release", word] => (RELEASE, kind(word)?, 0),
            ["clear"] => (CLEAR, 0, 0),
            ["preempt", key, word] => (PREEMPT, kind(word)?, hex(key)?),
            _ => return Err(format!("the rival cannot {}", words.join(" "))),
        };
        let mut cdb = [0; CDB];
        put(&mut cdb, 0, &[op::PERSISTENT_RESERVE_OUT, action, kind]);
        let mut list = [0; PARAMETERS];
        put(&mut list, 0, &self.key(Nexus::Rival).unwrap_or(0).to_be_bytes());
        put(&mut list, 8, &new.to_be_bytes());
        self.change(Nexus::Rival, &cdb, &list).map_err(|why| format!("{why:?}"))?;
        Ok(std::mem::take(&mut self.heard))
    }
}
