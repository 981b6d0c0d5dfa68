// SPDX-License-Identifier: GPL-2.0

//! What a device is to the bus, and what the bus is to a device.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use crate::bus::Transport;
use crate::check;
use crate::fault::{self, DeviceFaults};
use crate::guid::Guid;
use crate::memory::{BadAddress, GuestMemory, PageRange};
use crate::ring::{self, Packet, PacketKind, RingPair};
use crate::trace::{Level, Trace};

/// The guest broke a rule of the protocol. The channel it happened on does no more work, as on
/// Hyper-V: the guest sees silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(String);

impl Violation {
    /// A violation; `why` says what the guest did.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

impl From<BadAddress> for Violation {
    fn from(bad: BadAddress) -> Self {
        Self(bad.to_string())
    }
}

/// What the offer message of a device's primary channel says.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The kind of device: drivers match it.
    pub interface: Guid,
    /// This device: the name in the guest's sysfs.
    pub instance: Guid,
    /// `chn_flags` of the offer.
    pub flags: u16,
    /// The user-defined part, of which most devices use nothing.
    pub user: Vec<u8>,
    /// Megabytes of MMIO space that the device needs.
    pub mmio_megabytes: u16,
    /// Id of the device's monitor bit, if its signals go through the monitor page.
    pub monitor_id: Option<u8>,
}

impl Offer {
    /// An offer with no flags, no user data, no MMIO and no monitor.
    pub fn new(interface: Guid, instance: Guid) -> Self {
        Self {
            interface,
            instance,
            flags: 0,
            user: Vec::new(),
            mmio_megabytes: 0,
            monitor_id: None,
        }
    }
}

/// A channel that the guest has opened.
pub struct OpenChannel {
    /// The channel's number: its event flag.
    pub relid: u32,
    /// The virtual processor that gets the interrupts; `u32::MAX` for none.
    pub vp: u32,
    pub(crate) rings: RingPair,
    /// A rule was broken; nothing is read or written any more.
    pub(crate) dead: bool,
    /// What is under way, and what the guest owes.
    pub(crate) check: check::Channel,
}

/// One channel of a device.
#[derive(Default)]
pub(crate) struct Slot {
    /// The channel's number while it is offered.
    pub relid: Option<u32>,
    /// The guest was told that the channel is gone, and has not released it yet.
    pub leaving: bool,
    /// To be offered again as soon as it is released.
    pub again: bool,
    pub open: Option<OpenChannel>,
    pub gpadls: BTreeMap<u32, PageRange>,
    /// Buffers of requests that were not answered: the host's until its answer, until the guest
    /// has the channel's rings back, or until a rescind.
    pub kept: Vec<PageRange>,
}

/// A device's way to its channels, for the length of one callback.
///
/// `channel` is the sub-channel index: 0 is the primary channel. Everything that sends on a
/// channel that is not open, or on which a rule was broken, does nothing.
pub struct Io<'a> {
    pub(crate) name: &'a str,
    pub(crate) mem: &'a dyn GuestMemory,
    pub(crate) transport: &'a mut dyn Transport,
    pub(crate) slots: &'a mut [Slot],
    pub(crate) sub_channels: &'a mut Option<usize>,
    pub(crate) leave: &'a mut bool,
    pub(crate) faults: &'a mut DeviceFaults,
    /// Counters and events.
    pub trace: &'a mut Trace,
}

impl Io<'_> {
    /// The guest's memory.
    pub fn mem(&self) -> &dyn GuestMemory {
        self.mem
    }

    /// Whether the guest has this channel open and has kept the rules on it.
    pub fn is_open(&self, channel: usize) -> bool {
        self.slots.get(channel).and_then(|s| s.open.as_ref()).is_some_and(|open| !open.dead)
    }

    /// The memory behind a GPADL of this channel.
    pub fn gpadl(&self, channel: usize, id: u32) -> Option<&PageRange> {
        self.slots.get(channel)?.gpadls.get(&id)
    }

    /// Writes over a request's buffers from now on, as a host may until it has answered.
    pub fn keep(&mut self, channel: usize, ranges: &[PageRange]) {
        if let Some(slot) = self.slots.get_mut(channel) {
            slot.kept.extend_from_slice(ranges);
        }
    }

    /// Ends that: the requests are about to be answered.
    pub fn keep_no_more(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.kept.clear());
    }

    /// Sends an in-band packet.
    pub fn send(&mut self, channel: usize, id: u64, completion_requested: bool, data: &[u8]) {
        self.put(channel, ring::in_band(id, completion_requested, data), completion_requested, id);
    }

    /// Offers sub-channels 1 to `count`, as far as they are not offered yet. The bus withdraws
    /// them when the guest closes the primary channel.
    pub fn offer_sub_channels(&mut self, count: usize) {
        *self.sub_channels = Some(count);
    }

    /// Answers the packet with this transaction id.
    pub fn complete(&mut self, channel: usize, id: u64, data: &[u8]) {
        if let Some(open) = self.slots.get_mut(channel).and_then(|s| s.open.as_mut()) {
            open.check.completed(id);
        }
        self.put(channel, ring::completion(id, data), false, id);
    }

    /// Answers the packet with this transaction id, or answers it once more, in so many
    /// milliseconds, if the channel is still open then.
    pub fn complete_later(&mut self, channel: usize, id: u64, data: &[u8], ms: u64) {
        if let Some(open) = self.slots.get_mut(channel).and_then(|s| s.open.as_mut()) {
            open.check.completed(id);
        }
        let due = self.faults.now.saturating_add(ms);
        self.faults.late.push((due, (channel, ring::completion(id, data))));
    }

    /// Sends a transfer-page packet whose descriptor is `descriptor`, right or wrong.
    pub(crate) fn send_descriptor(
        &mut self,
        channel: usize,
        id: u64,
        descriptor: &[u8],
        data: &[u8],
    ) {
        self.put(channel, ring::described_pages(id, descriptor, data), true, id);
    }

    /// Sends a packet about `(length, offset)` ranges of the shared buffer `set`.
    pub fn send_transfer_pages(
        &mut self,
        channel: usize,
        id: u64,
        set: u16,
        ranges: &[(u32, u32)],
        data: &[u8],
    ) {
        self.put(channel, ring::transfer_pages(id, set, ranges, data), true, id);
    }

    /// Sends a packet, or what the faults that were asked for make of it.
    fn put(&mut self, channel: usize, packet: Vec<u8>, awaits_answer: bool, id: u64) {
        let Some(slot) = self.slots.get_mut(channel) else { return };
        let Some(open) = slot.open.as_mut().filter(|open| !open.dead) else { return };
        if awaits_answer {
            open.check.sent(id);
        }
        let (packets, effect) = self.faults.packet(channel, packet);
        if let Some(effect) = effect {
            // The guest's answers to what it never should have got are not judged.
            open.check.disturbed |= !matches!(effect, fault::Effect::Delay(_));
            *self.leave |= effect == fault::Effect::Rescind;
            self.note_fault(channel, fault::name(effect), id);
        }
        for (packet, flip) in packets {
            self.with(channel, |rings, mem| rings.put(mem, packet, flip));
        }
    }

    fn note_fault(&mut self, channel: usize, what: &str, id: u64) {
        self.trace.count("faults", 1);
        self.count(&format!("fault.{what}"), 1);
        let device = self.name;
        let fields = json!({ "device": device, "channel": channel, "fault": what, "id": id });
        self.trace.event(Level::Messages, "fault", fields);
    }

    /// Sends the packets whose delay is over, and interrupts that were kept back.
    pub(crate) fn advance(&mut self) {
        for (channel, packet) in self.faults.due() {
            self.with(channel, |rings, mem| rings.put(mem, packet, None));
        }
        if self.faults.muted_until <= self.faults.now {
            for channel in std::mem::take(&mut self.faults.swallowed) {
                self.interrupt(channel);
            }
        }
    }

    /// How many packets wait for room in the host-to-guest ring: a device that produces packets
    /// by itself stops when there are some, and goes on in [`Device::idle`].
    pub fn backlog(&self, channel: usize) -> usize {
        let open = self.slots.get(channel).and_then(|s| s.open.as_ref());
        open.map_or(0, |open| open.rings.backlog())
    }

    /// Whether the guest has read everything that was sent.
    pub fn drained(&mut self, channel: usize) -> bool {
        self.with(channel, |rings, mem| rings.drained(mem)).unwrap_or(true)
    }

    /// Takes the device away from the guest, as soon as the callback has returned.
    pub fn leave(&mut self) {
        *self.leave = true;
    }

    /// Counts `what` under the device's name.
    pub fn count(&mut self, what: &str, by: u64) {
        self.trace.count(&format!("{}.{what}", self.name), by);
    }

    /// Notes a broken rule: the channel is dead from now on.
    pub(crate) fn violation(&mut self, channel: usize, why: &Violation) {
        self.trace.count("violations", 1);
        let (device, why) = (self.name, why.to_string());
        self.trace.event(
            Level::Messages,
            "violation",
            json!({ "device": device, "channel": channel, "why": why }),
        );
        if let Some(open) = self.slots.get_mut(channel).and_then(|s| s.open.as_mut()) {
            open.dead = true;
        }
    }

    /// Runs `f` on the rings of a live channel; a broken rule ends the channel.
    pub(crate) fn with<R>(
        &mut self,
        channel: usize,
        f: impl FnOnce(&mut RingPair, &dyn GuestMemory) -> Result<R, Violation>,
    ) -> Option<R> {
        let open = self.slots.get_mut(channel)?.open.as_mut().filter(|open| !open.dead)?;
        match f(&mut open.rings, self.mem) {
            Ok(result) => Some(result),
            Err(why) => {
                self.violation(channel, &why);
                None
            }
        }
    }

    /// Interrupts the guest if the channel's rings ask for it.
    pub(crate) fn signal(&mut self, channel: usize) {
        if self.with(channel, |rings, mem| rings.take_signal(mem)) != Some(true) {
            return;
        }
        if self.faults.muted_until > self.faults.now {
            self.faults.swallowed.insert(channel);
            return self.note_fault(channel, "no-interrupt", 0);
        }
        self.interrupt(channel);
    }

    /// Interrupts the guest for an open channel.
    pub(crate) fn interrupt(&mut self, channel: usize) {
        let Some(open) = self.slots.get(channel).and_then(|s| s.open.as_ref()) else { return };
        if open.vp != u32::MAX {
            self.transport.signal_guest(open.vp, open.relid);
            self.count("interrupts", 1);
        }
    }

    /// A rule of the protocol is broken that the channel need not die of.
    fn breach(&mut self, channel: usize, why: &str) {
        let Some(open) = self.slots.get(channel).and_then(|s| s.open.as_ref()) else { return };
        if open.check.disturbed {
            return self.count("breaches_after_faults", 1);
        }
        self.trace.count("violations", 1);
        let fields = json!({ "device": self.name, "channel": channel, "why": why });
        self.trace.event(Level::Messages, "violation", fields);
    }

    /// Looks at a packet of the guest by the rules that hold for every device; says what is wrong.
    fn examine(&mut self, channel: usize, packet: &Packet) -> Option<String> {
        if check::ragged(&packet.ranges) {
            self.count("ragged_ranges", 1);
        }
        let open = self.slots.get_mut(channel).and_then(|s| s.open.as_mut())?;
        let id = packet.transaction_id;
        let broken = match packet.kind {
            PacketKind::Completion => open.check.answered(id),
            _ if packet.completion_requested => open.check.requested(id),
            _ => Ok(()),
        };
        broken.err().map(|why| format!("{why}: transaction {id:#x}"))
    }

    /// The guest has signalled: was there a reason?
    pub(crate) fn signalled(&mut self, channel: usize) {
        let found =
            self.with(channel, |rings, mem| Ok(rings.has_packets(mem)? || rings.backlog() > 0));
        let Some(found) = found else { return };
        let Some(open) = self.slots.get_mut(channel).and_then(|s| s.open.as_mut()) else { return };
        let lost = open.check.signalled(found);
        if !found {
            self.count("empty_signals", 1);
        }
        if lost {
            self.breach(channel, "signals in a loop, and nothing in the ring");
        }
    }
}

/// A device behind the bus. Called from one thread; must not block.
pub trait Device: Send {
    /// The offer of the primary channel.
    fn offer(&self) -> Offer;

    /// The guest opened a channel; its rings are ready and the answer is about to go out.
    fn opened(&mut self, _io: &mut Io<'_>, _channel: usize) {}

    /// The guest sent a packet. An error ends the channel, and is how to refuse what no correct
    /// guest sends; what a protocol answers with a status is answered.
    fn packet(&mut self, io: &mut Io<'_>, channel: usize, packet: Packet) -> Result<(), Violation>;

    /// Whether the host takes packets of this channel now. A device that answers no and later yes
    /// has itself served then: the guest may not signal again.
    fn is_reading(&self, _channel: usize) -> bool {
        true
    }

    /// The guest's packets are all read, and what waited for room is in the ring as far as it
    /// fits: the moment to send more. Comes after each signal of the guest.
    fn idle(&mut self, _io: &mut Io<'_>, _channel: usize) {}

    /// The backend has something (a frame from the network).
    fn backend(&mut self, _io: &mut Io<'_>) {}

    /// The guest closed the channel, or it was taken from it. Closing the primary channel is the
    /// device's reset: nothing of the guest's may be used after it.
    fn closed(&mut self, _io: &mut Io<'_>, _channel: usize) {}

    /// Time has passed; comes about every second, `now` in milliseconds since the start.
    fn tick(&mut self, _io: &mut Io<'_>, _now: u64) {}

    /// A command of the control line, split into words, without the device's name. Returns the
    /// answer's text, or why not.
    fn command(&mut self, _io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        Err(format!("unknown command: {}", words.join(" ")))
    }
}

/// Packets that one call of [`service`] takes, so that one busy channel does not keep the others
/// waiting.
const BATCH: usize = 64;

/// Hands the packets of a signalled channel to its device, then lets the device send, then
/// interrupts the guest if needed. Returns whether there is more to do.
pub(crate) fn service(device: &mut dyn Device, io: &mut Io<'_>, channel: usize) -> bool {
    let may_read = io.faults.may_read(channel) && device.is_reading(channel);
    if may_read {
        // While we look by ourselves, the guest need not signal: each signal is an exit.
        io.with(channel, |rings, mem| rings.mask(mem, true));
        take_batch(device, io, channel);
    }
    io.with(channel, |rings, mem| rings.flush(mem));
    device.idle(io, channel);
    if may_read {
        io.with(channel, |rings, mem| rings.mask(mem, false));
    }
    io.signal(channel);
    // A pause may have begun.
    io.faults.may_read(channel)
        && device.is_reading(channel)
        && io.with(channel, |rings, mem| rings.has_packets(mem)).unwrap_or(false)
}

fn take_batch(device: &mut dyn Device, io: &mut Io<'_>, channel: usize) {
    for taken in 0..BATCH {
        if !device.is_reading(channel) {
            return;
        }
        if io.faults.pause(channel, taken) {
            return io.note_fault(channel, "pause", taken as u64);
        }
        let Some(Some(packet)) = io.with(channel, |rings, mem| rings.receive(mem)) else { return };
        if io.trace.wants(Level::Packets) {
            let (name, kind) = (io.name, format!("{:?}", packet.kind));
            io.trace.event(
                Level::Packets,
                "packet",
                json!({
                    "device": name, "channel": channel, "kind": kind,
                    "id": packet.transaction_id, "bytes": packet.data.len(),
                    "completion": packet.completion_requested, "ranges": packet.ranges.len(),
                }),
            );
        }
        io.count("packets", 1);
        let broken = io.examine(channel, &packet);
        match (device.packet(io, channel, packet), broken) {
            (Err(why), _) => io.violation(channel, &why),
            (Ok(()), Some(why)) => io.breach(channel, &why),
            (Ok(()), None) => {}
        }
    }
}
