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
    buffers::SendBuffer,
    info::Header,
    lent::Lent,
    nic::{
        max_queues,
        Nic, //
    },
    nvsp,
    queue::{
        Frame,
        Pending,
        REQUESTS, //
    },
    trace, //
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
    vmbus::Shape, //
};

/// Pages of guest memory.
const PAGE: u64 = 4096;

/// Pages that a packet may name, but for those of the header.
const MAX_PAGES: u64 = 30;

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

/// Sends a frame.
pub(crate) fn start_xmit(dev: &Device<Nic>, skb: TxSkb, more: bool) -> Transmit {
    let guard = rcu::read_lock();
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

    match send(dev, &attached, open, Some(&queue), skb, more) {
        Ok(()) => {
            let writer = open.session.writer();

            if !writer.has_free(LOW, &guard) {
                attached.stop(dev, &queue, open);
            }
            if !more || queue.is_blocked() {
                writer.flush();
            }
            Transmit::Taken
        }
        Err(Refused::Full(skb)) => {
            // None wait: those were sent before this was tried. What was sent before must not wait
            // for this frame.
            open.session.writer().flush();
            dev.counters.tx_busy.inc();
            attached.stop(dev, &queue, open);
            Transmit::Busy(skb)
        }
        Err(Refused::Dropped(skb, reason)) => {
            open.session.writer().flush();
            dropped(dev, skb, reason)
        }
    }
}

/// Sends a frame that no queue of the stack has held, or drops it if there is no room. Others do not
/// wait for it, nor it for others; who calls this flushes the writer afterwards.
///
/// Softirq context, under RCU.
pub(crate) fn send_now(dev: &Device<Nic>, attached: &Attached, open: &OpenQueue, skb: TxSkb) {
    match send(dev, attached, open, None, skb, false) {
        Ok(()) => {}
        Err(Refused::Full(skb)) => {
            dev.counters.tx_busy.inc();
            dropped(dev, skb, DropReason::FULL_RING);
        }
        Err(Refused::Dropped(skb, reason)) => {
            dropped(dev, skb, reason);
        }
    }
}

fn dropped(dev: &Device<Nic>, skb: TxSkb, reason: DropReason) -> Transmit {
    dev.tx_dropped.inc();
    skb.drop_reason(reason);
    Transmit::Taken
}

/// Pages of guest memory that the frame is in.
#[inline]
fn pages(skb: &TxSkb) -> u64 {
    skb.segments()
        .map(|segment| (segment.phys % PAGE + u64::from(segment.len)).div_ceil(PAGE))
        .sum()
}

/// Writes what stands before the frame's data. Changes the frame's headers where the host wants
/// them changed.
#[inline]
fn header(dev: &Device<Nic>, skb: &mut TxSkb) -> Result<Header, DropReason> {
    let mut header = Header::new();

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
    Ok(header)
}

/// Sends a frame, or has it wait for those that follow.
fn send(
    dev: &Device<Nic>,
    attached: &Attached,
    open: &OpenQueue,
    queue: Option<&TxQueue<'_>>,
    mut skb: TxSkb,
    more: bool,
) -> Result<(), Refused> {
    // Somebody else who sends on this queue at the same time shares no section.
    let mut waiting = queue.and_then(|_| open.napi().batch.try_lock());
    let blocked = || queue.is_none_or(|queue| queue.is_blocked());
    let mut header = match header(dev, &mut skb) {
        Ok(header) => header,
        Err(reason) => {
            if let Some(batch) = waiting.as_mut().and_then(|waiting| waiting.take()) {
                batch.send(dev, attached, open, queue);
            }
            return Err(Refused::Dropped(skb, reason));
        }
    };
    // CAST: A frame has less than 2^31 bytes.
    let len = skb.len() as u32;
    let total = header.len() + skb.len();

    if let Some((send, sections)) = attached.send_sections() {
        let size = sections.size as usize;
        // What follows begins at a multiple of the alignment.
        let padding = total.next_multiple_of(attached.alignment()) - total;
        let padded = total + padding;

        // Together with those that wait.
        if let Some(waiting) = waiting.as_mut() {
            if let Some(mut batch) = waiting.take() {
                if let Some(at) = batch.place(attached, size, padded) {
                    // CAST: Less than the alignment.
                    let head = header.finish(len, padding as u32);

                    if copy(send, batch.section(), at, head, &skb, padding).is_err() {
                        batch.send(dev, attached, open, queue);
                        return Err(Refused::Dropped(skb, DropReason::NOT_SPECIFIED));
                    }
                    skb.timestamp();
                    batch.join(padded, skb);
                    if more && !blocked() {
                        **waiting = Some(batch);
                    } else {
                        batch.send(dev, attached, open, queue);
                    }
                    return Ok(());
                }
                batch.send(dev, attached, open, queue);
            }
        }

        if total + attached.alignment() < size {
            let Some(section) = send.take(open.napi().index) else {
                dev.counters.tx_send_full.inc();
                return in_place(dev, open, queue, header.finish(len, 0), skb);
            };
            // With those that will follow: only if nothing will stop the queue before.
            let waits = more && !blocked() && Attached::has_room(open);
            let (used, padding) = if waits { (padded, padding) } else { (total, 0) };
            // CAST: Less than the alignment.
            let head = header.finish(len, padding as u32);

            if copy(send, section, 0, head, &skb, padding).is_err() {
                send.give(section);
                return Err(Refused::Dropped(skb, DropReason::NOT_SPECIFIED));
            }
            skb.timestamp();
            let batch = Batch::new(section, used, skb);
            if let Some(waiting) = waiting.as_mut().filter(|_| waits) {
                **waiting = Some(batch);
                return Ok(());
            }
            return batch.post(open, queue).map_err(|(error, batch)| {
                send.give(section);
                refused(error, batch.into_skb())
            });
        }
    }
    in_place(dev, open, queue, header.finish(len, 0), skb)
}

/// Copies a message to a section, from `at` on.
#[inline]
fn copy(
    send: &SendBuffer,
    section: u32,
    at: usize,
    header: &[u8],
    skb: &TxSkb,
    padding: usize,
) -> Result {
    const ZEROES: [u8; MAX_ALIGNMENT] = [0; MAX_ALIGNMENT];

    send.section(section, at, header.len())?
        .copy_from_slice(header);
    let at = at + header.len();
    skb.copy_to(send.section(section, at, skb.len())?)?;
    if let Some(zeroes) = ZEROES.get(..padding).filter(|zeroes| !zeroes.is_empty()) {
        send.section(section, at + skb.len(), padding)?
            .copy_from_slice(zeroes);
    }
    Ok(())
}

/// Sends a frame from where it is, with a header in memory of the queue's.
fn in_place(
    dev: &Device<Nic>,
    open: &OpenQueue,
    queue: Option<&TxQueue<'_>>,
    header: &[u8],
    mut skb: TxSkb,
) -> Result<(), Refused> {
    if pages(&skb) > MAX_PAGES {
        dev.counters.tx_scattered.inc();
        if skb.linearize().is_err() {
            dev.counters.tx_no_memory.inc();
            return Err(Refused::Dropped(skb, DropReason::NO_MEMORY));
        }
        if pages(&skb) > MAX_PAGES {
            dev.counters.tx_too_big.inc();
            return Err(Refused::Dropped(skb, DropReason::PKT_TOO_BIG));
        }
    }
    let Some(slot) = Lent::take(&open.napi().headers) else {
        return Err(Refused::Full(skb));
    };
    if slot.write(header).is_err() {
        return Err(Refused::Dropped(skb, DropReason::NOT_SPECIFIED));
    }

    skb.timestamp();
    let shape = Shape {
        ranges: 1 + skb.segments().count(),
        // CAST: A small number.
        pages: 1 + pages(&skb) as usize,
        payload: nvsp::MESSAGE,
    };
    let mut packet = match open.session.writer().reserve(shape) {
        Ok(packet) => packet,
        Err(error) => return Err(refused(error, skb)),
    };
    let (page, offset) = slot.place();
    // CAST: At most `MAX_HEADER`.
    let mut built = packet.range(offset, header.len() as u32, [page]);
    for segment in skb.segments() {
        let offset = segment.phys % PAGE;
        let first = segment.phys / PAGE;
        let count = (offset + u64::from(segment.len)).div_ceil(PAGE);

        // CAST: Less than a page.
        built = built.and_then(|()| packet.range(offset as u32, segment.len, first..first + count));
    }
    let message = nvsp::Message::rndis(false, nvsp::NO_SECTION, 0);
    if let Err(error) = built.and_then(|()| packet.payload(message.bytes())) {
        return Err(refused(error, skb));
    }

    trace::nvsp_send_pkt(&open.session, &packet, &message);
    // CAST: A frame has less than 2^31 bytes.
    let bytes = skb.len() as u32;
    // Before the host can complete it.
    let sent = queue.map(|queue| queue.sent(bytes));
    packet.commit(
        Pending::Frame(Frame {
            skb,
            section: nvsp::NO_SECTION,
            _header: Some(slot),
            packets: 1,
            bytes,
            sent,
        }),
        true,
    );
    Ok(())
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
