// SPDX-License-Identifier: GPL-2.0

//! A channel as a pair of queues: what is in flight on it, and the poll function, which receives
//! frames, completions and news.

use crate::{
    attached::Attached,
    batch::Batch,
    lent::{
        Lent,
        Slot, //
    },
    nic::{
        Nic,
        QueueStats, //
    },
    nvsp,
    receive::{
        self,
        Receiver, //
    },
    trace,
    transmit::Sender,
    vf, //
};
use kernel::{
    dev_err,
    net::{
        self,
        napi::{
            Budget,
            Napi,
            Poll,
            Polled,
            Polling, //
        },
        skb::{
            DropReason,
            TxSkb, //
        },
        Completions,
        Device,
        Sent, //
    },
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc,
        SpinLock,
        SpinLockGuard, //
    },
    vmbus::{
        self,
        Incoming,
        Reader,
        SubChannel, //
    }, //
};

/// Requests in flight on a channel, at most.
pub(crate) const REQUESTS: usize = 2048;

/// Frames that stay where they are, in flight on a channel, at most.
const HEADERS: usize = 256;

/// Bytes of the memory for such a frame's header: never across a page.
const HEADER: usize = 128;

/// Completions and news that one poll takes; they do not count as frames.
const COMPLETIONS: u32 = 512;

/// A channel's open session.
pub(crate) type Session = vmbus::Session<Waker>;

/// What the host has not completed.
pub(crate) enum Pending {
    /// An NVSP question.
    Exchange(u32),
    /// One for a path of frames.
    Switch(u32),
    /// An RNDIS message of the control kind, and the memory that it is in.
    Control { slot: Slot, id: u32 },
    /// Frames.
    Frame(Frame),
}

/// Frames that were sent in one packet.
pub(crate) struct Frame {
    pub(crate) skb: TxSkb,
    /// The section of the send buffer, or [`nvsp::NO_SECTION`].
    pub(crate) section: u32,
    /// The memory of the header, if it is not in a section. Given back with this.
    pub(crate) _header: Option<Slot>,
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
    /// What is counted for the queue of the stack that they were in.
    pub(crate) sent: Option<Sent>,
}

impl vmbus::Request for Pending {
    fn cancelled(self) {
        if let Self::Frame(frame) = self {
            frame.skb.drop_reason(DropReason::DEV_READY);
        }
    }
}

/// The handler of a channel's session: it has the queues polled.
pub(crate) struct Waker(pub(crate) Arc<Napi<Queue>>);

impl vmbus::Handler for Waker {
    type Request = Pending;

    fn wake(&self) {
        self.0.schedule();
    }

    fn sub_channel(&self, offer: SubChannel<'_>) {
        let dev = self.0.device();

        if let Some(attached) = dev.attached.get() {
            attached.open_sub_channel(dev, offer);
        }
    }
}

/// A pair of queues. The guest numbers them: in the order in which channels were opened.
#[pin_data]
pub(crate) struct Queue {
    pub(crate) index: u16,
    /// Frames that wait for others to share a section with.
    #[pin]
    waiting: SpinLock<Option<Batch>>,
    /// Whether there are any. Who has left them there sees it, and so does whoever has the stack's
    /// queue after that.
    waits: Atomic<bool>,
    /// The headers of frames that stay where they are.
    pub(crate) headers: Arc<Lent>,
}

impl Queue {
    pub(crate) fn new(
        dev: &kernel::device::Device<kernel::device::Bound>,
        index: u16,
    ) -> Result<impl PinInit<Self>> {
        let headers = Lent::new(dev, HEADER, HEADERS)?;

        Ok(pin_init!(Self {
            index,
            waiting <- new_spinlock!(None, "hv_netvsc::Queue::waiting"),
            waits: Atomic::new(false),
            headers,
        }))
    }

    /// The frames that wait, in hand, if there are any. Softirq or process context.
    #[inline]
    pub(crate) fn waiting(&self) -> Option<Waiting<'_>> {
        if !self.waits.load(Relaxed) {
            return None;
        }
        // Otherwise somebody else has them in hand.
        Some(Waiting {
            place: self.waiting.try_lock()?,
            waits: &self.waits,
        })
    }

    /// Has frames wait; gives them back if there are others. Softirq or process context.
    pub(crate) fn wait(&self, batch: Batch) -> Result<(), Batch> {
        match self.waiting.try_lock() {
            Some(mut waiting) if waiting.is_none() => {
                *waiting = Some(batch);
                self.waits.store(true, Relaxed);
                Ok(())
            }
            _ => Err(batch),
        }
    }
}

/// Frames that wait, in hand: nobody else takes them, or has others wait.
pub(crate) struct Waiting<'a> {
    place: SpinLockGuard<'a, Option<Batch>>,
    waits: &'a Atomic<bool>,
}

impl Waiting<'_> {
    #[inline]
    pub(crate) fn batch(&mut self) -> Option<&mut Batch> {
        (*self.place).as_mut()
    }

    /// They do not wait any more.
    #[inline]
    pub(crate) fn take(mut self) -> Option<Batch> {
        self.waits.store(false, Relaxed);
        self.place.take()
    }

    /// Sends them. Returns whether the queue is to be stopped.
    pub(crate) fn send(self, on: &Sender<'_>, more: bool) -> bool {
        self.take().is_some_and(|batch| batch.send(on, more))
    }
}

impl Poll for Queue {
    type Device = Nic;
    type State = Receiver;

    fn poll<'a>(this: &'a Napi<Self>, mut polling: Polling<'a, Self>) -> Polled<'a> {
        let guard = rcu::read_lock();
        let dev = this.device();

        // Netpoll, which must not receive. What was sent is completed by the next poll.
        if polling.parts().1.is_used() {
            return polling.again();
        }
        // None while the first channel is being opened; who opens it schedules us again.
        let Some(attached) = dev.attached.load(&guard) else {
            return polling.complete().0;
        };
        let Some(open) = attached.queue(this.index).filter(|open| open.is(this)) else {
            return polling.complete().0;
        };
        let program = dev.program.load(&guard);
        let on = receive::Polled {
            dev,
            attached: &attached,
            open,
            queue: this.index,
            program: program.as_ref().map(|program| &***program),
        };

        poll(&on, polling)
    }
}

fn poll<'a>(on: &receive::Polled<'_>, mut polling: Polling<'a, Queue>) -> Polled<'a> {
    // Somebody is closing the session, or still ends the poll before this one, and polls again.
    let Some(mut reader) = on.open.session.reader() else {
        return polling.complete().0;
    };
    let (state, budget) = polling.parts();

    if work(on, &mut reader, state, budget) {
        return polling.again();
    }
    // First this: an interrupt that comes as soon as they are allowed has to be able to schedule
    // the next poll.
    let (polled, idle) = polling.complete();
    if idle && reader.finish() == Ok(true) {
        on.open.napi().schedule();
    }
    polled
}

/// Does what a poll does. Returns whether there is more to do.
#[inline]
fn work(
    on: &receive::Polled<'_>,
    reader: &mut Reader<'_, Pending>,
    state: &mut Receiver,
    budget: &mut Budget,
) -> bool {
    let receive::Polled {
        dev,
        attached,
        open,
        ..
    } = *on;
    let writer = open.session.writer();
    let queue: &Queue = open.napi();
    let queue_of_stack = dev.tx_queue(queue.index);
    let mut done = Done {
        completions: queue_of_stack.map(|queue| queue.completions()),
        packets: 0,
        bytes: 0,
    };
    let mut completions = 0;
    let mut again = !state.complete_late(dev, writer);

    while !again {
        if budget.is_used() || completions >= COMPLETIONS {
            again = true;
            break;
        }
        match reader.next_in_place() {
            Ok(Some(Incoming::TransferPages {
                owed,
                pageset,
                ranges,
                payload,
            })) => {
                trace::nvsp_recv(dev, &open.session, payload);
                let status = if pageset == nvsp::RECEIVE_BUFFER_ID && nvsp::is_rndis(payload) {
                    state.receive(on, ranges, budget)
                } else {
                    nvsp::FAIL
                };
                again = !state.complete(dev, writer, owed, status);
            }
            Ok(Some(Incoming::Completion { request, payload })) => {
                completions += 1;
                trace::nvsp_recv(dev, &open.session, payload);
                match request.into_inner() {
                    Pending::Frame(frame) => {
                        if nvsp::completed(payload) != Some(nvsp::SUCCESS) {
                            failed(dev);
                        }
                        done.frame(attached, frame, budget);
                    }
                    Pending::Exchange(number) => exchanged(attached, number, payload),
                    Pending::Switch(path) => vf::answered(dev, attached, path),
                    Pending::Control { slot, id } => delivered(attached, slot, id, payload),
                }
            }
            Ok(Some(Incoming::Data { payload, .. })) => {
                completions += 1;
                trace::nvsp_recv(dev, &open.session, payload);
                if let Some(table) = nvsp::send_table(attached.version(), payload) {
                    dev.send_table.set(&table);
                    dev.send_table.translate(attached);
                } else if let Some((allocated, serial)) = nvsp::vf_association(payload) {
                    vf::associated(dev, allocated, serial);
                }
            }
            Ok(Some(Incoming::Owed { owed, .. })) => {
                completions += 1;
                // Nothing that a host of this protocol does, but it waits.
                again = !state.complete(dev, writer, owed, nvsp::FAIL);
            }
            Ok(Some(Incoming::Other { .. })) => completions += 1,
            Ok(None) => break,
            Err(_) => {
                if net::ratelimit() {
                    dev_err!(dev.hv(), "the host has spoilt a ring\n");
                }
                break;
            }
        }
    }

    // Before the queue is woken.
    done.count(dev.queue_stats(queue.index));
    if let Some(queue_of_stack) = queue_of_stack {
        // The host may have made room without completing anything.
        attached.wake(dev, &queue_of_stack, open);
    }
    writer.flush();

    again
}

/// What a poll has found to be sent.
struct Done<'a> {
    /// For the queue of the stack.
    completions: Option<Completions<'a>>,
    packets: u64,
    bytes: u64,
}

impl Done<'_> {
    /// The host has completed frames.
    #[inline]
    fn frame(&mut self, attached: &Attached, frame: Frame, budget: &Budget) {
        if frame.section != nvsp::NO_SECTION {
            if let Some(send) = attached.send.as_ref() {
                send.give(frame.section);
            }
        }
        // Neither gets far in one poll.
        self.packets = self.packets.wrapping_add(frame.packets.into());
        self.bytes = self.bytes.wrapping_add(frame.bytes.into());
        if let (Some(completions), Some(sent)) = (&mut self.completions, frame.sent) {
            completions.add(sent);
        }
        frame.skb.consume_polled(budget);
    }

    /// Counts all of it.
    #[inline]
    fn count(self, stats: Option<&QueueStats>) {
        if let Some(stats) = stats.filter(|_| self.packets != 0) {
            stats.tx_packets.add(self.packets);
            stats.tx_bytes.add(self.bytes);
        }
    }
}

/// The host has answered a question.
#[cold]
fn exchanged(attached: &Attached, number: u32, answer: &[u8]) {
    attached.answers.exchanged(number, answer);
    attached.notify();
}

/// The host has what it was told, and does not need the memory any more.
#[cold]
fn delivered(attached: &Attached, slot: Slot, id: u32, answer: &[u8]) {
    attached.answers.delivered(id, nvsp::completed(answer));
    drop(slot);
    attached.notify();
}

/// The host says that it has not sent a frame.
#[cold]
fn failed(dev: &Device<Nic>) {
    if net::ratelimit() {
        dev_err!(dev.hv(), "the host could not send a frame\n");
    }
}
