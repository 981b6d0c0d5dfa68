// SPDX-License-Identifier: GPL-2.0

//! Frames to be sent: small ones by way of the send buffer, others from where they are.
//!
//! Nothing here relies on the lock of the stack's queue.

use crate::{
    attached::{
        Attached,
        OpenQueue,
        MAX_ALIGNMENT, //
    },
    batch::Batch,
    buffers::{
        part,
        SendBuffer, //
    },
    info::Header,
    lent::{
        Lent,
        Slot, //
    },
    nic::{
        max_queues,
        Nic, //
    },
    nvsp,
    queue::{
        Frame,
        Pending,
        Queue,
        Waiting,
        REQUESTS, //
    },
    trace,
    vf, //
};
use kernel::{
    io::Io,
    net::{
        rtnl::Rtnl,
        skb::{
            DropReason,
            Network,
            Transport,
            TxSkb, //
        },
        Device,
        Transmit,
        TxQueue, //
    },
    prelude::*,
    sync::{
        barrier,
        rcu, //
    },
    vmbus::{
        Packet,
        Shape,
        Writer, //
    },
};

/// Pages of guest memory.
const PAGE: u64 = 4096;

/// Pages that a packet may name, but for those of the header.
const MAX_PAGES: usize = 30;

/// A queue is stopped when less of the ring is free, and woken when more is; in percent.
const LOW: u32 = 10;
const HIGH: u32 = 20;

/// Why a frame was not sent, and the frame.
enum Refused {
    /// There is no room.
    Full(TxSkb),
    /// It cannot be sent at all.
    Dropped(TxSkb, DropReason),
}

/// Who sends a frame, and where.
pub(crate) struct Sender<'a> {
    pub(crate) dev: &'a Device<Nic>,
    pub(crate) attached: &'a Attached,
    pub(crate) open: &'a OpenQueue,
    /// The queue of the stack that had the frame; [`None`] if there was none. Others who have none
    /// may send at the same time.
    pub(crate) queue: Option<TxQueue<'a>>,
    /// More follows at once, or whoever sends flushes the writer.
    more: bool,
}

impl Sender<'_> {
    /// Whether the stack sends nothing more on the queue for now.
    #[inline]
    fn is_blocked(&self) -> bool {
        self.queue.is_none_or(|queue| queue.is_blocked())
    }

    /// Whether the queue is to be stopped when this packet is sent.
    #[inline]
    pub(crate) fn is_low(&self, packet: &mut Packet<'_, Pending>) -> bool {
        self.queue.is_some() && !packet.leaves_free(LOW)
    }
}

/// Sends a frame.
pub(crate) fn start_xmit(dev: &Device<Nic>, skb: TxSkb, more: bool) -> Transmit {
    let guard = rcu::read_lock();
    if let Some(vf) = vf::path(dev, &guard) {
        return vf::xmit(dev, &vf, skb);
    }
    let index = skb.queue();
    let attached = dev
        .attached
        .load(&guard)
        .filter(|attached| attached.sends());

    let Some(attached) = attached else {
        return dropped(dev, skb, DropReason::DEV_READY);
    };
    let (Some(open), Some(queue)) = (attached.queue(index), dev.tx_queue(index)) else {
        return dropped(dev, skb, DropReason::DEV_READY);
    };
    let on = Sender {
        dev,
        attached: &attached,
        open,
        queue: Some(queue),
        more,
    };

    match send(&on, skb) {
        Ok(low) => {
            if low {
                attached.stop(dev, &queue, open);
            }
            // What was to follow will not.
            if more && queue.is_blocked() {
                open.session.writer().flush();
            }
            Transmit::Taken
        }
        Err(refused) => not_sent(&on, &queue, refused),
    }
}

/// A frame of the stack was not sent. None wait: those were sent before this was tried, and are not
/// to wait for this frame.
#[cold]
fn not_sent(on: &Sender<'_>, queue: &TxQueue<'_>, refused: Refused) -> Transmit {
    on.open.session.writer().flush();
    match refused {
        Refused::Full(skb) => {
            on.dev.counters.tx_busy.inc();
            on.attached.stop(on.dev, queue, on.open);
            Transmit::Busy(skb)
        }
        Refused::Dropped(skb, reason) => dropped(on.dev, skb, reason),
    }
}

/// Sends a frame that no queue of the stack has held, or drops it if there is no room. Others do not
/// wait for it, nor it for others; who calls this flushes the writer afterwards.
///
/// Softirq context, under RCU.
pub(crate) fn send_now(dev: &Device<Nic>, attached: &Attached, open: &OpenQueue, skb: TxSkb) {
    let on = Sender {
        dev,
        attached,
        open,
        queue: None,
        more: true,
    };

    match send(&on, skb) {
        Ok(_) => {}
        Err(Refused::Full(skb)) => {
            dev.counters.tx_busy.inc();
            dropped(dev, skb, DropReason::FULL_RING);
        }
        Err(Refused::Dropped(skb, reason)) => {
            dropped(dev, skb, reason);
        }
    }
}

#[cold]
fn dropped(dev: &Device<Nic>, skb: TxSkb, reason: DropReason) -> Transmit {
    dev.tx_dropped.inc();
    skb.drop_reason(reason);
    Transmit::Taken
}

/// Says what the host has to know of the frame. Changes the frame's headers where the host wants
/// them changed.
#[inline]
fn describe(dev: &Device<Nic>, skb: &mut TxSkb, header: &mut Header) -> Result<(), DropReason> {
    if skb.hash() != 0 && dev.tx_queues() > 1 {
        header.hash(skb.hash());
    }
    if skb.untag().is_err() {
        dev.counters.vlan_error.inc();
        return Err(DropReason::NOT_SPECIFIED);
    }
    if let Some(tci) = skb.vlan_tci() {
        header.vlan(tci);
    }
    if let Some(mss) = skb.gso_size() {
        let ipv6 = skb.network() == Some(Network::Ipv6);

        skb.prepare_tso().map_err(|_| DropReason::NO_MEMORY)?;
        let transport = skb.transport_offset().ok_or(DropReason::SKB_CSUM)?;
        header.segment(ipv6, transport, mss);
    } else if skb.wants_checksum() {
        let kind = skb.network().zip(skb.transport());

        match (kind, skb.transport_offset()) {
            (Some((network, transport)), Some(at))
                if dev.offloads.sums(network, transport) && at < 1 << 10 =>
            {
                header.checksum(network == Network::Ipv6, transport == Transport::Udp, at);
            }
            _ => skb.checksum_help().map_err(|_| DropReason::SKB_CSUM)?,
        }
    }
    Ok(())
}

/// Sends a frame, or has it wait for those that follow. Returns whether the queue is to be stopped.
fn send(on: &Sender<'_>, mut skb: TxSkb) -> Result<bool, Refused> {
    let waiting = on.queue.and_then(|_| on.open.napi().waiting());
    let mut header = Header::new();

    if let Err(reason) = describe(on.dev, &mut skb, &mut header) {
        if let Some(waiting) = waiting {
            waiting.send(on, true);
        }
        return Err(Refused::Dropped(skb, reason));
    }
    let Some((send, sections)) = on.attached.send_sections() else {
        return in_place(on, &mut header, skb);
    };
    let size = sections.size as usize;
    let mut low = false;

    if let Some(waiting) = waiting {
        match join(on, send, size, waiting, &mut header, skb) {
            Joined::Done(result) => return result,
            Joined::Alone(alone, was_low) => {
                skb = alone;
                low = was_low;
            }
        }
    }
    let total = header.len() + skb.len();
    let result = if total + on.attached.alignment() < size {
        first(on, send, low, &mut header, skb)
    } else {
        in_place(on, &mut header, skb)
    };
    result.map(|now| low || now)
}

/// What has become of a frame that came when others waited.
enum Joined {
    /// It is with them, or could not be sent.
    Done(Result<bool, Refused>),
    /// They were sent without it. Whether the queue is to be stopped.
    Alone(TxSkb, bool),
}

/// Sends a frame together with those that wait, or those alone if it finds no place there.
#[inline(never)]
fn join(
    on: &Sender<'_>,
    send: &SendBuffer,
    size: usize,
    mut waiting: Waiting<'_>,
    header: &mut Header,
    skb: TxSkb,
) -> Joined {
    let total = header.len() + skb.len();
    let padding = on.attached.padding(total);

    let Some(batch) = waiting.batch() else {
        return Joined::Alone(skb, false);
    };
    let Some(at) = batch.place(on.attached, size, total + padding) else {
        return Joined::Alone(skb, waiting.send(on, true));
    };
    if copy(send, batch.section(), at, header, &skb, padding).is_err() {
        waiting.send(on, true);
        return Joined::Done(Err(Refused::Dropped(skb, DropReason::NOT_SPECIFIED)));
    }
    skb.timestamp();
    // CAST: Less than the size of a section.
    batch.join((total + padding) as u32, skb);
    if on.more && !on.is_blocked() {
        return Joined::Done(Ok(false));
    }
    Joined::Done(Ok(waiting.send(on, on.more)))
}

/// Sends a frame by way of a section of its own, or has it wait there for those that follow.
#[inline]
fn first(
    on: &Sender<'_>,
    send: &SendBuffer,
    low: bool,
    header: &mut Header,
    skb: TxSkb,
) -> Result<bool, Refused> {
    let queue: &Queue = on.open.napi();
    let Some(section) = send.take(queue.index) else {
        on.dev.counters.tx_send_full.inc();
        return in_place(on, header, skb);
    };
    let total = header.len() + skb.len();
    // Only if nothing will stop the queue before they come.
    let waits = on.more && !low && !on.is_blocked() && Attached::has_room(on.open);
    let padding = if waits { on.attached.padding(total) } else { 0 };

    if copy(send, section, 0, header, &skb, padding).is_err() {
        send.give(section);
        return Err(Refused::Dropped(skb, DropReason::NOT_SPECIFIED));
    }
    skb.timestamp();
    // CAST: Less than the size of a section.
    let mut batch = Batch::new(section, (total + padding) as u32, skb);
    if waits {
        match queue.wait(batch) {
            Ok(()) => return Ok(false),
            Err(back) => batch = back,
        }
    }
    batch.post(on, on.more).map_err(|(error, batch)| {
        send.give(section);
        refused(error, batch.into_skb())
    })
}

/// Copies a message to a section, from `at` on, with `padding` bytes behind it.
#[inline]
fn copy(
    send: &SendBuffer,
    section: u32,
    at: usize,
    header: &mut Header,
    skb: &TxSkb,
    padding: usize,
) -> Result {
    const ZEROES: [u8; MAX_ALIGNMENT] = [0; MAX_ALIGNMENT];
    let section = send.section(section).ok_or(EINVAL)?;
    // CAST: A frame has less than 2^31 bytes; there is less padding than the alignment.
    let header = header.finish(skb.len() as u32, padding as u32);

    part(section, at, header.len())?.copy_from_slice(header);
    let at = at + header.len();
    skb.copy_to(part(section, at, skb.len())?)?;
    if padding > 0 {
        let zeroes = ZEROES.get(..padding).ok_or(EINVAL)?;

        part(section, at + skb.len(), padding)?.copy_from_slice(zeroes);
    }
    Ok(())
}

/// Sends a frame from where it is, with a header in memory of the queue's.
#[inline(never)]
fn in_place(on: &Sender<'_>, header: &mut Header, mut skb: TxSkb) -> Result<bool, Refused> {
    // CAST: A frame has less than 2^31 bytes.
    let header = header.finish(skb.len() as u32, 0);
    let Some(slot) = Lent::take(&on.open.napi().headers) else {
        return Err(Refused::Full(skb));
    };
    if slot.write(header).is_err() {
        return Err(Refused::Dropped(skb, DropReason::NOT_SPECIFIED));
    }

    skb.timestamp();
    let session = &on.open.session;
    let message = nvsp::Message::rndis(false, nvsp::NO_SECTION, 0);
    let mut tried = false;
    let mut packet = loop {
        match build(session.writer(), &slot, header.len(), &skb, &message) {
            Ok(packet) => break packet,
            Err(error) if error != EMSGSIZE => return Err(refused(error, skb)),
            Err(_) if tried => {
                on.dev.counters.tx_too_big.inc();
                return Err(Refused::Dropped(skb, DropReason::PKT_TOO_BIG));
            }
            Err(_) => {
                tried = true;
                on.dev.counters.tx_scattered.inc();
                if skb.linearize().is_err() {
                    on.dev.counters.tx_no_memory.inc();
                    return Err(Refused::Dropped(skb, DropReason::NO_MEMORY));
                }
            }
        }
    };

    trace::nvsp_send_pkt(session, &packet, &message);
    let low = on.is_low(&mut packet);
    // CAST: A frame has less than 2^31 bytes.
    let bytes = skb.len() as u32;
    let request = Pending::Frame(Frame {
        skb,
        section: nvsp::NO_SECTION,
        _header: Some(slot),
        packets: 1,
        bytes,
        // Before the host can complete it.
        sent: on.queue.map(|queue| queue.sent(bytes)),
    });
    packet.commit(request, on.more);
    Ok(low)
}

/// Builds the packet of a frame that stays where it is. Fails with [`EMSGSIZE`] if that is too
/// scattered, and as [`Writer::reserve`] does.
#[inline(always)]
fn build<'a>(
    writer: &'a Writer<Pending>,
    slot: &Slot,
    header: usize,
    skb: &TxSkb,
    message: &nvsp::Message,
) -> Result<Packet<'a, Pending>> {
    // As much as it may be: what is not used is not sent.
    let mut packet = writer.reserve(Shape {
        ranges: 1 + skb.max_segments(),
        pages: 1 + MAX_PAGES,
        payload: nvsp::MESSAGE,
    })?;
    let (page, offset) = slot.place()?;
    let mut pages = 0;

    // CAST: A header is shorter than its slot.
    packet.range(offset, header as u32, [page])?;
    for segment in skb.segments() {
        let offset = segment.phys % PAGE;
        let first = segment.phys / PAGE;
        let count = (offset + u64::from(segment.len)).div_ceil(PAGE);

        pages += count;
        if pages > MAX_PAGES as u64 {
            return Err(EMSGSIZE);
        }
        // CAST: Less than a page.
        packet.range(offset as u32, segment.len, first..first + count)?;
    }
    packet.payload(message.bytes())?;
    Ok(packet)
}

#[cold]
fn refused(error: Error, skb: TxSkb) -> Refused {
    if error == EAGAIN {
        Refused::Full(skb)
    } else {
        Refused::Dropped(skb, DropReason::DEV_READY)
    }
}

impl Attached {
    /// Whether a queue may be woken: there is room, or nothing whose completion would wake it.
    #[inline]
    pub(crate) fn has_room(open: &OpenQueue) -> bool {
        let writer = open.session.writer();
        let in_flight = writer.in_flight();

        in_flight == 0
            || (in_flight < REQUESTS - REQUESTS / 8
                && writer.has_free(HIGH, &rcu::read_lock())
                && open.napi().headers.has_free())
    }

    /// Stops a queue until there is room.
    #[cold]
    fn stop(&self, dev: &Device<Nic>, queue: &TxQueue<'_>, open: &OpenQueue) {
        queue.stop();
        dev.counters.stop_queue.inc();
        // Room that was made before the queue was stopped has not woken it.
        barrier::smp_mb(barrier::Full);
        self.wake(dev, queue, open);
    }

    /// Stops all queues, until somebody wakes all of them, and waits until nobody sends. Process
    /// context.
    #[inline(never)]
    pub(crate) fn disable(&self, dev: &Device<Nic>, rtnl: &mut Rtnl) {
        self.set_sends(false);
        // Whoever wakes all of them does not look which one was stopped before.
        for index in 0..max_queues() {
            if dev.tx_queue(index).is_some_and(|queue| queue.is_stopped()) {
                dev.counters.wake_queue.inc();
            }
        }
        dev.tx_disable(rtnl);
    }

    /// Wakes a queue if it is stopped and there is room.
    #[inline]
    pub(crate) fn wake(&self, dev: &Device<Nic>, queue: &TxQueue<'_>, open: &OpenQueue) {
        if queue.is_stopped() && self.sends() && Self::has_room(open) {
            queue.wake();
            dev.counters.wake_queue.inc();
        }
    }
}
