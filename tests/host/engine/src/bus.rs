// SPDX-License-Identifier: GPL-2.0

//! The VMBus server: connection, offers, GPADLs, opening and closing, rescinding, unloading.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::json;
use zerocopy::FromBytes;

use crate::check::Repeats;
use crate::device::{service, Device, Io, OpenChannel, Slot, Violation};
use crate::fault::{DeviceFaults, Faults, Step};
use crate::memory::{GuestMemory, PageRange};
use crate::message::{self as msg, kind};
use crate::ring::{page_range, RingPair};
use crate::trace::{Level, Trace};

mod channel;
mod command;
mod fault;
mod flicker;
mod forge;
mod gpadl;
mod hvsock;
mod monitor;

use gpadl::{Partial, KEPT_MS};

/// Numbers of channels run from 1 to this.
pub const MAX_RELID: u32 = 2047;

// Connection ids that the guest posts messages to: the second one came with 5.0.
const CONNECTION: u32 = 1;
const CONNECTION_5: u32 = 4;

const STATUS_SUCCESS: u32 = 0;
const STATUS_UNSUCCESSFUL: u32 = 0xc000_0001;
const STATUS_INVALID_PARAMETER: u32 = 0xc000_000d;
const GPADL_REFUSED: u32 = 0x8000_ffff;

/// HvPostMessage: done, unknown connection, wrong argument.
const HV_STATUS_SUCCESS: u16 = 0;
const HV_STATUS_INVALID_PARAMETER: u16 = 5;
const HV_STATUS_INVALID_CONNECTION_ID: u16 = 0x12;

/// A VMBus protocol version; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32);

impl Version {
    /// What the server knows, oldest first.
    pub const ALL: [Self; 7] = [
        Self::new(4, 0),
        Self::new(4, 1),
        Self::new(5, 0),
        Self::new(5, 1),
        Self::new(5, 2),
        Self::new(5, 3),
        Self::new(6, 0),
    ];
    /// The first one that tells the guest which connection to post to.
    const V5_0: Self = Self::new(5, 0);
    /// The first one that answers MODIFY_CHANNEL.
    const V5_3: Self = Self::new(5, 3);

    const fn new(major: u32, minor: u32) -> Self {
        Self(major << 16 | minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|v| v.to_string() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(Self::to_string).collect();
            format!("no VMBus version {text}: there are {}", all.join(" "))
        })
    }
}

/// The SynIC as the server uses it.
pub trait Transport {
    /// Puts a message into the guest's slot; `false` if the slot is not empty yet
    /// ([`Host::message_slot_free`] tells when it is).
    fn try_post(&mut self, message: &[u8]) -> bool;

    /// Sets event flag `flag` of a virtual processor and interrupts it if the flag was clear.
    fn signal_guest(&mut self, vp: u32, flag: u32);

    /// From now on the guest may signal this connection; it leads to [`Host::guest_signal`].
    fn connect(&mut self, connection: u32);

    /// The end of [`Transport::connect`].
    fn disconnect(&mut self, connection: u32);

    /// Answers the guest's next `count` posts with this status instead of taking them.
    fn refuse_posts(&mut self, _status: u16, _count: u32) {}

    /// Has the processor that signals this connection next stand still for so long (ms) before it
    /// goes on behind that.
    fn hold_sender(&mut self, _connection: u32, _ms: u32) {}
}

/// The connection id with which the guest signals a channel: the channel's number and SINT 2.
pub fn signal_connection(relid: u32) -> u32 {
    relid | 2 << 12
}

/// What HvPostMessage returns for a message to this connection, on a host up to `max`.
pub fn post_status(max: Version, connection: u32, len: usize) -> u16 {
    match connection {
        _ if len > msg::MAX_PAYLOAD => HV_STATUS_INVALID_PARAMETER,
        CONNECTION => HV_STATUS_SUCCESS,
        CONNECTION_5 if max >= Version::V5_0 => HV_STATUS_SUCCESS,
        _ => HV_STATUS_INVALID_CONNECTION_ID,
    }
}

/// Whether the guest has a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Offered, or to be offered as soon as the guest asks.
    There,
    /// Rescinded; the guest has not released all channels yet. With `true` it is offered again
    /// as soon as it has.
    Leaving(bool),
    /// Not there.
    Gone,
}

struct Entry {
    name: String,
    device: Box<dyn Device>,
    presence: Presence,
    slots: Vec<Slot>,
    faults: DeviceFaults,
    /// A connection, which does not come again when it is gone.
    passing: bool,
}

/// The host: a VMBus server and the devices behind it.
pub struct Host {
    mem: Arc<dyn GuestMemory>,
    transport: Box<dyn Transport>,
    /// Counters and events.
    pub trace: Trace,
    max_version: Version,
    version: Option<Version>,
    offers_requested: bool,
    devices: Vec<Entry>,
    /// Channel number to device and sub-channel index.
    channels: BTreeMap<u32, (usize, usize)>,
    partial: BTreeMap<u32, Partial>,
    inbox: VecDeque<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
    /// Channels that were signalled and not served yet.
    ready: BTreeSet<u32>,
    /// Those of them that the guest itself has signalled.
    signalled: BTreeSet<u32>,
    faults: Faults,
    flickers: Vec<flicker::Flicker>,
    forgery: forge::Forgery,
    repeats: Repeats,
    /// Rings are read after a signal only.
    strict: bool,
    /// Channels that were opened: they may have sent, and are not read.
    opened: BTreeSet<u32>,
    /// Memory that the guest wants back, if it is written to until then.
    patterns: Option<Vec<gpadl::Pattern>>,
    /// Channels get monitor ids.
    monitor: bool,
    /// Where the guest sets bits instead of calling.
    monitor_page: Option<u64>,
    /// Commands of the control line, and when they are due: for a guest that sleeps then.
    later: Vec<(u64, String)>,
    /// What the counters were when the control line last asked for that.
    mark: BTreeMap<String, u64>,
}

impl Host {
    /// A server without devices that speaks versions up to `max_version`.
    pub fn new(
        mem: Arc<dyn GuestMemory>,
        transport: Box<dyn Transport>,
        trace: Trace,
        max_version: Version,
    ) -> Self {
        Self {
            mem,
            transport,
            trace,
            max_version,
            version: None,
            offers_requested: false,
            devices: Vec::new(),
            channels: BTreeMap::new(),
            partial: BTreeMap::new(),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            ready: BTreeSet::new(),
            signalled: BTreeSet::new(),
            faults: Faults::default(),
            flickers: Vec::new(),
            forgery: forge::Forgery::default(),
            repeats: Repeats::default(),
            strict: false,
            opened: BTreeSet::new(),
            patterns: None,
            monitor: false,
            monitor_page: None,
            later: Vec::new(),
            mark: BTreeMap::new(),
        }
    }

    /// Adds a device under a name of the control line; returns its index for
    /// [`Host::backend`]. A guest that has asked for offers gets this one at once.
    pub fn add(&mut self, name: &str, device: Box<dyn Device>) -> usize {
        let (name, presence) = (name.to_owned(), Presence::There);
        let faults = DeviceFaults { strict: self.strict, ..DeviceFaults::default() };
        let slots = vec![Slot::default()];
        self.devices.push(Entry { name, device, presence, slots, faults, passing: false });
        let index = self.devices.len() - 1;
        if self.offers_requested {
            self.offer((index, 0));
            self.drain();
        }
        index
    }

    /// The guest posted a message (HvPostMessage).
    pub fn guest_message(&mut self, message: &[u8]) {
        self.inbox.push_back(message.to_vec());
        self.drain();
    }

    /// The guest has emptied its message slot.
    pub fn message_slot_free(&mut self) {
        self.drain();
    }

    /// Whether messages wait for the guest to empty its slot.
    pub fn messages_waiting(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The guest signalled a connection (HvSignalEvent).
    pub fn guest_signal(&mut self, connection: u32) {
        let relid = connection & 0xfff;
        self.trace.count("signals", 1);
        if self.channels.contains_key(&relid) {
            self.ready.insert(relid);
            self.signalled.insert(relid);
        }
    }

    /// Serves the channels that were signalled, one batch each. Returns whether there is more.
    pub fn serve(&mut self) -> bool {
        for relid in std::mem::take(&mut self.opened) {
            let Some(&(index, channel)) = self.channels.get(&relid) else { continue };
            self.with(index, |device, io| {
                device.idle(io, channel);
                io.signal(channel);
            });
        }
        for relid in std::mem::take(&mut self.ready) {
            let signalled = self.signalled.remove(&relid);
            let Some(&(index, channel)) = self.channels.get(&relid) else { continue };
            let serve = |device: &mut dyn Device, io: &mut Io<'_>| {
                if signalled {
                    io.signalled(channel);
                }
                service(device, io, channel)
            };
            if self.with(index, serve) {
                self.ready.insert(relid);
            }
        }
        self.drain();
        !self.ready.is_empty()
    }

    /// A device's backend has something.
    pub fn backend(&mut self, index: usize) {
        self.with(index, |device, io| device.backend(io));
        self.settle(index);
    }

    /// Time passes: `now` in milliseconds since the start, about every second.
    pub fn tick(&mut self, now: u64) {
        for index in 0..self.devices.len() {
            self.with(index, |device, io| device.tick(io, now));
            self.settle(index);
        }
    }

    /// Runs `f` with a device and its channels.
    fn with<R>(&mut self, index: usize, f: impl FnOnce(&mut dyn Device, &mut Io<'_>) -> R) -> R {
        let Entry { name, device, slots, faults, .. } = &mut self.devices[index];
        let (mut sub_channels, mut leave) = (None, false);
        let mut io = Io {
            name,
            mem: &*self.mem,
            transport: &mut *self.transport,
            slots,
            sub_channels: &mut sub_channels,
            leave: &mut leave,
            faults,
            trace: &mut self.trace,
        };
        let result = f(&mut **device, &mut io);
        if let Some(count) = sub_channels {
            self.offer_sub_channels(index, count);
        }
        if leave {
            self.take_away(index);
        }
        result
    }

    /// Interrupts the guest for what a device has sent outside of [`service`], and sends what it
    /// made the bus say.
    fn settle(&mut self, index: usize) {
        self.with(index, |_, io| (0..io.slots.len()).for_each(|channel| io.signal(channel)));
        self.drain();
    }

    fn violation(&mut self, why: impl Into<String>) {
        let counter = if self.forgery.begun { "breaches_after_forgery" } else { "violations" };
        self.trace.count(counter, 1);
        self.trace.event(Level::Messages, "violation", json!({ "why": why.into() }));
    }

    fn post<T: zerocopy::IntoBytes + zerocopy::Immutable>(&mut self, kind: u32, body: &T) {
        self.note_message("to-guest", kind, body.as_bytes());
        self.send_message(kind, msg::build(kind, body));
    }

    fn note_message(&mut self, what: &str, kind: u32, body: &[u8]) {
        if self.trace.wants(Level::Messages) {
            let bytes = body.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let fields = json!({ "message": msg::name(kind), "body": bytes });
            self.trace.event(Level::Messages, what, fields);
        }
    }

    /// Sends what is to be sent; takes the guest's next message only when all of that is out, so
    /// that a guest that does not read blocks itself, as on Hyper-V.
    fn drain(&mut self) {
        loop {
            if self.faults.hold_until > self.faults.now {
                return;
            }
            while let Some(message) = self.outbox.front() {
                if !self.transport.try_post(message) {
                    return;
                }
                self.outbox.pop_front();
            }
            let Some(message) = self.inbox.pop_front() else { return };
            if self.repeats.seen(&message) {
                self.violation("the guest posts the same message in a loop");
            }
            if let Err(why) = self.handle(&message) {
                self.violation(why.to_string());
            }
        }
    }

    fn handle(&mut self, message: &[u8]) -> Result<(), Violation> {
        let (number, body) = msg::parse(message).ok_or_else(|| Violation::new("cut short"))?;
        let name = msg::name(number);
        self.note_message("from-guest", number, body);
        if self.version.is_none() && !matches!(number, kind::INITIATE_CONTACT | kind::UNLOAD) {
            // Linux lets go of its channels after it has unloaded.
            if number == kind::RELID_RELEASED {
                self.trace.count("released_after_unload", 1);
                return Ok(());
            }
            return Err(Violation::new(format!("{name} without a connection")));
        }
        if self.about_a_ghost(number, body) || self.refuse_invented(number, body) {
            return Ok(());
        }
        self.rescind_before(number, body);
        match number {
            kind::INITIATE_CONTACT => self.initiate_contact(get(body)?),
            kind::REQUEST_OFFERS => return self.request_offers(),
            kind::OPEN_CHANNEL => return self.open(get(body)?),
            kind::CLOSE_CHANNEL => return self.close(get::<msg::Relid>(body)?.relid),
            kind::GPADL_HEADER => return self.gpadl_header(body),
            kind::GPADL_BODY => return self.gpadl_body(body),
            kind::GPADL_TEARDOWN => return self.gpadl_teardown(get(body)?),
            kind::RELID_RELEASED => return self.released(get::<msg::Relid>(body)?.relid),
            kind::TL_CONNECT_REQUEST => self.tl_connect(get(body)?),
            kind::MODIFY_CHANNEL => return self.modify(get(body)?),
            kind::UNLOAD => {
                let slots = self.devices.iter().flat_map(|entry| &entry.slots);
                let shared = slots.filter(|s| !s.leaving).map(|s| s.gpadls.len()).sum::<usize>();
                // A guest that crashes or boots another kernel does not clear up, and need not.
                self.trace.count("gpadls_at_unload", shared as u64);
                self.reset();
                self.trace.count("unloads", 1);
                self.post(kind::UNLOAD_COMPLETE, &[0u8; 0]);
            }
            _ => return Err(Violation::new(format!("message {number} ({name})"))),
        }
        Ok(())
    }

    fn initiate_contact(&mut self, contact: msg::InitiateContact) {
        // A guest that begins anew, as after a crash, has forgotten everything before.
        self.reset();
        self.trace.count("contacts", 1);
        let version = Version(contact.version);
        let supported = version <= self.max_version && Version::ALL.contains(&version);
        self.version = supported.then_some(version);
        if supported {
            self.begin_monitor(contact.monitor_pages);
        }
        let response = msg::VersionResponse {
            supported: supported.into(),
            state: 0,
            padding: 0,
            connection: if version >= Version::V5_0 { CONNECTION } else { 0 },
            features: 0,
        };
        self.post(kind::VERSION_RESPONSE, &response);
    }

    /// Ends the connection: no channel is open, nothing of the guest's memory is known.
    fn reset(&mut self) {
        for index in 0..self.devices.len() {
            for channel in 0..self.devices[index].slots.len() {
                self.forget((index, channel));
            }
            let entry = &mut self.devices[index];
            entry.presence = match entry.presence {
                Presence::Leaving(false) => Presence::Gone,
                Presence::Leaving(true) => Presence::There,
                _ if entry.passing => Presence::Gone,
                same => same,
            };
        }
        self.partial.clear();
        self.outbox.clear();
        self.monitor_page = None;
        self.patterns.iter_mut().for_each(Vec::clear);
        self.faults.late.clear();
        self.faults.ghosts.clear();
        self.forgery = forge::Forgery::default();
        self.version = None;
        self.offers_requested = false;
    }
}

/// Copies a message's body out, whatever follows it.
fn get<T: FromBytes>(body: &[u8]) -> Result<T, Violation> {
    T::read_from_prefix(body).map(|(value, _)| value).map_err(|_| Violation::new("cut short"))
}

#[cfg(test)]
mod tests;
