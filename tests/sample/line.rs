// SPDX-License-Identifier: GPL-2.0

//! What is sent on a channel, and whether it comes back as it was.

use crate::exchange::Exchange;
use kernel::{
    alloc::{
        KVVec,
        KVec, //
    },
    cpu::CpuId,
    io::Io,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    vmap::{
        Pages,
        VMap, //
    },
    vmbus::{
        Handler,
        Incoming,
        Owed,
        Ranges,
        Request,
        Session,
        Shape,
        SubChannel,
        Writer, //
    },
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    }, //
};

/// First word of a packet that the host sends by itself and wants back.
const SENT: u32 = 0xec80_5e4d;
/// First word of a transfer-page packet, and of its completion.
const TRANSFER: u32 = 0xec80_9a6e;
/// The receive buffer in transfer-page packets.
const PAGESET: u16 = 0xec80;

/// Packets under way at once.
const WINDOW: usize = 32;
/// Slots for requests: half of the window, and one for what controls the host. One is missing, so
/// that there is sometimes none.
pub(crate) const REQUESTS: usize = WINDOW / 2;
/// Packets of the host that we hold because there is no room to send them back.
const MAX_HELD: usize = 4096;
/// Packets that are read before others get a turn.
const BUDGET: usize = 64;

/// The ranges of guest memory that the host inverts: offset in the pages, and length.
const RANGES: [(usize, usize); 2] = [(100, 5000), (PAGE_SIZE * 2 + 4000, 96)];
const RANGE_PAGES: usize = 4;

/// What is in flight.
pub(crate) enum What {
    /// Something that the host was asked for.
    Control,
    /// A packet with this number.
    Packet(u64),
}

pub(crate) struct Sent {
    what: What,
    exchange: Arc<Exchange>,
}

impl Sent {
    pub(crate) fn new(what: What, exchange: Arc<Exchange>) -> Self {
        Self { what, exchange }
    }
}

impl Request for Sent {
    fn cancelled(self) {
        self.exchange.count(|figures| figures.cancelled += 1);
    }
}

/// Who is told that there is something to read.
pub(crate) struct Waker(Arc<Line>);

impl Handler for Waker {
    type Request = Sent;

    fn wake(&self) {
        self.0.kick();
    }

    fn sub_channel(&self, offer: SubChannel<'_>) {
        self.0.exchange.open_sub(offer);
    }
}

struct State {
    /// The number of the next packet; they count from 1.
    next: u64,
    /// The number of the next packet that comes back without being a request: they do in order.
    plain: u64,
    /// How many packets are still to be sent.
    left: u64,
    /// The largest size.
    max: usize,
    /// Numbers under way, each at its place modulo the window; 0 where there is none.
    open: [u64; WINDOW],
    /// A payload is made here, and a range copied to here.
    buffer: KVVec<u8>,
    /// Packets of the host that wait for room, oldest first.
    held: KVec<KVVec<u8>>,
    /// What the host waits for, and the sum to answer with, oldest first.
    owed: KVec<(Owed, u32)>,
    scratch: Scratch,
}

/// Pages that the host inverts.
struct Scratch {
    pages: Arc<Pages>,
    map: VMap,
    /// The packet that has them; 0 if there is none.
    lent: u64,
    /// They were inverted an odd number of times.
    inverted: bool,
}

/// A channel of the device.
#[pin_data]
pub(crate) struct Line {
    exchange: Arc<Exchange>,
    index: u16,
    #[pin]
    session: Mutex<Option<Arc<Session<Waker>>>>,
    #[pin]
    state: Mutex<State>,
    #[pin]
    work: Work<Line>,
}

impl_has_work! {
    impl HasWork<Line> for Line { self.work }
}

impl WorkItem for Line {
    type Pointer = Arc<Line>;

    fn run(this: Arc<Line>) {
        this.poll();
    }
}

impl Line {
    pub(crate) fn new(exchange: Arc<Exchange>, index: u16, max: usize) -> Result<Arc<Self>> {
        let buffer = KVVec::from_elem(0u8, crate::exchange::MAX_SIZE, GFP_KERNEL)?;
        let scratch = Scratch::new()?;

        Arc::pin_init(
            pin_init!(Self {
                exchange,
                index,
                session <- new_mutex!(None),
                state <- new_mutex!(State {
                    next: 1,
                    plain: 2,
                    left: 0,
                    max,
                    open: [0; WINDOW],
                    buffer,
                    held: KVec::new(),
                    owed: KVec::new(),
                    scratch,
                }),
                work <- new_work!("hvrust_sample::Line::work"),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn waker(self: &Arc<Self>) -> impl PinInit<Waker, Error> {
        Ok(Waker(self.clone()))
    }

    /// Has the line polled. Any context.
    fn kick(self: &Arc<Self>) {
        let _ = workqueue::system_highpri().enqueue(self.clone());
    }

    /// From now on the line can be polled.
    pub(crate) fn publish(self: &Arc<Self>, session: Arc<Session<Waker>>) {
        *self.session.lock() = Some(session);
        self.kick();
    }

    pub(crate) fn session(&self) -> Option<Arc<Session<Waker>>> {
        self.session.lock().clone()
    }

    pub(crate) fn notify(&self) {
        if let Some(session) = self.session() {
            session.notify();
        }
    }

    pub(crate) fn close(&self) {
        let session = self.session.lock().take();

        if let Some(session) = session {
            session.close();
        }
    }

    /// Has so many packets sent.
    pub(crate) fn start(self: &Arc<Self>, packets: u64) {
        self.state.lock().left = packets;
        self.kick();
    }

    /// Whether all packets have come back, or there is nobody any more from whom they could.
    pub(crate) fn is_settled(&self) -> bool {
        if self.index > 0 && self.session().is_none_or(|session| session.is_rescinded()) {
            return true;
        }
        let state = self.state.lock();

        state.left == 0 && state.open.iter().all(|id| *id == 0)
    }

    /// Reads until the budget is used up or the ring is empty, and sends what there is to send.
    fn poll(self: &Arc<Self>) {
        let Some(session) = self.session() else {
            return;
        };
        let Some(mut reader) = session.reader() else {
            return;
        };
        let writer = session.writer();
        let state = &mut *self.state.lock();
        let mut more = true;

        for _ in 0..BUDGET {
            match reader.next() {
                Ok(Some(packet)) => self.receive(state, writer, packet),
                Ok(None) => {
                    more = false;
                    break;
                }
                Err(_) => return,
            }
        }
        if more {
            // The host goes on, without an interrupt.
            drop(reader);
            self.pump(state, writer);
        } else {
            self.pump(state, writer);
            more = reader.finish().unwrap_or(false);
        }
        if more {
            self.kick();
        }
        session.notify();
        if self.index > 0 {
            // It is the primary whose waiters wait.
            self.exchange.notify();
        }
    }

    /// Sends what there is to send, as far as there is room.
    fn pump(&self, state: &mut State, writer: &Writer<Sent>) {
        if self.exchange.known && self.pay(state, writer) && self.give_back(state, writer) {
            self.send(state, writer);
        }
        // The last packet did not say that it was that.
        writer.flush();
    }

    fn receive(&self, state: &mut State, writer: &Writer<Sent>, packet: Incoming<'_, Sent>) {
        match packet {
            _ if !self.exchange.known => {}
            Incoming::Data { payload, .. } if payload.starts_with(&SENT.to_le_bytes()) => {
                self.hold(state, payload);
            }
            Incoming::Data { payload, .. } => {
                let id = state.plain;

                state.plain += 2;
                self.settle(state, id, payload);
            }
            Incoming::Completion { request, payload } => match request.what {
                What::Packet(id) => self.settle(state, id, payload),
                What::Control => self.exchange.answered(payload),
            },
            Incoming::TransferPages {
                owed,
                pageset,
                ranges,
                payload,
            } => {
                let sum = self.transferred(state, pageset, ranges, payload);

                // Answered when the batch has been read.
                if state
                    .owed
                    .push((owed, sum.unwrap_or(0)), GFP_KERNEL)
                    .is_err()
                    || sum.is_none()
                {
                    self.exchange.count(|figures| figures.wrong += 1);
                }
            }
            // The echo device asks for nothing else; but whoever does waits for an answer.
            Incoming::Owed { owed, payload } => {
                if owed.complete(writer, payload, false).is_err() {
                    self.exchange.count(|figures| figures.wrong += 1);
                }
            }
            Incoming::Other { .. } => self.exchange.count(|figures| figures.wrong += 1),
        }
    }

    /// Sends packets until the window or the ring is full.
    fn send(&self, state: &mut State, writer: &Writer<Sent>) {
        while state.left > 0 {
            let id = state.next;
            let len = size(id, state.max);
            let (Some(slot), Some(payload)) =
                (slot(&mut state.open, id), state.buffer.get_mut(..len))
            else {
                return;
            };
            if *slot != 0 {
                return;
            }

            for (at, byte) in payload.iter_mut().enumerate() {
                *byte = pattern(id, at);
            }
            let sent = if !is_request(id) {
                writer.send(payload)
            } else if id % 16 == 5 && state.scratch.lent == 0 {
                state.scratch.send(writer, payload, self.sent(id), id)
            } else {
                self.request(writer, payload, id)
            };
            match sent {
                Ok(()) => *slot = id,
                Err(EAGAIN) => {
                    self.exchange.count(|figures| figures.full += 1);
                    return;
                }
                // The device is gone, or the session is closed.
                Err(ENODEV) => return,
                Err(_) => {
                    self.exchange.count(|figures| figures.wrong += 1);
                    state.left = 0;
                    return;
                }
            }
            self.exchange.count(|figures| figures.sent += 1);
            state.next += 1;
            state.left -= 1;
        }
    }

    fn sent(&self, id: u64) -> Sent {
        Sent::new(What::Packet(id), self.exchange.clone())
    }

    /// Sends a request in two pieces, and lets the next packet signal the host.
    fn request(&self, writer: &Writer<Sent>, payload: &[u8], id: u64) -> Result {
        let sent = self.sent(id);
        let mut packet = writer.reserve(Shape {
            payload: payload.len(),
            ..Shape::default()
        })?;
        let (first, second) = payload.split_at(payload.len() / 3);

        packet.payload(first)?;
        packet.payload(second)?;
        packet.commit(sent, true);
        Ok(())
    }

    /// One of our packets has come back.
    fn settle(&self, state: &mut State, id: u64, payload: &[u8]) {
        let len = size(id, state.max);
        let expected = |(at, byte): (usize, &u8)| {
            // The host fills up to whole words.
            *byte == if at < len { pattern(id, at) } else { 0 }
        };

        let ours = match slot(&mut state.open, id) {
            Some(slot) if *slot == id && id != 0 => {
                *slot = 0;
                true
            }
            _ => false,
        };
        let inverted = state.scratch.lent == id;
        let right = ours
            && payload.len() == len.next_multiple_of(8)
            && payload.iter().enumerate().all(expected)
            && (!inverted || state.scratch.settle(&mut state.buffer).is_some());
        self.exchange.count(|figures| {
            if !right {
                figures.wrong += 1;
            } else if is_request(id) {
                figures.completed += 1;
                figures.inverted += u64::from(inverted);
            } else {
                figures.echoed += 1;
            }
        });
    }

    /// Keeps a packet that the host wants back.
    fn hold(&self, state: &mut State, payload: &[u8]) {
        let mut copy = KVVec::new();

        if state.held.len() >= MAX_HELD
            || copy.extend_from_slice(payload, GFP_KERNEL).is_err()
            || state.held.push(copy, GFP_KERNEL).is_err()
        {
            self.exchange.count(|figures| figures.wrong += 1);
        }
    }

    /// Sends back what is held; `false` if there was no room for all of it.
    fn give_back(&self, state: &mut State, writer: &Writer<Sent>) -> bool {
        while let Some(payload) = state.held.first() {
            match writer.send(payload) {
                Ok(()) => self.exchange.count(|figures| figures.returned += 1),
                Err(EAGAIN) => {
                    self.exchange.count(|figures| figures.full += 1);
                    return false;
                }
                Err(ENODEV) => return false,
                Err(_) => self.exchange.count(|figures| figures.wrong += 1),
            }
            let _ = state.held.remove(0);
        }
        true
    }

    /// The host has put something into the receive buffer: returns the sum of it, if it is right.
    fn transferred(
        &self,
        state: &mut State,
        pageset: u16,
        ranges: Ranges<'_>,
        payload: &[u8],
    ) -> Option<u32> {
        let word = |n: usize| {
            let bytes = payload.get(4 * n..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let number = word(1)?;
        let mut sum = 0u32;
        let mut right = pageset == PAGESET
            && word(0)? == TRANSFER
            && ranges.len() == word(2)? as usize
            && !ranges.is_empty();

        for (offset, len) in ranges.iter() {
            let bytes = state.buffer.get_mut(..len as usize)?;
            self.exchange.received(offset, bytes)?;
            sum = bytes
                .iter()
                .fold(sum, |sum, byte| sum.wrapping_add(u32::from(*byte)));
            right &= len == word(3)? && bytes.starts_with(&number.to_le_bytes());
            // CAST: The low byte of the sum.
            right &= bytes.iter().enumerate().skip(4).all(|(at, byte)| {
                *byte == (number as usize).wrapping_mul(31).wrapping_add(at) as u8
            });
        }
        right.then_some(sum)
    }

    /// Completes what the host waits for; `false` if there was no room for all of it.
    fn pay(&self, state: &mut State, writer: &Writer<Sent>) -> bool {
        while !state.owed.is_empty() {
            let Ok((owed, sum)) = state.owed.remove(0) else {
                return true;
            };
            let mut answer = [0; 8];
            let (first, second) = answer.split_at_mut(4);
            first.copy_from_slice(&TRANSFER.to_le_bytes());
            second.copy_from_slice(&sum.to_le_bytes());

            // All but the last let that one signal the host.
            match owed.complete(writer, &answer, !state.owed.is_empty()) {
                Ok(()) => self.exchange.count(|figures| figures.pages += 1),
                Err((EAGAIN, owed)) => {
                    self.exchange.count(|figures| figures.full += 1);
                    if state.owed.insert_within_capacity(0, (owed, sum)).is_err() {
                        self.exchange.count(|figures| figures.wrong += 1);
                    }
                    return false;
                }
                // Nobody waits any more.
                Err(_) => return false,
            }
        }
        true
    }
}

impl Scratch {
    fn new() -> Result<Self> {
        let pages = Pages::new(RANGE_PAGES, CpuId::current(), GFP_KERNEL | __GFP_ZERO)?;
        let pages = Arc::new(pages, GFP_KERNEL)?;
        let map = VMap::new(&pages, core::slice::from_ref(&(0..RANGE_PAGES)))?;

        Ok(Self {
            pages,
            map,
            lent: 0,
            inverted: false,
        })
    }

    /// Sends a request with pages.
    fn send(&mut self, writer: &Writer<Sent>, payload: &[u8], sent: Sent, id: u64) -> Result {
        let mut packet = writer.reserve(Shape {
            ranges: RANGES.len(),
            pages: RANGE_PAGES,
            payload: payload.len(),
        })?;

        for (start, len) in RANGES {
            let first = start / PAGE_SIZE;
            let pfns = self.pages.pfns(first, RANGE_PAGES - first);

            // CAST: A few pages.
            packet.range((start % PAGE_SIZE) as u32, len as u32, pfns)?;
        }
        packet.payload(payload)?;
        packet.commit(sent, false);
        self.lent = id;
        Ok(())
    }

    /// The host has inverted the ranges, and nothing else.
    fn settle(&mut self, buffer: &mut [u8]) -> Option<()> {
        let bytes = buffer.get_mut(..RANGE_PAGES * PAGE_SIZE)?;
        let inside = |at: usize| {
            RANGES
                .iter()
                .any(|(start, len)| (*start..start + len).contains(&at))
        };

        self.lent = 0;
        self.inverted = !self.inverted;
        self.map.view().copy_to_slice(bytes);
        let expected =
            |(at, byte): (usize, &u8)| *byte == if inside(at) && self.inverted { 0xff } else { 0 };
        bytes.iter().enumerate().all(expected).then_some(())
    }
}

fn is_request(id: u64) -> bool {
    id % 2 == 1
}

/// The size of a packet's payload, from 1 to `max`, with both limits among the first.
fn size(id: u64, max: usize) -> usize {
    let max = max.max(1);

    match id % 16 {
        1 | 2 => 1,
        3 | 4 => max,
        // Room for ranges, and for an answer.
        5 => (max / 2).max(1),
        // CAST: Any number will do.
        _ => (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % max + 1,
    }
}

/// Byte `at` of a packet's payload. The first word is none that means something to the host.
fn pattern(id: u64, at: usize) -> u8 {
    match at {
        3 => 0,
        // CAST: The low byte of the sum.
        _ => id.wrapping_mul(31).wrapping_add(at as u64) as u8,
    }
}

/// Where a packet is that is under way.
fn slot(open: &mut [u64; WINDOW], id: u64) -> Option<&mut u64> {
    // CAST: Below `WINDOW`.
    open.get_mut((id % WINDOW as u64) as usize)
}
