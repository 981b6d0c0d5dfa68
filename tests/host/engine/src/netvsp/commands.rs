// SPDX-License-Identifier: GPL-2.0

//! What the control line can ask of the card:
//!
//! - `counters`, `queues`: what was counted, in all and by channel.
//! - `link up`, `down`, `change`, `speed MBPS`.
//! - `version 5`: the newest version that the card speaks in its next handshake.
//! - `pause`, `resume`: the host reads no ring.
//! - `hold`, `release`: the host completes none of the guest's frames; it takes no more of a
//!   channel when its quota is reached.
//! - `grant N`, `offer N`: at most so many sub-channels are granted, or offered, the next time.
//! - `table E0 ... E15`: sends another table to spread transmission by.
//! - `vf on SERIAL`, `off`, and more: see [`super::vf`].
//! - `say ...`, `early ...`, `complete ...`: see [`super::lies`].
//! - `bad KIND [COUNT]`, `noise SEED COUNT`: see [`super::faults`].

use super::{version, Netvsp, PRIMARY};
use crate::device::Io;

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

impl Netvsp {
    pub(super) fn carry_out(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        let mut text = String::new();
        match words {
            ["counters"] => text = self.counters.text(),
            ["queues"] => text = self.queues_text(),
            ["link", rest @ ..] => {
                let indication = match rest {
                    ["up"] => self.adapter.set_link(true),
                    ["down"] => self.adapter.set_link(false),
                    ["change"] => self.adapter.network_change(),
                    ["speed", mbps] => self.adapter.set_speed(number(mbps)?),
                    _ => return Err("link up, down, change, or speed MBPS".into()),
                };
                self.indicate(io, indication);
            }
            // For the next handshake.
            ["version", text] => {
                self.config.max_version =
                    version::named(text).ok_or_else(|| format!("there is no version {text}"))?;
            }
            ["pause"] => self.paused = true,
            ["resume"] => {
                self.paused = false;
                self.start_reading(io);
            }
            ["hold"] => self.holding = true,
            ["release"] => self.release(io),
            ["grant", count] => self.faults.allocation.grant = Some(number(count)?),
            ["offer", count] => self.faults.allocation.offer = Some(number(count)?),
            ["table", entries @ ..] => {
                let entries: Result<Vec<u32>, _> = entries.iter().map(|e| number(e)).collect();
                let table = entries?.try_into().map_err(|_| "a table has 16 entries")?;
                self.send_table(io, 16, None, &table);
            }
            ["vf", rest @ ..] => text = self.vf(io, rest)?,
            ["say", rest @ ..] => self.say(rest)?,
            ["early", what] => self.be_early(what)?,
            ["complete", of, with, count] => self.mix_up(of, with, number(count)?)?,
            ["bad", kind] => self.bad(io, kind, None)?,
            ["noise", seed, count] => self.noise(io, number(seed)?, number(count)?)?,
            ["bad", kind, count] => self.bad(io, kind, Some(number(count)?))?,
            _ => return Err(format!("unknown command: {}", words.join(" "))),
        }
        self.counters.tell(io);
        Ok(text)
    }

    /// Tells the guest about the link, if it listens.
    fn indicate(&mut self, io: &mut Io<'_>, indication: Vec<u8>) {
        if self.adapter.is_initialized() {
            self.session.replies.push_back((PRIMARY, indication));
            self.pump(io);
        }
    }
}
