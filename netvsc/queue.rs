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
    nic::Nic,
    nvsp,
    receive::{
        self,
        Receiver, //
    },
    trace, //
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
        rcu,
        Arc,
        SpinLock, //
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
    pub(crate) batch: SpinLock<Option<Batch>>,
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
            batch <- new_spinlock!(None, "hv_netvsc::Queue::batch"),
            headers,
        }))
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
    let mut done = queue_of_stack.map(|queue| queue.completions());
    let mut completions = 0;
    let mut again = !state.complete_late(dev, writer);

    while !again {
        if budget.is_used() || completions >= COMPLETIONS {
            again = true;
            break;
        }
        match reader.next() {
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
                completed(dev, attached, queue, request, payload, &mut done, budget);
            }
            Ok(Some(Incoming::Data { payload, .. })) => {
                completions += 1;
                trace::nvsp_recv(dev, &open.session, payload);
                if let Some(table) = nvsp::send_table(attached.version(), payload) {
                    dev.send_table.set(&table);
                    dev.send_table.translate(attached);
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

    // Counted before the queue is woken.
    drop(done);
    if let Some(queue_of_stack) = queue_of_stack {
        // The host may have made room without completing anything.
        attached.wake(dev, &queue_of_stack, open);
    }
    writer.flush();

    again
}

/// The host has completed what we sent.
fn completed(
    dev: &Device<Nic>,
    attached: &Attached,
    queue: &Queue,
    request: Pending,
    payload: &[u8],
    done: &mut Option<Completions<'_>>,
    budget: &Budget,
) {
    match request {
        Pending::Exchange(number) => {
            attached.answers.exchanged(number, payload);
            attached.notify();
        }
        Pending::Control { slot, id } => {
            attached.answers.delivered(id, nvsp::completed(payload));
            drop(slot);
            attached.notify();
        }
        Pending::Frame(frame) => {
            if nvsp::completed(payload) != Some(nvsp::SUCCESS) && net::ratelimit() {
                dev_err!(dev.hv(), "the host could not send a frame\n");
            }
            if let Some(send) = attached
                .send
                .as_ref()
                .filter(|_| frame.section != nvsp::NO_SECTION)
            {
                send.give(frame.section);
            }
            if let Some(stats) = dev.queue_stats(queue.index) {
                stats.tx_packets.add(frame.packets.into());
                stats.tx_bytes.add(frame.bytes.into());
            }
            if let (Some(done), Some(sent)) = (done, frame.sent) {
                done.add(sent);
            }
            frame.skb.consume_polled(budget);
        }
    }
}
