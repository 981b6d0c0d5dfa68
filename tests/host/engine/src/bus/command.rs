// SPDX-License-Identifier: GPL-2.0

//! What the control line asks of the bus.

use super::*;

impl Host {
    /// Carries out a command of the control line and returns its answer.
    pub fn command(&mut self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.trace.event(Level::Messages, "command", json!({ "line": line }));
        match words[..] {
            ["rescind", name] => self.find(name).and_then(|index| self.rescind(index)),
            ["rescind", name, sub] => {
                let index = self.find(name)?;
                self.rescind_sub_channel(index, sub)
            }
            ["offer", name] => self.find(name).and_then(|index| self.offer_again(index)),
            ["fault", ref words @ ..] => self.fault(words),
            ["socket", ref words @ ..] => self.socket(words),
            ["later", ms, ref words @ ..] => {
                let ms: u64 = ms.parse().map_err(|_| format!("{ms} is not a number"))?;
                self.later.push((self.faults.now + ms, words.join(" ")));
                Ok(String::new())
            }
            // For the guest's next contact.
            ["version", text] => {
                self.max_version = text.parse()?;
                Ok(String::new())
            }
            ["null", count] => {
                let count = count.parse().map_err(|_| format!("{count} is not a number"))?;
                self.add_null_devices(count)
            }
            ["inject", name, hex] => self.inject(name, hex),
            ["interrupt", relid] => self.spurious_interrupt(relid, "0"),
            ["interrupt", relid, vp] => self.spurious_interrupt(relid, vp),
            ["stop", name, channel] => self.stop(name, channel, true),
            ["go", name, channel] => self.stop(name, channel, false),
            ["channels"] => Ok(self.list_channels()),
            // What the host does by itself is over when there are none.
            ["left"] => Ok((self.flickers_left() + self.forgeries_left()).to_string()),
            ["counters"] => {
                let all = self.trace.counters().iter();
                Ok(all.map(|(name, n)| format!("{name}={n}")).collect::<Vec<_>>().join(" "))
            }
            // One of them, since the mark or ever: all of them take a guest's serial line long.
            ["counter", name] => Ok(self.count_since_mark(name).to_string()),
            ["counter", name, "ever"] => Ok(self.trace.counter(name).to_string()),
            ["mark"] => {
                self.mark = self.trace.counters().clone();
                Ok(String::new())
            }
            ["shutdown", ..] => self.device_command("shutdown", &["request"]),
            ["heartbeat"] => self.device_command("heartbeat", &["answered"]),
            ["disk", ..] => self.device_command("scsi0", &words),
            [name, ref rest @ ..] => self.device_command(name, rest),
            [] => Err("an empty command".into()),
        }
    }

    /// Carries out what was asked for some time ago. Nobody waits for the answer.
    pub(super) fn do_later(&mut self) {
        let now = self.faults.now;
        for (_, line) in self.later.extract_if(.., |(due, _)| *due <= now).collect::<Vec<_>>() {
            if let Err(error) = self.command(&line) {
                self.trace.event(Level::Messages, "later", json!({ "line": line, "error": error }));
            }
        }
    }

    fn count_since_mark(&self, name: &str) -> u64 {
        self.trace.counter(name) - self.mark.get(name).copied().unwrap_or(0)
    }

    pub(super) fn find(&self, name: &str) -> Result<usize, String> {
        self.devices.iter().position(|entry| entry.name == name).ok_or_else(|| {
            let all: Vec<_> = self.devices.iter().map(|entry| entry.name.as_str()).collect();
            format!("no device or command {name}: there are {}", all.join(" "))
        })
    }

    pub(super) fn device_command(&mut self, name: &str, words: &[&str]) -> Result<String, String> {
        let index = self.find(name)?;
        let answer = self.with(index, |device, io| device.command(io, words));
        self.settle(index);
        answer
    }

    pub(super) fn rescind(&mut self, index: usize) -> Result<String, String> {
        let entry = &mut self.devices[index];
        if entry.presence != Presence::There {
            return Err(format!("{} is not offered", entry.name));
        }
        let offered = entry.slots.iter().any(|slot| slot.relid.is_some());
        entry.presence = if offered { Presence::Leaving(false) } else { Presence::Gone };
        self.withdraw_all(index);
        self.drain();
        Ok(String::new())
    }

    fn withdraw_all(&mut self, index: usize) {
        // Sub-channels first: they are nothing without their primary channel.
        for channel in (0..self.devices[index].slots.len()).rev() {
            self.withdraw((index, channel));
        }
    }

    /// Takes a device that is offered away, as a step of something else.
    pub(super) fn take_away(&mut self, index: usize) {
        if self.devices[index].presence == Presence::There {
            let again = self.flicker_ends(index);
            self.devices[index].presence = Presence::Leaving(again);
            if again && self.faults.rng.below(2) == 0 {
                // Or the other way round, which is worse for the guest.
                self.withdraw((index, 0));
            }
            self.withdraw_all(index);
        }
    }

    pub(super) fn rescind_sub_channel(
        &mut self,
        index: usize,
        sub: &str,
    ) -> Result<String, String> {
        let slots = &self.devices[index].slots;
        let channel = sub.parse().ok().filter(|&channel: &usize| {
            channel > 0 && slots.get(channel).is_some_and(|s| s.relid.is_some() && !s.leaving)
        });
        let channel = channel.ok_or_else(|| format!("there is no sub-channel {sub}"))?;
        self.withdraw((index, channel));
        self.drain();
        Ok(String::new())
    }

    pub(super) fn offer_again(&mut self, index: usize) -> Result<String, String> {
        let entry = &mut self.devices[index];
        match entry.presence {
            Presence::There => return Err(format!("{} is offered already", entry.name)),
            Presence::Leaving(_) => entry.presence = Presence::Leaving(true),
            Presence::Gone => {
                entry.presence = Presence::There;
                if self.offers_requested {
                    self.offer((index, 0));
                    self.drain();
                }
            }
        }
        Ok(String::new())
    }
}
