// SPDX-License-Identifier: GPL-2.0

//! Faults that the control line asks for, as far as the bus carries them out.

use super::*;
use crate::fault::{self, number, Pauses, Rng, Rule, Storm};
use crate::guid::Guid;
use crate::ring::Field;

const HELP: &str = "fault seed N | clear | hold MS | post STATUS N | storm RATE [hard] \
    | message NAME EFFECT | packet DEVICE EFFECT | no-interrupt DEVICE MS|forever \
    | early-interrupt DEVICE N [gpadl] | rescind DEVICE STEP [N] | pause DEVICE CHANNEL AFTER|sweep MS \
    | ring DEVICE CHANNEL write|read|mask|pending VALUE|back|random | mend DEVICE CHANNEL \
    | hold-sender DEVICE CHANNEL MS | flicker DEVICE ROUNDS MS | forge N|end \
    | offer DEVICE [relid=N] [sub=N] [monitor=N] [flags=N] [class=same] [instance=same]";

fn word<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    number(text)?.try_into().map_err(|_| format!("{text} is too large"))
}

impl Host {
    /// Time has passed: `now` in milliseconds since the start. Carries out what was delayed.
    pub fn advance(&mut self, now: u64) {
        self.faults.now = now;
        self.do_later();
        self.pattern_again();
        self.write_kept();
        for message in self.faults.due() {
            self.outbox.push_back(message);
        }
        for index in 0..self.devices.len() {
            let entry = &mut self.devices[index];
            entry.faults.now = now;
            if entry.faults.next().is_none_or(|due| due > now) && entry.faults.swallowed.is_empty()
            {
                continue;
            }
            let over = entry.faults.stopped.iter().filter(|(_, &until)| until <= now);
            for channel in over.map(|(&channel, _)| channel).collect::<Vec<_>>() {
                if entry.faults.goes_on(channel) {
                    self.ready.extend(entry.slots.get(channel).and_then(|slot| slot.relid));
                }
            }
            entry.faults.stopped.retain(|_, until| *until > now);
            self.with(index, |_, io| io.advance());
            self.settle(index);
        }
        self.storm_blows();
        self.flicker_on();
        self.forge_on();
        self.poll_monitor();
        self.drain();
    }

    /// When [`Host::advance`] has something to do: milliseconds since the start.
    pub fn next_event(&self) -> Option<u64> {
        let devices = self.devices.iter().filter_map(|entry| entry.faults.next());
        let storm = self.faults.storm.map(|_| self.faults.now + 20);
        // The monitor page wants to be looked at all the time.
        let monitor = self.monitor_page.map(|_| self.faults.now);
        let kept = self.keeps_some().then_some(self.faults.now + KEPT_MS);
        let forged = (self.forgeries_left() > 0).then_some(self.faults.now);
        let first = self.faults.next();
        let first = first.into_iter().chain(self.next_flicker()).chain(forged);
        let later = self.later.iter().map(|&(due, _)| due);
        devices.chain(first).chain(later).chain(storm).chain(monitor).chain(kept).min()
    }

    /// Sends a message, or what the faults that were asked for make of it.
    pub(super) fn send_message(&mut self, kind: u32, message: Vec<u8>) {
        let body = msg::parse(&message).and_then(|(_, body)| get::<msg::Relid>(body).ok());
        let relid = body.map(|body| body.relid);
        let (messages, effect) = self.faults.message(kind, message);
        if let (Some(fault::Effect::Status(1..)), [message]) = (effect, &messages[..]) {
            self.mean_it(kind, message);
        }
        if let Some(effect) = effect {
            self.note_fault(fault::name(effect), msg::name(kind));
        }
        self.outbox.extend(messages);
        if let (Some(fault::Effect::Rescind), Some(relid)) = (effect, relid) {
            if let Ok((index, _)) = self.channel(relid) {
                self.take_away(index);
            }
        }
    }

    /// A refusal that was put into an answer: the host's state follows.
    fn mean_it(&mut self, kind: u32, message: &[u8]) {
        let Some((_, body)) = msg::parse(message) else { return };
        match kind {
            kind::OPEN_RESULT => {
                let Ok(msg::Relid { relid }) = get(body) else { return };
                if let Ok(at) = self.channel(relid) {
                    self.shut(at);
                }
            }
            kind::GPADL_CREATED => {
                let Ok(msg::GpadlCreated { relid, gpadl, .. }) = get(body) else { return };
                if let Ok(at) = self.channel(relid) {
                    self.slot(at).gpadls.remove(&gpadl);
                }
            }
            _ => {}
        }
    }

    fn note_fault(&mut self, what: &str, whom: &str) {
        self.trace.count("faults", 1);
        self.trace.count(&format!("fault.{what}"), 1);
        self.trace.event(Level::Messages, "fault", json!({ "fault": what, "of": whom }));
    }

    /// `fault WORDS...` of the control line.
    pub(super) fn fault(&mut self, words: &[&str]) -> Result<String, String> {
        match *words {
            ["seed", seed] => self.seed(number(seed)?),
            ["clear"] => self.clear_faults(),
            ["hold", ms] => {
                self.faults.hold_until = self.faults.now.saturating_add(number(ms)?);
                self.note_fault("hold", "messages");
            }
            ["post", status, count] => {
                self.transport.refuse_posts(word(status)?, word(count)?);
                self.note_fault("post", status);
            }
            ["hold-sender", name, channel, ms] => {
                let (index, channel) = (self.find(name)?, word::<usize>(channel)?);
                let relid = self.devices[index].slots.get(channel).and_then(|slot| slot.relid);
                let relid = relid.ok_or("there is no such channel")?;
                self.transport.hold_sender(signal_connection(relid), word(ms)?);
                self.note_fault("hold-sender", name);
            }
            ["storm", rate] => self.storm(Some(Storm { rate: number(rate)?, hard: false })),
            ["storm", rate, "hard"] => self.storm(Some(Storm { rate: number(rate)?, hard: true })),
            ["message", name, ref effect @ ..] => {
                let kind = msg::number(name).ok_or_else(|| format!("no message {name}"))?;
                let rule = Rule::parse(effect)?;
                match rule.effect {
                    fault::Effect::Status(_) if fault::status_offset(kind).is_none() => {
                        return Err(format!("{name} has no status"));
                    }
                    fault::Effect::Rescind if !fault::names_channel(kind) => {
                        return Err(format!("{name} is not about a channel"));
                    }
                    fault::Effect::UnknownId
                    | fault::Effect::Truncate(_)
                    | fault::Effect::Extend(_)
                    | fault::Effect::Flip(..) => return Err("that is for packets".into()),
                    _ => self.faults.messages.push((kind, rule)),
                }
            }
            ["packet", name, ref effect @ ..] => {
                let rule = Rule::parse(effect)?;
                if let fault::Effect::Status(_) = rule.effect {
                    return Err("that is for messages".into());
                }
                self.device_faults(name)?.packets.push(rule);
            }
            ["no-interrupt", name, ms] => {
                let forever = ms == "forever";
                let faults = self.device_faults(name)?;
                let until = if forever { u64::MAX } else { faults.now.saturating_add(number(ms)?) };
                faults.muted_until = until;
            }
            ["early-interrupt", name, count] => {
                self.device_faults(name)?.early_interrupts = number(count)?;
            }
            ["early-interrupt", name, count, "gpadl"] => {
                self.device_faults(name)?.earlier_interrupts = number(count)?;
            }
            ["rescind", name, step] => return self.fault(&["rescind", name, step, "1"]),
            ["rescind", name, step, count] => {
                let index = self.find(name)?;
                self.faults.rescind.push((index, step.parse()?, number(count)?));
            }
            ["pause", name, channel, after, ms] => {
                let sweep = after == "sweep";
                let after = if sweep { 1 } else { word(after)? };
                let pauses = Pauses { after, sweep, ms: number(ms)? };
                let channel = word(channel)?;
                self.device_faults(name)?.pauses.insert(channel, pauses);
            }
            ["ring", name, channel, field, value] => {
                return self.corrupt_ring(name, word(channel)?, field, value);
            }
            ["mend", name, channel] => {
                let (index, channel) = (self.find(name)?, word(channel)?);
                self.with(index, |_, io| io.with(channel, |rings, mem| rings.mend(mem)));
            }
            ["offer", name, ref how @ ..] => return self.bad_offer(name, how),
            ["flicker", name, rounds, ms] => return self.flicker(name, rounds, ms),
            ["forge", words] => return self.forge(words),
            _ => return Err(HELP.into()),
        }
        Ok(String::new())
    }

    /// From now on rings are read only after the guest's signal, or after a look that the mask
    /// protocol asks for. Comes before the devices are added.
    pub fn be_strict(&mut self) {
        self.strict = true;
    }

    /// Stops reading for `ms` milliseconds after the first packet of a batch, then after the
    /// second of another, and so on, on all channels: the guest meets a full ring at every
    /// position of its batches. For the devices that are there.
    pub fn pause_everywhere(&mut self, ms: u64) {
        for entry in &mut self.devices {
            entry.faults.pauses_everywhere = Some(Pauses { after: 1, sweep: true, ms });
        }
    }

    /// From now on memory that the guest takes back is written to as long as it is the host's:
    /// until the answer, which comes late.
    pub fn write_patterns(&mut self) {
        self.patterns = Some(Vec::new());
    }

    /// Adds devices that nobody drives, all at once, in one burst of offers.
    pub fn add_null_devices(&mut self, count: u16) -> Result<String, String> {
        let first = self.devices.len();
        let free = MAX_RELID as usize - self.channels.len().min(MAX_RELID as usize);
        if usize::from(count) > free {
            return Err(format!("there is room for {free} channels more"));
        }
        for number in first..first + usize::from(count) {
            let device = crate::null::Null::new(number as u16);
            self.add(&format!("null{number}"), Box::new(device));
        }
        Ok(String::new())
    }

    fn device_faults(&mut self, name: &str) -> Result<&mut DeviceFaults, String> {
        let index = self.find(name)?;
        Ok(&mut self.devices[index].faults)
    }

    fn seed(&mut self, seed: u64) {
        self.faults.rng = Rng::new(seed);
        for entry in &mut self.devices {
            entry.faults.rng = Some(Rng::new(self.faults.rng.number()));
        }
    }

    /// Ends all faults; what is delayed still comes.
    fn clear_faults(&mut self) {
        self.faults.messages.clear();
        self.faults.rescind.clear();
        self.flickers.clear();
        self.faults.hold_until = 0;
        self.transport.refuse_posts(0, 0);
        self.storm(None);
        for entry in &mut self.devices {
            let faults = &mut entry.faults;
            faults.packets.clear();
            faults.pauses.clear();
            (faults.early_interrupts, faults.earlier_interrupts) = (0, 0);
            faults.muted_until = 0;
            faults.stopped.values_mut().for_each(|until| *until = 0);
        }
        // The next look at the time lets what was held go on.
    }

    fn storm(&mut self, storm: Option<Storm>) {
        self.faults.storm = storm;
        for entry in &mut self.devices {
            entry.faults.storm = storm;
            if entry.faults.rng.is_none() {
                entry.faults.rng = Some(Rng::new(self.faults.rng.number()));
            }
        }
    }

    /// What a storm does without being asked: interrupts for nothing, late ones, slow messages.
    fn storm_blows(&mut self) {
        let Some(storm) = self.faults.storm else { return };
        let now = self.faults.now;
        // About 50 looks a second, so that the rate means about the same as for packets.
        if self.faults.rng.below(1000) >= storm.rate || self.devices.is_empty() {
            return;
        }
        let index = self.faults.rng.below(self.devices.len() as u64) as usize;
        let ms = 1 + self.faults.rng.below(20);
        match self.faults.rng.below(3) {
            0 => {
                let relid = self.devices[index].slots[0].relid.unwrap_or(0);
                self.transport.signal_guest(0, relid);
                self.note_fault("interrupt", "storm");
            }
            1 => {
                self.devices[index].faults.muted_until = now + ms;
                self.note_fault("mute", "storm");
            }
            _ => {
                self.faults.hold_until = now + ms;
                self.note_fault("hold", "storm");
            }
        }
    }

    /// Sends any message: `body` in hexadecimal.
    pub(super) fn inject(&mut self, name: &str, body: &str) -> Result<String, String> {
        let kind = msg::number(name).or_else(|| name.parse().ok());
        let kind = kind.ok_or_else(|| format!("no message {name}"))?;
        let body = if body == "-" { "" } else { body };
        let digits: Option<Vec<u8>> =
            body.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
        let digits =
            digits.filter(|digits| digits.len() % 2 == 0).ok_or("that is not hexadecimal")?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let mut message = msg::build(kind, &[0u8; 0]);
        message.extend(bytes);
        if message.len() > msg::MAX_PAYLOAD {
            return Err("that is too long for a message".into());
        }
        self.note_fault("inject", msg::name(kind));
        self.outbox.push_back(message);
        self.drain();
        Ok(String::new())
    }

    pub(super) fn spurious_interrupt(&mut self, relid: &str, vp: &str) -> Result<String, String> {
        self.transport.signal_guest(word(vp)?, word(relid)?);
        self.note_fault("interrupt", relid);
        Ok(String::new())
    }

    /// Stops reading a channel's ring, or goes on.
    pub(super) fn stop(&mut self, name: &str, channel: &str, stop: bool) -> Result<String, String> {
        let (index, channel) = (self.find(name)?, word::<usize>(channel)?);
        let entry = &mut self.devices[index];
        if stop {
            entry.faults.stopped.insert(channel, u64::MAX);
            self.note_fault("stop", name);
        } else {
            entry.faults.stopped.remove(&channel);
            if !entry.faults.goes_on(channel) {
                return Ok(String::new());
            }
            self.ready.extend(entry.slots.get(channel).and_then(|slot| slot.relid));
        }
        Ok(String::new())
    }

    fn corrupt_ring(
        &mut self,
        name: &str,
        channel: usize,
        field: &str,
        value: &str,
    ) -> Result<String, String> {
        let index = self.find(name)?;
        let what = match field {
            "write" => Field::WriteIndex,
            "read" => Field::ReadIndex,
            "mask" => Field::InterruptMask,
            "pending" => Field::PendingSendSize,
            _ => return Err("the fields are write, read, mask, pending".into()),
        };
        let random = self.faults.rng.number() as u32;
        let fixed = match value {
            "back" | "random" => None,
            _ => Some(word::<u32>(value)?),
        };
        let new = |old: u32| match value {
            "back" => old.wrapping_sub(8),
            _ => fixed.unwrap_or(random),
        };
        let done =
            self.with(index, |_, io| io.with(channel, |rings, mem| rings.corrupt(mem, what, new)));
        done.ok_or_else(|| format!("channel {channel} is not open"))?;
        self.note_fault("ring", field);
        self.with(index, |_, io| io.interrupt(channel));
        Ok(String::new())
    }

    /// Offers a device once more, with what is wrong about it; returns the channel's number. Of a
    /// class and an instance that nobody knows, if `how` does not say `same`.
    fn bad_offer(&mut self, name: &str, how: &[&str]) -> Result<String, String> {
        let index = self.find(name)?;
        let relid = self.free_relid().ok_or("no channel number is free")?;
        let mut offer = self.offer_message((index, 0), relid);
        let (class, instance) = (offer.interface, offer.instance);
        offer.interface = crate::null::CLASS;
        let (a, b) = (self.faults.rng.number(), self.faults.rng.number());
        offer.instance = Guid((u128::from(a) << 64 | u128::from(b)).to_le_bytes());
        for word_ in how {
            let (key, value) = word_.split_once('=').ok_or(HELP)?;
            match (key, value) {
                ("relid", _) => offer.relid = word(value)?,
                ("sub", _) => offer.sub_channel = word(value)?,
                ("monitor", _) => (offer.monitor_id, offer.monitor_allocated) = (word(value)?, 1),
                ("flags", _) => offer.flags = word(value)?,
                ("class", "same") => offer.interface = class,
                ("instance", "same") => offer.instance = instance,
                _ => return Err(HELP.into()),
            }
        }
        let relid = offer.relid;
        offer.connection = signal_connection(relid);
        if !self.channels.contains_key(&relid) {
            self.faults.ghosts.insert(relid);
        }
        self.note_fault("offer", name);
        self.post(kind::OFFER_CHANNEL, &offer);
        self.drain();
        Ok(relid.to_string())
    }

    /// Whether a message is about a channel that was offered for nothing: there is no answer.
    pub(super) fn about_a_ghost(&mut self, number: u32, body: &[u8]) -> bool {
        let Ok(msg::Relid { relid }) = get(body) else { return false };
        let about_a_channel = matches!(
            number,
            kind::OPEN_CHANNEL
                | kind::CLOSE_CHANNEL
                | kind::GPADL_HEADER
                | kind::GPADL_TEARDOWN
                | kind::RELID_RELEASED
                | kind::MODIFY_CHANNEL
        );
        if !about_a_channel || !self.faults.ghosts.contains(&relid) {
            return false;
        }
        if number == kind::RELID_RELEASED {
            self.faults.ghosts.remove(&relid);
        }
        self.trace.count("ghost_messages", 1);
        true
    }

    /// An interrupt for a channel whose open has no answer yet, if that is wanted.
    pub(super) fn interrupt_early(&mut self, at: (usize, usize)) {
        let faults = &mut self.devices[at.0].faults;
        if faults.early_interrupts > 0 {
            faults.early_interrupts -= 1;
            self.with(at.0, |_, io| io.interrupt(at.1));
            self.note_fault("early-interrupt", "open");
        }
    }

    /// The same for one that has not even shared its rings yet.
    pub(super) fn interrupt_earlier(&mut self, at: (usize, usize), relid: u32) {
        let faults = &mut self.devices[at.0].faults;
        if faults.earlier_interrupts > 0 {
            faults.earlier_interrupts -= 1;
            self.transport.signal_guest(0, relid);
            self.note_fault("early-interrupt", "gpadl");
        }
    }

    /// Takes a device away if this is the step at which that is wanted.
    pub(super) fn rescind_at(&mut self, index: usize, step: Step) {
        let wanted = self.faults.rescind.iter_mut().find(|(i, s, _)| (*i, *s) == (index, step));
        let Some((_, _, count)) = wanted else { return };
        *count = count.saturating_sub(1);
        self.faults.rescind.retain(|(_, _, count)| *count > 0);
        self.note_fault("rescind", "step");
        self.take_away(index);
    }

    /// The steps that are messages of the guest.
    pub(super) fn rescind_before(&mut self, number: u32, body: &[u8]) {
        let step = match number {
            kind::GPADL_HEADER => Step::Gpadl,
            kind::OPEN_CHANNEL => Step::Open,
            kind::CLOSE_CHANNEL => Step::Close,
            _ => return,
        };
        let Ok(msg::Relid { relid }) = get(body) else { return };
        if let Some(&(index, 0)) = self.channels.get(&relid) {
            self.rescind_at(index, step);
        }
    }
}
