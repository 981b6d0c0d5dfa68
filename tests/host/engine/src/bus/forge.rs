// SPDX-License-Identifier: GPL-2.0

//! Control messages that no host sends: of every type and length, about channels and memory that
//! exist and that do not, in any order and more than once, among the true ones.
//!
//! What the guest does about them breaks no rule. Channels that are offered here lead nowhere:
//! the host refuses all that the guest asks for there.

use super::*;
use crate::fault::{number, Effect, Rule};
use crate::guid::Guid;

/// Numbers that are given to channels which do not exist, in the upper half of those there are.
const INVENTED: u32 = 1024;
/// So many at a time.
const BURST: usize = 8;

/// What is known of the forged messages.
#[derive(Default)]
pub(super) struct Forgery {
    /// How many are to come.
    left: u64,
    /// Something was forged since the guest has come: what it does wrong is not its fault.
    pub(super) begun: bool,
    /// All that was offered was taken back: what turns out to be there goes too.
    ended: bool,
    /// Numbers under which channels were offered, ever. One of a device may be among them: when
    /// the guest lets go of that, what was forged may take its place, and the number is not given
    /// to a device again.
    invented: BTreeSet<u32>,
    /// Memory that was shared there.
    gpadls: BTreeSet<u32>,
    /// Messages that come later, and the last one that was sent.
    held: Vec<Vec<u8>>,
    last: Vec<u8>,
    /// What the guest has asked for at last.
    gpadl: u32,
    open: (u32, u32),
}

impl Host {
    /// `fault forge N`, `fault forge end`: takes back what was offered.
    pub(super) fn forge(&mut self, words: &str) -> Result<String, String> {
        if words == "end" {
            self.forgery.left = 0;
            self.forgery.ended = true;
            self.forgery.held.clear();
            for relid in self.forgery.invented.clone() {
                if self.is_invented(relid) {
                    self.post(kind::RESCIND_CHANNEL_OFFER, &msg::Relid { relid });
                }
            }
            self.drain();
            return Ok(String::new());
        }
        self.forgery.left += number(words)?;
        self.forgery.begun = true;
        self.forgery.ended = false;
        Ok(String::new())
    }

    /// How many messages are to be forged.
    pub(super) fn forgeries_left(&self) -> u64 {
        self.forgery.left
    }

    /// Whether a channel with this number was invented, and is no device's.
    pub(super) fn is_invented(&self, relid: u32) -> bool {
        self.forgery.invented.contains(&relid) && !self.channels.contains_key(&relid)
    }

    /// A device's channel has lost its number. If an offer was forged under it that came to the
    /// guest later than this, the guest has taken that.
    pub(super) fn after_forged(&mut self, relid: u32) {
        if self.forgery.ended && self.is_invented(relid) {
            self.post(kind::RESCIND_CHANNEL_OFFER, &msg::Relid { relid });
        }
    }

    /// The next few, when the guest has taken the last ones.
    pub(super) fn forge_on(&mut self) {
        while self.forgery.left > 0 && self.outbox.len() < BURST {
            self.forgery.left -= 1;
            self.trace.count("forged", 1);
            let message = self.forged();
            self.send_forged(message);
        }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.faults.rng.below(one_in) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.faults.rng.below(of.len() as u64) as usize).copied()
    }

    /// A number that may be a channel's, or is at an edge.
    fn any_relid(&mut self) -> u32 {
        let live: Vec<u32> = self.channels.keys().copied().collect();
        let invented: Vec<u32> = self.forgery.invented.iter().copied().collect();
        let rng = &mut self.faults.rng;
        match rng.below(8) {
            0 => rng.number() as u32,
            1 => [0, MAX_RELID + 1, u32::MAX, 4096][rng.below(4) as usize],
            2 => self.pick(&live).unwrap_or(0),
            3..=5 => self.pick(&invented).unwrap_or(INVENTED),
            _ => INVENTED + rng.below((MAX_RELID - INVENTED + 1).into()) as u32,
        }
    }

    fn any_gpadl(&mut self) -> u32 {
        let last = self.forgery.gpadl;
        let rng = &mut self.faults.rng;
        match rng.below(6) {
            0 => rng.number() as u32,
            1 => 0,
            n => last.wrapping_add(n as u32).wrapping_sub(3),
        }
    }

    fn any_status(&mut self) -> u32 {
        let rng = &mut self.faults.rng;
        [0, STATUS_UNSUCCESSFUL, 1, rng.number() as u32][rng.below(4) as usize]
    }

    fn any_guid(&mut self) -> Guid {
        let (a, b) = (self.faults.rng.number(), self.faults.rng.number());
        Guid((u128::from(a) << 64 | u128::from(b)).to_le_bytes())
    }

    /// An offer with the class, the instance or the number of something that exists.
    fn forged_offer(&mut self) -> msg::OfferChannel {
        let device = self.faults.rng.below(self.devices.len() as u64) as usize;
        let known = self.devices[device].device.offer();
        let mut offer = self.offer_message((device, 0), 1);
        offer.relid = self.any_relid();
        let twin = self.chance(4);
        if !twin {
            offer.instance = self.any_guid();
        }
        // hv_utils has one buffer for all devices of a class, and frees it with each of them.
        let single =
            !["scsi", "nic", "echo"].iter().any(|n| self.devices[device].name.starts_with(n));
        if single || self.chance(2) || (twin && self.chance(3)) {
            offer.interface = self.any_guid();
        } else {
            offer.interface = known.interface;
        }
        if self.chance(3) {
            offer.sub_channel = [1, 2, 3, 64, 0xffff][self.faults.rng.below(5) as usize];
        }
        if self.chance(4) {
            offer.flags = self.faults.rng.number() as u16;
        }
        if self.chance(4) {
            offer.monitor_id = self.faults.rng.number() as u8;
            offer.monitor_allocated = self.faults.rng.number() as u8;
        }
        if self.chance(8) {
            offer.connection = self.faults.rng.number() as u32;
        }
        offer
    }

    fn forged(&mut self) -> Vec<u8> {
        let mut message = match self.faults.rng.below(17) {
            0..=3 => self.noise(),
            4..=7 => {
                let offer = self.forged_offer();
                msg::build(kind::OFFER_CHANNEL, &offer)
            }
            8 | 9 => {
                let relid = self.any_relid();
                msg::build(kind::RESCIND_CHANNEL_OFFER, &msg::Relid { relid })
            }
            10 => {
                let (relid, open_id) = self.forgery.open;
                let relid = if self.chance(2) { relid } else { self.any_relid() };
                let status = self.any_status();
                msg::build(kind::OPEN_RESULT, &msg::OpenResult { relid, open_id, status })
            }
            11 => {
                let (relid, gpadl) = (self.any_relid(), self.any_gpadl());
                let relid = if self.chance(2) { relid } else { self.forgery.open.0 };
                let status = self.any_status();
                msg::build(kind::GPADL_CREATED, &msg::GpadlCreated { relid, gpadl, status })
            }
            12 => {
                let gpadl = self.any_gpadl();
                msg::build(kind::GPADL_TORNDOWN, &msg::GpadlTorndown { gpadl })
            }
            13 => {
                let answers = [
                    kind::ALL_OFFERS_DELIVERED,
                    kind::VERSION_RESPONSE,
                    kind::UNLOAD_COMPLETE,
                    kind::MODIFY_CHANNEL_RESPONSE,
                    kind::TL_CONNECT_RESULT,
                ];
                let kind = self.pick(&answers).unwrap_or_default();
                let words = [self.any_relid(), self.any_status()];
                msg::build(kind, &words)
            }
            14 => self.forgery.last.clone(),
            15 => {
                self.disturb();
                self.noise()
            }
            _ if self.forgery.held.len() > 8 || self.chance(2) => {
                let held = self.forgery.held.len() as u64;
                let index = self.faults.rng.below(held) as usize;
                match held {
                    0 => Vec::new(),
                    _ => self.forgery.held.swap_remove(index),
                }
            }
            _ => {
                let held = self.forged_offer();
                self.forgery.held.push(msg::build(kind::OFFER_CHANNEL, &held));
                let relid = held.relid;
                msg::build(kind::RESCIND_CHANNEL_OFFER, &msg::Relid { relid })
            }
        };
        if self.chance(8) {
            let len = self.faults.rng.below(message.len() as u64 + 1) as usize;
            message.truncate(len);
        }
        if self.chance(8) && !message.is_empty() {
            let at = self.faults.rng.below(message.len() as u64) as usize;
            message[at] = self.faults.rng.number() as u8;
        }
        message
    }

    /// Any type, any length, and words that may mean something.
    fn noise(&mut self) -> Vec<u8> {
        let any = self.faults.rng.number() as u32;
        let kind = if self.chance(16) { any } else { any % 27 };
        let mut message = msg::build(kind, &[0u8; 0]);
        for _ in 0..self.faults.rng.below(59) {
            let word = match self.faults.rng.below(4) {
                0 => self.any_relid(),
                1 => self.any_gpadl(),
                2 => self.any_status(),
                _ => self.faults.rng.number() as u32,
            };
            message.extend(word.to_le_bytes());
        }
        message
    }

    /// Something happens to a true message, or to a device.
    fn disturb(&mut self) {
        let answers = [kind::OPEN_RESULT, kind::GPADL_CREATED, kind::GPADL_TORNDOWN];
        let effect = [Effect::Duplicate, Effect::Again(20), Effect::Delay(5)];
        let kind = self.pick(&answers).unwrap_or(kind::OPEN_RESULT);
        let mut effect = self.pick(&effect).unwrap_or(Effect::Duplicate);
        if kind != kind::GPADL_TORNDOWN && self.chance(4) {
            effect = Effect::Status(STATUS_UNSUCCESSFUL);
        }
        if self.faults.messages.len() < 4 {
            self.faults.messages.push((kind, Rule::once(effect)));
        }
        let device = self.faults.rng.below(self.devices.len() as u64) as usize;
        let there = self.devices[device].slots[0].relid.is_some();
        if there && self.devices[device].presence == Presence::There && self.chance(8) {
            self.take_away(device);
            self.devices[device].presence = Presence::Leaving(true);
        }
    }

    /// Sends a forged message, unless it would make a true channel another one for the guest than
    /// for the host.
    pub(super) fn send_forged(&mut self, message: Vec<u8>) {
        let (number, body) = msg::parse(&message).unwrap_or_default();
        match number {
            kind::RESCIND_CHANNEL_OFFER => {
                let live =
                    |relid| self.channels.get(&relid).is_some_and(|at| !self.is_leaving(*at));
                if get::<msg::Relid>(body).is_ok_and(|body| live(body.relid)) {
                    return;
                }
            }
            kind::OFFER_CHANNEL => {
                if let Ok(offer) = get::<msg::OfferChannel>(body) {
                    let (relid, class) = (offer.relid, offer.interface);
                    let live = self.channels.contains_key(&relid);
                    // What its driver would do there nobody can judge.
                    if live && self.devices.iter().any(|e| e.device.offer().interface == class) {
                        return;
                    }
                    // In use now, perhaps not any more when the guest comes to it.
                    if (1..=MAX_RELID).contains(&relid) {
                        self.forgery.invented.insert(relid);
                    }
                }
            }
            _ => {}
        }
        self.note_message("forged", number, body);
        self.forgery.last.clone_from(&message);
        self.outbox.push_back(message);
    }

    /// Looks at what the guest asks for. Returns whether it was about a channel that does not
    /// exist, and was refused.
    pub(super) fn refuse_invented(&mut self, number: u32, body: &[u8]) -> bool {
        if !self.forgery.begun {
            return false;
        }
        let relid: u32 = get(body).unwrap_or_default();
        let second: u32 = body.get(4..).and_then(|rest| get(rest).ok()).unwrap_or_default();
        match number {
            kind::OPEN_CHANNEL => self.forgery.open = (relid, second),
            kind::GPADL_HEADER => self.forgery.gpadl = second,
            kind::GPADL_BODY => return self.forgery.gpadls.contains(&second),
            _ => {}
        }
        if !self.is_invented(relid) {
            return false;
        }
        let status = STATUS_UNSUCCESSFUL;
        match number {
            kind::OPEN_CHANNEL => {
                let open_id = second;
                self.post(kind::OPEN_RESULT, &msg::OpenResult { relid, open_id, status });
            }
            kind::GPADL_HEADER => {
                self.forgery.gpadls.insert(second);
                self.post(kind::GPADL_CREATED, &msg::GpadlCreated { relid, gpadl: second, status });
            }
            kind::GPADL_TEARDOWN => {
                self.post(kind::GPADL_TORNDOWN, &msg::GpadlTorndown { gpadl: second });
            }
            kind::MODIFY_CHANNEL => {
                self.post(
                    kind::MODIFY_CHANNEL_RESPONSE,
                    &msg::ModifyChannelResponse { relid, status },
                );
            }
            kind::CLOSE_CHANNEL | kind::RELID_RELEASED => {}
            _ => return false,
        }
        self.trace.count("refused", 1);
        true
    }
}
