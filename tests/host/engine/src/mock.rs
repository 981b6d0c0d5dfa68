// SPDX-License-Identifier: GPL-2.0

//! Both ends of a channel in one process, for the unit tests of the devices.

use std::sync::{Arc, Mutex};

use crate::bus::Transport;
use crate::device::{service, Device, Io, OpenChannel, Slot};
use crate::memory::{BadAddress, GuestMemory, PageRange, PAGE};
use crate::ring::{Packet, PacketKind, RingPair};
use crate::trace::Trace;

/// Guest RAM in a vector.
pub struct Memory(Mutex<Vec<u8>>);

impl Memory {
    /// Zeroed RAM of this many pages.
    pub fn new(pages: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(vec![0; pages * PAGE])))
    }
}

impl GuestMemory for Memory {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), BadAddress> {
        let ram = self.0.lock().unwrap();
        let gpa = gpa as usize;
        buf.copy_from_slice(ram.get(gpa..gpa + buf.len()).ok_or(BadAddress(gpa as u64))?);
        Ok(())
    }

    fn write(&self, gpa: u64, buf: &[u8]) -> Result<(), BadAddress> {
        let mut ram = self.0.lock().unwrap();
        let gpa = gpa as usize;
        ram.get_mut(gpa..gpa + buf.len()).ok_or(BadAddress(gpa as u64))?.copy_from_slice(buf);
        Ok(())
    }

    fn load(&self, gpa: u64) -> Result<u32, BadAddress> {
        let mut word = [0; 4];
        self.read(gpa, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn store(&self, gpa: u64, value: u32) -> Result<(), BadAddress> {
        self.write(gpa, &value.to_le_bytes())
    }

    fn has_page(&self, pfn: u64) -> bool {
        pfn < (self.0.lock().unwrap().len() / PAGE) as u64
    }
}

/// Remembers what the host sent.
#[derive(Default)]
pub struct Wire {
    /// Messages to the guest, oldest first.
    pub messages: Vec<Vec<u8>>,
    /// The guest does not empty its message slot.
    pub slot_full: bool,
    /// Event flags set: (virtual processor, flag).
    pub signals: Vec<(u32, u32)>,
    /// Connection ids that signals are taken for.
    pub connections: Vec<u32>,
}

impl Transport for Wire {
    fn try_post(&mut self, message: &[u8]) -> bool {
        if !self.slot_full {
            self.messages.push(message.to_vec());
        }
        !self.slot_full
    }

    fn signal_guest(&mut self, vp: u32, flag: u32) {
        self.signals.push((vp, flag));
    }

    fn connect(&mut self, connection: u32) {
        self.connections.push(connection);
    }

    fn disconnect(&mut self, connection: u32) {
        self.connections.retain(|&c| c != connection);
    }
}

/// Pages of each ring half.
const HALF: u32 = 16;

/// A device with an open primary channel, and the guest's end of it.
pub struct Bench {
    /// Guest RAM.
    pub mem: Arc<Memory>,
    /// What went out.
    pub wire: Wire,
    /// Counters.
    pub trace: Trace,
    device: Box<dyn Device>,
    slots: Vec<Slot>,
    /// What the device asked for last ([`Io::offer_sub_channels`]).
    pub sub_channels: Option<usize>,
    /// The guest's ends of the channels, by sub-channel index.
    guest: Vec<RingPair>,
    next_page: u64,
    next_gpadl: u32,
}

impl Bench {
    /// Opens the device's primary channel.
    pub fn new(device: Box<dyn Device>) -> Self {
        let mut bench = Self {
            mem: Memory::new(16384),
            wire: Wire::default(),
            trace: Trace::quiet(),
            device,
            slots: Vec::new(),
            sub_channels: None,
            guest: Vec::new(),
            next_page: 0,
            next_gpadl: 0xe1e10,
        };
        bench.open_next();
        bench
    }

    /// Opens the device's next channel: after the primary one sub-channel 1, 2, and so on.
    pub fn open_next(&mut self) {
        let range = self.alloc(2 * HALF as usize * PAGE);
        let rings = RingPair::new(&range, HALF, &*self.mem).unwrap();
        self.guest.push(RingPair::guest_end(&range, HALF, &*self.mem));
        let channel = self.slots.len();
        let relid = channel as u32 + 1;
        let open = OpenChannel { relid, vp: 0, rings, dead: false };
        self.slots.push(Slot { relid: Some(relid), open: Some(open), ..Slot::default() });
        self.with(|device, io| device.opened(io, channel));
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut dyn Device, &mut Io<'_>) -> R) -> R {
        let mut io = Io {
            name: "dev",
            mem: &*self.mem,
            transport: &mut self.wire,
            slots: &mut self.slots,
            sub_channels: &mut self.sub_channels,
            trace: &mut self.trace,
        };
        f(&mut *self.device, &mut io)
    }

    /// Contiguous guest RAM.
    pub fn alloc(&mut self, len: usize) -> PageRange {
        let first = self.next_page;
        self.next_page += len.div_ceil(PAGE) as u64;
        PageRange { offset: 0, len: len as u32, pfns: (first..self.next_page).collect() }
    }

    /// Shares memory with the host; returns the GPADL's id.
    pub fn gpadl(&mut self, range: PageRange) -> u32 {
        self.next_gpadl += 1;
        self.slots[0].gpadls.insert(self.next_gpadl, range);
        self.next_gpadl
    }

    /// The guest sends a packet, and the host works until nothing is left.
    pub fn guest_send(
        &mut self,
        kind: PacketKind,
        id: u64,
        completion_requested: bool,
        ranges: &[PageRange],
        data: &[u8],
    ) {
        self.guest_send_on(0, kind, id, completion_requested, ranges, data);
    }

    /// The same on another channel than the primary one.
    pub fn guest_send_on(
        &mut self,
        channel: usize,
        kind: PacketKind,
        id: u64,
        completion_requested: bool,
        ranges: &[PageRange],
        data: &[u8],
    ) {
        let guest = &mut self.guest[channel];
        guest.guest_send(&*self.mem, kind, id, completion_requested, ranges, data);
        while self.with(|device, io| service(device, io, channel)) {}
    }

    /// The guest signals the primary channel.
    pub fn kick(&mut self) {
        while self.with(|device, io| service(device, io, 0)) {}
    }

    /// The next packet from the host.
    pub fn guest_recv(&mut self) -> Option<Packet> {
        self.guest_recv_on(0)
    }

    /// The same on another channel than the primary one.
    pub fn guest_recv_on(&mut self, channel: usize) -> Option<Packet> {
        self.guest[channel].receive(&*self.mem).unwrap()
    }

    /// The backend became readable.
    pub fn backend(&mut self) {
        self.with(|device, io| device.backend(io));
    }

    /// Time passes.
    pub fn tick(&mut self, now: u64) {
        self.with(|device, io| device.tick(io, now));
    }

    /// A command of the control line.
    pub fn command(&mut self, words: &[&str]) -> Result<String, String> {
        self.with(|device, io| device.command(io, words))
    }

    /// The guest closes the channel and opens it again.
    pub fn reopen(&mut self) {
        self.with(|device, io| device.closed(io, 0));
        self.with(|device, io| device.opened(io, 0));
    }

    /// The guest closes a channel.
    pub fn close(&mut self, channel: usize) {
        self.slots[channel].open = None;
        self.with(|device, io| device.closed(io, channel));
    }

    /// Whether the guest broke a rule.
    pub fn dead(&self) -> bool {
        self.slots[0].open.as_ref().unwrap().dead
    }
}
