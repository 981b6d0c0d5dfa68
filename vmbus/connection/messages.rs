// SPDX-License-Identifier: GPL-2.0

//! What becomes of the control messages of the host.
//!
//! Offers and rescinds are handled by a work item, in the order in which they came. Between the
//! interrupt and it is a queue of fixed size; when that is full, messages stay where the
//! hypervisor has put them, and it keeps what follows. Answers are handed to who waits for them at
//! once.
//!
//! C source: [`drivers/hv/vmbus_drv.c`](srctree/drivers/hv/vmbus_drv.c), `__vmbus_on_msg_dpc()`

use super::{
    current,
    Connection, //
};
use crate::{
    hw,
    lifecycle,
    log::warn_limited,
    message::{
        self,
        kind,
        Header, //
    },
    offer,
    request::{
        Answer,
        Subject, //
    },
    trace, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Acquire,
        Arc,
        ArcBorrow, //
    },
    workqueue::WorkItem, //
};

/// Messages that wait for the work item.
const QUEUED: usize = 64;

/// The result of looking at a message.
#[derive(PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    /// There is no room now: the message has to stay where it is until
    /// [`hw::interrupt::rescan`] looks again.
    No,
}

/// A control message that waits.
#[derive(Clone, Copy)]
struct Message {
    payload: [u8; message::MAX_SIZE],
    len: u8,
}

/// Control messages that wait, in order.
pub(super) struct Backlog {
    messages: KVec<Message>,
    first: usize,
    count: usize,
    /// A processor on which a message has stayed in its slot.
    stalled: Option<u32>,
}

impl Backlog {
    /// Makes an empty one. May sleep.
    pub(super) fn new() -> Result<Self> {
        let mut messages = KVec::with_capacity(QUEUED, GFP_KERNEL)?;
        let empty = Message {
            payload: [0; message::MAX_SIZE],
            len: 0,
        };

        for _ in 0..QUEUED {
            messages.push(empty, GFP_KERNEL)?;
        }
        Ok(Self {
            messages,
            first: 0,
            count: 0,
            stalled: None,
        })
    }

    fn push(&mut self, payload: &[u8]) -> Taken {
        let place = (self.first + self.count) % QUEUED;
        let Some(message) = self.messages.get_mut(place).filter(|_| self.count < QUEUED) else {
            return Taken::No;
        };

        for (to, from) in message.payload.iter_mut().zip(payload) {
            *to = *from;
        }
        // There are 240 bytes at most.
        message.len = payload.len().min(message::MAX_SIZE) as u8;
        self.count += 1;
        Taken::Yes
    }

    fn pop(&mut self) -> Option<Message> {
        if self.count == 0 {
            return None;
        }
        let message = *self.messages.get(self.first)?;

        self.first = (self.first + 1) % QUEUED;
        self.count -= 1;
        Some(message)
    }
}

impl Connection {
    /// Handles a message of the host. Softirq context.
    fn on_message(self: ArcBorrow<'_, Self>, cpu: u32, payload: &[u8]) -> Taken {
        let Ok(header) = message::parse::<Header>(payload) else {
            warn_limited!("the host has sent a message of {} bytes\n", payload.len());
            return Taken::Yes;
        };
        trace::on_message(&header);

        match header.kind {
            kind::OFFER | kind::RESCIND | kind::ALL_OFFERS_DELIVERED => {
                let mut backlog = self.backlog.lock();
                let taken = backlog.push(payload);
                if taken == Taken::No {
                    backlog.stalled = Some(cpu);
                }
                drop(backlog);
                let _ = self.control.enqueue::<_, 0>(Arc::from(self));
                return taken;
            }
            kind if kind == 0 || kind >= message::kind::COUNT => {
                warn_limited!("the host has sent a message of the unknown type {}\n", kind);
            }
            kind => {
                if self.on_answer(kind, payload).is_err() {
                    warn_limited!(
                        "the host has sent a message of type {} that is too short\n",
                        kind
                    );
                }
            }
        }
        Taken::Yes
    }

    /// Hands on an answer of the host.
    fn on_answer(&self, kind: u32, payload: &[u8]) -> Result {
        let (subject, answer) = match kind {
            kind::VERSION_RESPONSE => {
                let message: message::VersionResponse = message::parse(payload)?;
                trace::on_version_response(&message);
                let answer = Answer::Version {
                    supported: message.supported != 0,
                    connection_id: message.connection_id,
                };
                (Subject::Version, answer)
            }
            kind::OPEN_RESULT => {
                let message: message::OpenResult = message::parse(payload)?;
                trace::on_open_result(&message);
                let subject = Subject::Open {
                    relid: message.relid,
                    open_id: message.open_id,
                };
                (subject, Answer::Status(message.status))
            }
            kind::GPADL_CREATED => {
                let message: message::GpadlCreated = message::parse(payload)?;
                trace::on_gpadl_created(&message);
                let subject = Subject::GpadlCreated {
                    relid: message.relid,
                    gpadl: message.gpadl,
                };
                (subject, Answer::Status(message.status))
            }
            kind::GPADL_TORNDOWN => {
                let message: message::GpadlTorndown = message::parse(payload)?;
                trace::on_gpadl_torndown(&message);
                (
                    Subject::GpadlTorndown {
                        gpadl: message.gpadl,
                    },
                    Answer::Done,
                )
            }
            kind::MODIFY_RESPONSE => {
                let message: message::ModifyResponse = message::parse(payload)?;
                trace::on_modify_response(&message);
                (
                    Subject::Modify {
                        relid: message.relid,
                    },
                    Answer::Status(message.status),
                )
            }
            kind::UNLOAD_RESPONSE => (Subject::Unload, Answer::Done),
            // Known, but nothing that a guest expects.
            _ => return Ok(()),
        };

        self.requests.answer(subject, answer);
        Ok(())
    }
}

/// Handles a message of the host, which is a private copy. Softirq context.
pub(crate) fn on_message(cpu: u32, payload: &[u8]) -> Taken {
    match current() {
        Some(connection) => connection.as_arc_borrow().on_message(cpu, payload),
        None => Taken::Yes,
    }
}

impl WorkItem for Connection {
    type Pointer = Arc<Connection>;

    fn run(this: Arc<Connection>) {
        loop {
            let mut backlog = this.backlog.lock();
            let message = backlog.pop();
            let stalled = backlog.stalled.take();
            drop(backlog);

            if let Some(cpu) = stalled {
                hw::interrupt::rescan(cpu);
            }
            let Some(message) = message else { break };
            let payload = message
                .payload
                .get(..usize::from(message.len))
                .unwrap_or(&[]);
            if this.handle(payload).is_err() {
                warn_limited!("the host has sent an offer or a rescind that is too short\n");
            }
        }
    }
}

impl Connection {
    /// Handles a message in its turn. May sleep.
    fn handle(self: &Arc<Self>, payload: &[u8]) -> Result {
        match message::parse::<Header>(payload)?.kind {
            kind::OFFER => {
                let offer = message::parse(payload)?;
                if !self.ignore_offers.load(Acquire) && !self.unloaded.load(Acquire) {
                    offer::received(self, &offer);
                }
            }
            kind::RESCIND => lifecycle::rescinded(self, &message::parse(payload)?),
            _ => self.all_offers_delivered.complete_all(),
        }
        Ok(())
    }
}
