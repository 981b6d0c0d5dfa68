// SPDX-License-Identifier: GPL-2.0

//! Faults on demand: what is done to messages, packets and interrupts on their way to the guest.
//!
//! Everything random comes from one seed, and time comes from [`crate::Host::advance`], so that
//! the same commands at the same moments do the same again.

use std::collections::{BTreeMap, BTreeSet};

use crate::message::kind;

/// Numbers that look random and follow from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }
}

/// What happens to one message or packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It never comes.
    Drop,
    /// It comes this many milliseconds later; others overtake it.
    Delay(u64),
    /// It comes twice.
    Duplicate,
    /// It comes, and this many milliseconds later once more.
    Again(u64),
    /// A packet with a transaction id that nobody gave out.
    UnknownId,
    /// A packet cut to this many bytes, its descriptor included and right.
    Truncate(usize),
    /// A packet with this many bytes more, its descriptor right.
    Extend(usize),
    /// One byte is another: of a message's body, of a packet from its descriptor on.
    Byte(usize, u8),
    /// The same of a packet, but after it was published.
    Flip(usize, u8),
    /// A message with this status.
    Status(u32),
    /// The device is taken away instead: the guest waits for this, and gets a rescind.
    Rescind,
}

impl Effect {
    fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Delay(_) => "delay",
            Self::Duplicate => "duplicate",
            Self::Again(_) => "again",
            Self::UnknownId => "unknown-id",
            Self::Truncate(_) => "truncate",
            Self::Extend(_) => "extend",
            Self::Byte(..) => "byte",
            Self::Flip(..) => "flip",
            Self::Status(_) => "status",
            Self::Rescind => "rescind",
        }
    }
}

/// An effect, and to which of the messages or packets it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What happens.
    pub effect: Effect,
    /// How many are left alone before.
    skip: u64,
    /// To how many it happens.
    count: u64,
    /// Completions only.
    completions: bool,
    /// On this channel only.
    channel: Option<usize>,
}

/// Reads a number as people write it: 17, 0x11.
pub fn number(word: &str) -> Result<u64, String> {
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => word.parse(),
    };
    parsed.map_err(|_| format!("{word} is not a number"))
}

/// The next word, as a number of a type that may be smaller.
fn take<T: TryFrom<u64>>(words: &mut &[&str]) -> Result<T, String> {
    let (first, rest) = words.split_first().ok_or("a number is missing")?;
    *words = rest;
    number(first)?.try_into().map_err(|_| format!("{first} is too large"))
}

impl Rule {
    /// Something happens to the next one.
    pub(crate) fn once(effect: Effect) -> Self {
        Self { effect, skip: 0, count: 1, completions: false, channel: None }
    }

    /// Reads `EFFECT [ARGUMENTS] [COUNT] [skip N] [completions] [channel N]`.
    pub fn parse(mut words: &[&str]) -> Result<Self, String> {
        let (name, rest) = words.split_first().ok_or("the effect is missing")?;
        words = rest;
        let words = &mut words;
        let effect = match *name {
            "drop" => Effect::Drop,
            "delay" => Effect::Delay(take(words)?),
            "duplicate" => Effect::Duplicate,
            "again" => Effect::Again(take(words)?),
            "unknown-id" => Effect::UnknownId,
            "truncate" => Effect::Truncate(take::<u16>(words)?.into()),
            "extend" => Effect::Extend(take::<u16>(words)?.into()),
            "byte" => Effect::Byte(take::<u16>(words)?.into(), take(words)?),
            "flip" => Effect::Flip(take::<u16>(words)?.into(), take(words)?),
            "status" => Effect::Status(take(words)?),
            "rescind" => Effect::Rescind,
            _ => return Err(format!("no effect {name}")),
        };
        let mut rule = Self::once(effect);
        while let Some((word, rest)) = words.split_first() {
            match *word {
                "completions" => (rule.completions, *words) = (true, rest),
                "skip" | "channel" => {
                    *words = rest;
                    let n = take(words)?;
                    match *word {
                        "skip" => rule.skip = n,
                        _ => rule.channel = Some(n as usize),
                    }
                }
                _ => rule.count = take(words)?,
            }
        }
        Ok(rule)
    }
}

/// The effect of the first rule whose turn it is; rules that are used up go.
fn turn(rules: &mut Vec<Rule>, fits: impl Fn(&Rule) -> bool) -> Option<Effect> {
    let at = rules.iter_mut().position(|rule| {
        if !fits(rule) || rule.count == 0 {
            return false;
        }
        let now = rule.skip == 0;
        rule.skip -= u64::from(!now);
        now
    })?;
    let effect = rules[at].effect;
    rules[at].count -= 1;
    rules.retain(|rule| rule.count > 0);
    Some(effect)
}

/// Faults at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storm {
    /// Of 1000 messages and packets, how many meet with something.
    pub rate: u64,
    /// Also what a correct host never does; if not, only what every guest must survive.
    pub hard: bool,
}

impl Storm {
    fn hits(self, rng: &mut Rng) -> bool {
        rng.below(1000) < self.rate
    }

    fn message(self, rng: &mut Rng) -> Effect {
        match if self.hard { rng.below(4) } else { 0 } {
            0 => Effect::Delay(1 + rng.below(30)),
            1 => Effect::Duplicate,
            2 => Effect::Drop,
            _ => Effect::Byte(rng.below(16) as usize, rng.number() as u8),
        }
    }

    fn packet(self, rng: &mut Rng) -> Effect {
        match if self.hard { rng.below(8) } else { 0 } {
            0 => Effect::Delay(1 + rng.below(50)),
            1 => Effect::Duplicate,
            2 => Effect::Drop,
            3 => Effect::UnknownId,
            4 => Effect::Truncate(rng.below(64) as usize),
            5 => Effect::Extend(rng.below(64) as usize),
            6 => Effect::Byte(rng.below(64) as usize, rng.number() as u8),
            _ => Effect::Flip(rng.below(64) as usize, rng.number() as u8),
        }
    }
}

/// When to take a device from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// As soon as it was offered.
    Offered,
    /// When the guest shares memory, before the answer.
    Gpadl,
    /// When the guest opens, before the answer.
    Open,
    /// Right after the answer to the guest's open.
    Opened,
    /// When the guest closes.
    Close,
}

impl std::str::FromStr for Step {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "offered" => Self::Offered,
            "gpadl" => Self::Gpadl,
            "open" => Self::Open,
            "opened" => Self::Opened,
            "close" => Self::Close,
            _ => return Err("the steps are offered, gpadl, open, opened, close".into()),
        })
    }
}

/// The faults of the bus.
pub(crate) struct Faults {
    pub rng: Rng,
    /// Milliseconds since the start, as of the last [`crate::Host::advance`].
    pub now: u64,
    pub messages: Vec<(u32, Rule)>,
    /// Messages on their way: when they are due.
    pub late: Vec<(u64, Vec<u8>)>,
    /// Nothing is posted and no message is taken before.
    pub hold_until: u64,
    pub storm: Option<Storm>,
    /// Devices that are taken away at a step, and how often.
    pub rescind: Vec<(usize, Step, u64)>,
    /// Numbers of channels that were offered for nothing.
    pub ghosts: BTreeSet<u32>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            rng: Rng::new(1),
            now: 0,
            messages: Vec::new(),
            late: Vec::new(),
            hold_until: 0,
            storm: None,
            rescind: Vec::new(),
            ghosts: BTreeSet::new(),
        }
    }
}

/// Whether a message's body begins with the number of the channel that it is about.
pub(crate) fn names_channel(kind: u32) -> bool {
    matches!(kind, kind::OPEN_RESULT | kind::GPADL_CREATED | kind::MODIFY_CHANNEL_RESPONSE)
}

/// Where a message's body has its status.
pub(crate) fn status_offset(kind: u32) -> Option<usize> {
    Some(match kind {
        kind::OPEN_RESULT | kind::GPADL_CREATED => 8,
        kind::MODIFY_CHANNEL_RESPONSE => 4,
        // One byte, and 0 is the bad one.
        kind::VERSION_RESPONSE => 0,
        kind::TL_CONNECT_RESULT => 32,
        _ => return None,
    })
}

impl Faults {
    /// Passes a message on: what goes out now, and the effect if there was one.
    pub fn message(&mut self, kind: u32, mut message: Vec<u8>) -> (Vec<Vec<u8>>, Option<Effect>) {
        const HEADER: usize = 8;
        let mut rules: Vec<Rule> = Vec::new();
        self.messages.retain_mut(|(of, rule)| {
            if *of == kind {
                rules.push(rule.clone());
            }
            *of != kind
        });
        let mut effect = turn(&mut rules, |_| true);
        self.messages.extend(rules.into_iter().map(|rule| (kind, rule)));
        if let (None, Some(storm)) = (effect, self.storm) {
            effect = storm.hits(&mut self.rng).then(|| storm.message(&mut self.rng));
        }
        match effect {
            Some(Effect::Drop | Effect::Rescind) => return (Vec::new(), effect),
            Some(Effect::Delay(ms)) => {
                self.late.push((self.now.saturating_add(ms), message));
                return (Vec::new(), effect);
            }
            Some(Effect::Duplicate) => return (vec![message.clone(), message], effect),
            Some(Effect::Again(ms)) => {
                self.late.push((self.now.saturating_add(ms), message.clone()))
            }
            Some(Effect::Byte(at, value)) => {
                if let Some(byte) = message.get_mut(HEADER + at) {
                    *byte = value;
                }
            }
            Some(Effect::Status(status)) => {
                let at = HEADER + status_offset(kind).unwrap_or(message.len());
                if kind == kind::VERSION_RESPONSE {
                    message.get_mut(at..).into_iter().for_each(|b| b[0] = status as u8);
                } else if let Some(field) = message.get_mut(at..at + 4) {
                    field.copy_from_slice(&status.to_le_bytes());
                }
            }
            _ => {}
        }
        (vec![message], effect)
    }

    /// Messages whose time has come, oldest first.
    pub fn due(&mut self) -> Vec<Vec<u8>> {
        let now = self.now;
        take_due(&mut self.late, now).into_iter().map(|(_, message)| message).collect()
    }

    /// When something happens by itself.
    pub fn next(&self) -> Option<u64> {
        let hold = (self.hold_until > self.now).then_some(self.hold_until);
        self.late.iter().map(|late| late.0).chain(hold).min()
    }
}

/// Takes what is due out of a list, in the order of time.
fn take_due<T: Clone>(list: &mut Vec<(u64, T)>, now: u64) -> Vec<(u64, T)> {
    let mut due: Vec<_> = list.iter().filter(|late| late.0 <= now).cloned().collect();
    list.retain(|late| late.0 > now);
    due.sort_by_key(|late| late.0);
    due
}

/// How often the host makes a pause in reading a ring, so that the guest's writer meets a full
/// one at every position of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    /// The pause comes after this many packets of a batch.
    pub after: usize,
    /// One more packet each time.
    pub sweep: bool,
    /// How long it is.
    pub ms: u64,
}

/// A byte that changes after a packet was published: where and to what.
pub(crate) type Flip = Option<(usize, u8)>;

/// The faults of one device.
#[derive(Default)]
pub(crate) struct DeviceFaults {
    /// Set by [`crate::Host::advance`].
    pub now: u64,
    pub rng: Option<Rng>,
    pub packets: Vec<Rule>,
    pub storm: Option<Storm>,
    /// Packets on their way, with their channel.
    pub late: Vec<(u64, (usize, Vec<u8>))>,
    /// No interrupts before.
    pub muted_until: u64,
    /// Channels whose interrupts were kept back.
    pub swallowed: BTreeSet<usize>,
    /// This many opens see an interrupt before their answer.
    pub early_interrupts: u64,
    /// The same when they share their rings, before they open.
    pub earlier_interrupts: u64,
    /// Channels that are not read before: `u64::MAX` is until somebody says so.
    pub stopped: BTreeMap<usize, u64>,
    pub pauses: BTreeMap<usize, Pauses>,
    /// What channels begin with that have no pauses of their own.
    pub pauses_everywhere: Option<Pauses>,
    /// The host reads a ring only when the guest has signalled, or when it has seen that there is
    /// more after it took its mask off.
    pub strict: bool,
    /// Channels that were signalled or left half read while they were stopped.
    pub missed: BTreeSet<usize>,
}

const HEADER: usize = 16;
const TRAILER: usize = 8;
const COMPLETION: u8 = 11;

impl DeviceFaults {
    /// Passes a packet (descriptor to trailer) on: what goes into the ring now.
    pub fn packet(
        &mut self,
        channel: usize,
        mut packet: Vec<u8>,
    ) -> (Vec<(Vec<u8>, Flip)>, Option<Effect>) {
        if self.packets.is_empty() && self.storm.is_none() {
            return (vec![(packet, None)], None);
        }
        let completion = packet.first() == Some(&COMPLETION);
        let mut effect = turn(&mut self.packets, |rule| {
            (completion || !rule.completions) && rule.channel.is_none_or(|c| c == channel)
        });
        let rng = self.rng.get_or_insert_with(|| Rng::new(1));
        if let (None, Some(storm)) = (effect, self.storm) {
            // Only completions may overtake each other without a broken rule.
            if (storm.hard || completion) && storm.hits(rng) {
                effect = Some(storm.packet(rng));
            }
        }
        let end = packet.len().saturating_sub(TRAILER);
        let mut flip = None;
        match effect {
            Some(Effect::Drop | Effect::Rescind) => return (Vec::new(), effect),
            Some(Effect::Delay(ms)) => {
                self.late.push((self.now.saturating_add(ms), (channel, packet)));
                return (Vec::new(), effect);
            }
            Some(Effect::Duplicate) => {
                return (vec![(packet.clone(), None), (packet, None)], effect)
            }
            Some(Effect::Again(ms)) => {
                self.late.push((self.now.saturating_add(ms), (channel, packet.clone())));
            }
            Some(Effect::UnknownId) => {
                if let Some(id) = packet.get_mut(8..16) {
                    id.copy_from_slice(&(rng.number() | 1 << 63).to_le_bytes());
                }
            }
            Some(Effect::Truncate(len)) => {
                let len = (len & !7).clamp(HEADER.min(end), end);
                packet.truncate(len);
                finish(&mut packet);
            }
            Some(Effect::Extend(by)) => {
                packet.truncate(end);
                let len = (end + by).next_multiple_of(8).min(0xffff * 8);
                packet.resize_with(len.max(end), || rng.number() as u8);
                finish(&mut packet);
            }
            Some(Effect::Byte(at, value)) if at < end => packet[at] = value,
            Some(Effect::Flip(at, value)) if at < end => flip = Some((at, value)),
            _ => {}
        }
        (vec![(packet, flip)], effect)
    }

    /// Packets whose time has come, with their channel.
    pub fn due(&mut self) -> Vec<(usize, Vec<u8>)> {
        let now = self.now;
        take_due(&mut self.late, now).into_iter().map(|(_, late)| late).collect()
    }

    /// Whether the host may read this channel's ring now.
    pub fn may_read(&mut self, channel: usize) -> bool {
        match self.stopped.get(&channel) {
            Some(&until) if until > self.now => {
                self.missed.insert(channel);
                false
            }
            Some(_) => {
                self.stopped.remove(&channel);
                true
            }
            None => true,
        }
    }

    /// Whether a batch ends after `taken` packets; the pause begins then.
    pub fn pause(&mut self, channel: usize, taken: usize) -> bool {
        if let (Some(everywhere), false) =
            (self.pauses_everywhere, self.pauses.contains_key(&channel))
        {
            self.pauses.insert(channel, everywhere);
        }
        let Some(pauses) = self.pauses.get_mut(&channel) else { return false };
        if taken < pauses.after {
            return false;
        }
        self.stopped.insert(channel, self.now.saturating_add(pauses.ms));
        if pauses.sweep {
            pauses.after = pauses.after % 63 + 1;
        }
        true
    }

    /// Whether a channel that may be read again has to be: what is not signalled is not read by
    /// chance.
    pub fn goes_on(&mut self, channel: usize) -> bool {
        self.missed.remove(&channel) || !self.strict
    }

    /// When something happens by itself.
    pub fn next(&self) -> Option<u64> {
        let unmute = (self.muted_until > self.now && self.muted_until != u64::MAX)
            .then_some(self.muted_until);
        let pauses = self.stopped.values().copied().filter(|&until| until != u64::MAX);
        self.late.iter().map(|late| late.0).chain(unmute).chain(pauses).min()
    }

    /// A channel is closed: what was on its way does not come any more.
    pub fn closed(&mut self, channel: usize) {
        self.late.retain(|(_, (of, _))| *of != channel);
        self.swallowed.remove(&channel);
        self.missed.remove(&channel);
    }
}

/// Makes a packet's descriptor say its length, and gives it room for its trailer.
fn finish(packet: &mut Vec<u8>) {
    let words = (packet.len() / 8) as u16;
    if let Some(descriptor) = packet.get_mut(2..6) {
        let offset = u16::from_le_bytes([descriptor[0], descriptor[1]]).min(words);
        descriptor[..2].copy_from_slice(&offset.to_le_bytes());
        descriptor[2..].copy_from_slice(&words.to_le_bytes());
    }
    packet.resize(packet.len() + TRAILER, 0);
}

/// The name of an effect, for the trace.
pub(crate) fn name(effect: Effect) -> &'static str {
    effect.name()
}
