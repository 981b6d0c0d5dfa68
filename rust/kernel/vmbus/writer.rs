// SPDX-License-Identifier: GPL-2.0

//! Writing packets into the ring to the host.
//!
//! A [`Packet`] is built where it will be read: taking room for it takes a lock of the channel, and
//! publishing it gives the lock back. What is sent in a burst can owe the host a signal, which
//! whoever comes next without more to send pays.
//!
//! C source: [`drivers/hv/ring_buffer.c`](srctree/drivers/hv/ring_buffer.c)

use super::{
    ends::Producer,
    inflight::{
        Free,
        Request,
        Table, //
    },
    raw::Raw,
    ring::{
        Control,
        Descriptor,
        Ring,
        Size,
        DESCRIPTOR,
        MAX_PACKET,
        TRAILER, //
    }, //
};
use crate::{
    bindings,
    io::Io,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Relaxed,
            Release, //
        },
        rcu,
        SpinLockIrq,
        SpinLockIrqGuard, //
    }, //
};
use core::ops::Range;

/// A page of the host.
const HV_PAGE: u32 = 1 << bindings::HV_HYP_PAGE_SHIFT;

/// What is written under the lock.
struct State {
    /// The end of the ring, while the channel is open.
    producer: Option<Producer>,
    free: Free,
    /// The last packet found no room.
    full: bool,
    /// The host was not signalled although it should have been.
    owed: bool,
}

/// Sends packets on a channel, as long as its session is open.
///
/// All methods may be called in any context but NMI, and concurrently: packets are written one
/// after another, under a lock, with interrupts off.
///
/// # Invariants
///
/// - While `state.producer` is there the channel is open, and so it and its ring are valid.
/// - While `control` is not null it points to the control page of a ring that has `size` bytes of
///   data, which is a [`Size`]. The ring is unmapped only after a grace period in which it was
///   null.
#[pin_data]
pub struct Writer<R: Request> {
    channel: Raw,
    /// Tells sessions apart.
    tag: u32,
    #[pin]
    state: SpinLockIrq<State>,
    table: Table<R>,
    /// `owed` of the state, for those who have not the lock.
    owed: AtomicFlag,
    control: Atomic<*mut Control>,
    size: Atomic<u32>,
}

/// Page frame numbers, of pages of 4 KiB, that follow each other: one, or a range of them.
pub trait Pfns {
    /// All of them.
    fn into_range(self) -> Range<u64>;
}

impl Pfns for u64 {
    #[inline]
    fn into_range(self) -> Range<u64> {
        self..self.saturating_add(1)
    }
}

impl Pfns for Range<u64> {
    #[inline]
    fn into_range(self) -> Range<u64> {
        self
    }
}

/// How large a packet can become: upper limits of what will be built.
///
/// Room is reserved for all of it; what is not used is not sent.
#[derive(Clone, Copy, Default)]
pub struct Shape {
    /// Number of ranges of guest memory; with 0 the packet is in-band.
    pub ranges: usize,
    /// Number of 4 KiB pages that all ranges touch.
    pub pages: usize,
    /// Bytes of payload.
    pub payload: usize,
}

impl Shape {
    /// Bytes before the payload, and of all of it.
    #[inline]
    fn lengths(self) -> Result<(u32, u32)> {
        let ranges = match self.ranges {
            0 if self.pages > 0 => return Err(EINVAL),
            0 => 0,
            // A word with the number of ranges, one for each of them, and one for each page.
            ranges => ranges
                .checked_add(self.pages)
                .and_then(|words| words.checked_add(1)?.checked_mul(8))
                .ok_or(EMSGSIZE)?,
        };
        let header = ranges.checked_add(DESCRIPTOR as usize).ok_or(EMSGSIZE)?;
        let len = header.checked_add(self.payload).ok_or(EMSGSIZE)?;

        if len > MAX_PACKET as usize {
            return Err(EMSGSIZE);
        }
        // CAST: `MAX_PACKET` fits, and is a multiple of 8.
        Ok((header as u32, (len as u32).wrapping_add(7) & !7))
    }
}

impl<R: Request> Writer<R> {
    /// What sends on a channel that is not open yet. May sleep.
    #[inline]
    pub(super) fn new(channel: Raw, tag: u32, requests: usize) -> Result<impl PinInit<Self>> {
        let (table, free) = Table::new(requests)?;

        // INVARIANT: It is not open, and there is no control page.
        Ok(pin_init!(Self {
            channel,
            tag,
            state <- new_spinlock_irq!(
                State { producer: None, free, full: false, owed: false },
                "vmbus::Writer::state"
            ),
            table,
            owed: AtomicFlag::new(false),
            control: Atomic::new(core::ptr::null_mut()),
            size: Atomic::new(0),
        }))
    }

    /// Lets packets be sent.
    ///
    /// # Safety
    ///
    /// The channel must be open, and stay so, until [`Writer::shut`] has returned and after that a
    /// grace period has passed.
    #[inline]
    pub(super) unsafe fn open(&self, ring: Ring) {
        self.size.store(ring.size().bytes(), Relaxed);
        // INVARIANT: By the safety requirements. Whoever sees the page sees its size.
        self.control.store(ring.as_ptr(), Release);
        // INVARIANT: By the safety requirements.
        self.state.lock().producer = Some(Producer::new(ring));
    }

    /// Lets no more packets be sent.
    #[inline]
    pub(super) fn shut(&self) {
        // INVARIANT: This can be done at any time.
        self.control.store(core::ptr::null_mut(), Release);
        self.state.lock().producer = None;
    }

    #[inline]
    pub(super) fn table(&self) -> &Table<R> {
        &self.table
    }

    /// Tells this session's requests of the host from others'.
    #[inline]
    pub(super) fn tag(&self) -> u32 {
        self.tag
    }

    /// Sends data for which no answer is wanted.
    ///
    /// Returns
    /// - [`EAGAIN`] if the ring is full: [`Handler::wake`](super::Handler::wake) is called when
    ///   there is room again;
    /// - [`EMSGSIZE`] if the packet is larger than the ring or than a packet can be;
    /// - [`ENODEV`] if the session is closed or the host has taken the channel back;
    /// - [`EIO`] if the host has spoilt the ring.
    #[inline]
    pub fn send(&self, payload: &[u8]) -> Result {
        self.post(
            payload,
            bindings::vmbus_packet_type_VM_PKT_DATA_INBAND,
            0,
            false,
        )
    }

    /// Sends data that the host has to answer, which gives
    /// [`Incoming::Completion`](super::Incoming::Completion) with `request`.
    ///
    /// Errors are those of [`Writer::reserve`]; the request comes back with them.
    #[inline]
    pub fn request(&self, payload: &[u8], request: R) -> Result<(), (Error, R)> {
        let shape = Shape {
            payload: payload.len(),
            ..Shape::default()
        };
        let mut packet = match self.reserve_seldom(shape) {
            Ok(packet) => packet,
            Err(error) => return Err((error, request)),
        };

        match packet.payload(payload) {
            Ok(()) => {
                packet.commit_seldom(request);
                Ok(())
            }
            Err(error) => Err((error, request)),
        }
    }

    /// Reserves room for a packet, which is to be built at once: the lock is held and interrupts
    /// are off until it is committed or dropped. Nothing is allocated.
    ///
    /// Errors are those of [`Writer::send`]; [`EAGAIN`] also if there is no slot for one more
    /// request, in which case one of the next completions makes room; and [`EINVAL`] if there are
    /// pages and no ranges.
    #[inline(always)]
    pub fn reserve(&self, shape: Shape) -> Result<Packet<'_, R>> {
        let (header, len) = shape.lengths()?;
        let mut packet = self.prepare(len)?;

        let state = &mut *packet.state;
        if !self.table.has_free(&mut state.free) {
            return Err(EAGAIN);
        }
        if shape.ranges > 0 {
            packet.kind = bindings::vmbus_packet_type_VM_PKT_DATA_USING_GPA_DIRECT as u16;
            packet.header = header;
            // The number of ranges follows the descriptor.
            packet.at = DESCRIPTOR + 8;
        }
        Ok(packet)
    }

    /// As [`Writer::reserve`], which is inlined, for what is sent seldom: one copy for all of it.
    #[inline(never)]
    pub fn reserve_seldom(&self, shape: Shape) -> Result<Packet<'_, R>> {
        self.reserve(shape)
    }

    /// Sends the signal that packets owe the host that were committed with more to come, if any.
    #[inline]
    pub fn flush(&self) {
        // Who has just committed a packet sees what became of it.
        if self.owed.load(Relaxed) {
            self.pay();
        }
    }

    /// See [`Writer::flush`].
    #[inline(never)]
    fn pay(&self) {
        let mut state = self.state.lock();

        if !state.owed {
            return;
        }
        let Some(producer) = &state.producer else {
            return;
        };
        let unseen = producer.is_unseen();
        state.owed = false;
        self.owed.store(false, Relaxed);
        // It may have come by itself meanwhile.
        if unseen {
            self.signal(state);
        }
    }

    /// Returns whether more than so many percent of the ring to the host are free: a snapshot,
    /// without a lock, and only a hint, since the host says what it has read.
    ///
    /// `false` if the session is closed.
    #[inline]
    pub fn has_free(&self, percent: u32, _rcu: &rcu::Guard) -> bool {
        let control = self.control.load(Acquire);
        if control.is_null() {
            return false;
        }

        // SAFETY: By the type invariants it was the size of a ring.
        let size = unsafe { Size::new_unchecked(self.size.load(Relaxed)) };
        // SAFETY: By the type invariants this is a ring, and stays mapped during this grace period.
        let ring = unsafe { Ring::new(control, size) };
        // This decides about nothing but when to go on: our index may be read there, too.
        u64::from(ring.hint_room()) * 100 > u64::from(size.bytes()) * u64::from(percent)
    }

    /// Returns the number of requests in flight on this channel: a snapshot.
    ///
    /// What was completed counts until its reader gives room back or ends.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.table.len()
    }

    /// Reserves room for a packet of a length, which is a multiple of 8 and at least that of a
    /// descriptor.
    #[inline(always)]
    fn prepare(&self, len: u32) -> Result<Packet<'_, R>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let producer = state.producer.as_mut().ok_or(ENODEV)?;

        // SAFETY: By the type invariants the channel is open, and so it is valid.
        if unsafe { self.channel.is_rescinded() } {
            return Err(ENODEV);
        }
        if let Err(error) = producer.reserve(len.wrapping_add(TRAILER)) {
            if error == EAGAIN {
                // SAFETY: By the type invariants the channel is open; the lock makes us its writer.
                unsafe { self.channel.count_full(!state.full) };
                // SAFETY: As above.
                unsafe { self.channel.show_full(true) };
                state.full = true;
            }
            return Err(error);
        }
        if state.full {
            state.full = false;
            // SAFETY: By the type invariants the channel is open; the lock makes us its writer.
            unsafe { self.channel.show_full(false) };
        }

        // SAFETY: The ring stays mapped as long as the producer is there, and that is there as long
        // as the lock is held, which the packet holds.
        let ring = unsafe { producer.ring.again() };
        let start = producer.index();
        // INVARIANT: `reserve()` has found room for so much.
        Ok(Packet {
            writer: self,
            state: guard,
            ring,
            start,
            at: DESCRIPTOR,
            header: DESCRIPTOR,
            offset: 0,
            len,
            ranges: 0,
            kind: bindings::vmbus_packet_type_VM_PKT_DATA_INBAND as u16,
            flags: 0,
            id: 0,
        })
    }

    /// Sends an in-band packet that nobody answers. `more` is that of [`Packet::commit`].
    // One copy of `prepare()` for all of these.
    #[inline(never)]
    pub(super) fn post(
        &self,
        payload: &[u8],
        kind: bindings::vmbus_packet_type,
        id: u64,
        more: bool,
    ) -> Result {
        let shape = Shape {
            payload: payload.len(),
            ..Shape::default()
        };
        let (_, len) = shape.lengths()?;
        let mut packet = self.prepare(len)?;

        // CAST: The types of packets fit.
        packet.kind = kind as u16;
        packet.id = id;
        packet.payload(payload)?;
        packet.end(more);
        Ok(())
    }

    /// Gives the lock back and signals the host.
    #[inline]
    fn signal(&self, state: SpinLockIrqGuard<'_, State>) {
        let channel = self.channel;
        // A channel that is closed meanwhile is freed after this.
        let rcu = rcu::read_lock();

        drop(state);
        // SAFETY: The channel was open when we had the lock, and so it was valid. It is freed not
        // before a grace period has passed, which did not begin before ours.
        unsafe { channel.signal() };
        drop(rcu);
    }
}

/// A packet that is being built in the ring, where the host does not see it yet.
///
/// This holds the lock of the ring, with interrupts off: do not keep it. If it is dropped nothing
/// is sent.
///
/// # Invariants
///
/// - `state.producer` is there, and `ring` is its ring, in which there is room for `len` bytes and
///   a trailer from `start` on. `start` is an index, hence a multiple of 8 and less than the size.
/// - `DESCRIPTOR <= at <= len`, and `len` is a multiple of 8. `at` is, too, as long as `offset` is
///   0.
/// - `header <= len`.
#[must_use = "a packet that is dropped is not sent"]
pub struct Packet<'a, R: Request> {
    writer: &'a Writer<R>,
    state: SpinLockIrqGuard<'a, State>,
    ring: Ring,
    /// Where it begins.
    start: u32,
    /// How much of it there is.
    at: u32,
    /// How much ranges may take.
    header: u32,
    /// Where the payload begins; 0 if there is none yet.
    offset: u32,
    /// How much of it there can be.
    len: u32,
    ranges: u32,
    kind: u16,
    flags: u16,
    id: u64,
}

impl<R: Request> Packet<'_, R> {
    /// Writes a word.
    ///
    /// # Safety
    ///
    /// `at` must be a multiple of 8, and at most `self.len`.
    #[inline]
    unsafe fn put(&self, at: u32, word: u64) {
        // SAFETY: By the type invariants `start` is a multiple of 8 and less than the size, and
        // `len` and a trailer of 8 bytes, too. So by the safety requirements all of the word is
        // within twice the size.
        let place = unsafe { self.ring.word(self.start.wrapping_add(at)) };

        place.write_val(word);
    }

    /// Adds a range of guest memory: `len` bytes from `offset` on in its first page of 4 KiB. As
    /// many page frame numbers are taken as the range has pages, and written into the ring.
    ///
    /// Returns [`EINVAL`] if there are fewer, if the range is empty, if `offset` is not in a page,
    /// or if there is payload already, and [`EMSGSIZE`] if it is more than was reserved. Nothing
    /// is added then.
    #[inline]
    pub fn range<P: Pfns>(
        &mut self,
        offset: u32,
        len: u32,
        pfns: impl IntoIterator<Item = P>,
    ) -> Result {
        if offset >= HV_PAGE || len == 0 || self.offset != 0 {
            return Err(EINVAL);
        }
        let end = u64::from(offset) + u64::from(len);
        // CAST: At most 2^32 bytes have so few pages.
        let pages = end.div_ceil(HV_PAGE.into()) as u32;
        // Not more than 2^23 bytes.
        let after = self.at.wrapping_add(8).wrapping_add(pages * 8);
        if after > self.header {
            return Err(EMSGSIZE);
        }

        let first = self.at.wrapping_add(8);
        // SAFETY: It is a multiple of 8, since `self.at` is without payload. The words end not
        // behind `after`, which is not more than `self.header` nor, by that, `self.len`: see
        // `put()`. An empty range has been refused, so there are pages.
        if !unsafe { self.ring.fill(self.start.wrapping_add(first), pages, pfns) } {
            return Err(EINVAL);
        }
        // SAFETY: As above.
        unsafe { self.put(self.at, u64::from(len) | u64::from(offset) << 32) };
        self.ranges = self.ranges.wrapping_add(1);
        // INVARIANT: It is not more than `self.len`, and a multiple of 8.
        self.at = after;
        Ok(())
    }

    /// Appends payload, which follows the ranges.
    ///
    /// Returns [`EMSGSIZE`] if that is more than was reserved; nothing is added then.
    #[inline]
    pub fn payload(&mut self, bytes: &[u8]) -> Result {
        if bytes.len() > self.len.wrapping_sub(self.at) as usize {
            return Err(EMSGSIZE);
        }

        if self.offset == 0 {
            self.offset = self.at;
        }
        // SAFETY: By the type invariants `start` and `len` are less than the size, and the bytes
        // end at most `len` bytes behind `start`.
        unsafe { self.ring.copy_in(self.start.wrapping_add(self.at), bytes) };
        // INVARIANT: It is at most `self.len`, as was just checked. CAST: So it fits.
        self.at = self.at.wrapping_add(bytes.len() as u32);
        Ok(())
    }

    /// Returns whether more than so many percent of the ring to the host are free behind what is
    /// written of the packet: a snapshot, and only a hint, since the host says what it has read.
    #[inline]
    pub fn leaves_free(&mut self, percent: u32) -> bool {
        // At most `self.len`, and what padding and trailer take.
        let bytes = self.at.wrapping_add(7 + TRAILER);

        self.state
            .producer
            .as_mut()
            .is_some_and(|producer| producer.leaves_free(bytes, percent))
    }

    /// Shows the packet to the host, which is to answer it: `request` is in flight from now on.
    ///
    /// The host is signalled if its ring was empty; with `more`, the signal is owed, and sent by
    /// the next packet without more, or by [`Writer::flush`].
    ///
    /// Returns the id of the request, for traces. It may have been completed already.
    #[inline(always)]
    pub fn commit(mut self, request: R, more: bool) -> u64 {
        let free = &mut self.state.free;

        // SAFETY: The writer has made both at once.
        match unsafe { self.writer.table.insert(free, request) } {
            Ok(id) => {
                self.id = id;
                self.flags = bindings::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED as u16;
                self.end(more);
                id
            }
            // There was a slot when the lock was taken, and there still is. Nothing is sent here, so
            // that nothing is answered that nobody knows.
            Err(request) => {
                core::mem::forget(request);
                0
            }
        }
    }

    /// As [`Packet::commit`], which is inlined, for what is sent seldom, without more to come.
    #[inline(never)]
    pub fn commit_seldom(self, request: R) -> u64 {
        self.commit(request, false)
    }

    /// Shows the packet to the host, which is not asked to answer it.
    ///
    /// Otherwise this is like [`Packet::commit`].
    // One copy of `end()` for all of these.
    #[inline(never)]
    pub fn commit_unanswered(self, more: bool) {
        self.end(more);
    }

    /// Completes what is written and publishes it.
    // What `reserve()` has put into the packet stays in registers until here.
    #[inline(always)]
    fn end(mut self, more: bool) {
        let writer = self.writer;
        // `at` is at most `self.len`, a multiple of 8; and so is this.
        let len = self.at.wrapping_add(7) & !7;

        if len != self.at {
            let end = self.start.wrapping_add(self.at);
            let zeroes = [0; 7].get(..len.wrapping_sub(self.at) as usize);

            // SAFETY: By the type invariants `start` and `len` are less than the size.
            unsafe { self.ring.copy_in(end, zeroes.unwrap_or_default()) };
        }
        if self.header > DESCRIPTOR {
            // SAFETY: There is room for ranges, and this is the first word of it.
            unsafe { self.put(DESCRIPTOR, u64::from(self.ranges) << 32) };
        }
        let [first, second] = Descriptor {
            kind: self.kind,
            flags: self.flags,
            offset: if self.offset == 0 { len } else { self.offset },
            len,
            id: self.id,
        }
        .to_words();
        // SAFETY: A packet has a descriptor.
        unsafe { self.put(0, first) };
        // SAFETY: As above.
        unsafe { self.put(8, second) };
        // SAFETY: By the type invariants it is at most `self.len`.
        unsafe { self.put(len, u64::from(self.start) << 32) };

        let state = &mut *self.state;
        let Some(producer) = state.producer.as_mut() else {
            return;
        };
        let empty = producer.publish(len.wrapping_add(TRAILER));
        if empty {
            // SAFETY: The channel is open, and the lock makes us its writer.
            unsafe { writer.channel.count_empty() };
        } else if !state.owed {
            return;
        }

        let due = empty || producer.is_unseen();
        if state.owed != more {
            state.owed = more;
            writer.owed.store(more, Relaxed);
        }
        if due && !more {
            writer.signal(self.state);
        }
    }
}
