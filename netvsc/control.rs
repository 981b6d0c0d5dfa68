// SPDX-License-Identifier: GPL-2.0

//! Questions to the host and its answers, each with a deadline.
//!
//! Answers come in the poll function, on any channel. An NVSP answer completes the packet of its
//! question. An RNDIS answer is a message of its own, which says the id of its question; one that
//! nobody waits for any more is counted, and that is all.

use crate::{
    lent::{
        Lent,
        Slot, //
    },
    nvsp,
    queue::{
        Pending,
        Session, //
    },
    rndis::{
        self,
        Request, //
    },
    trace, //
};
use kernel::{
    alloc::KVec,
    io::{
        io_project,
        Io,
        SysMem, //
    },
    net::stats::Counter,
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    },
    time::Delta,
    vmbus::Shape, //
};

/// How long the host may take to answer. It can be slow.
const PATIENCE: Delta = Delta::from_secs(60);

/// Bytes of the longest control message, in each direction.
pub(crate) const LONGEST: usize = 4096;

/// Control messages on their way at the same time: a page each.
pub(crate) const MESSAGES: usize = 4;

/// Bytes of the longest NVSP answer that means something.
const REPLY: usize = 64;

/// An NVSP answer.
#[derive(Clone, Copy)]
pub(crate) struct Reply {
    bytes: [u8; REPLY],
    len: usize,
}

impl Reply {
    /// Copies an answer, as far as there is one.
    fn new(payload: &[u8]) -> Self {
        let mut this = Self {
            bytes: [0; REPLY],
            len: 0,
        };

        for (place, byte) in this.bytes.iter_mut().zip(payload) {
            *place = *byte;
            this.len += 1;
        }
        this
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// An RNDIS question that somebody waits for the answer of.
struct Waiting {
    id: u32,
    /// The type of the answer.
    kind: u32,
    /// Has room for the longest answer.
    answer: KVec<u8>,
    outcome: Option<Result>,
}

struct Inner {
    /// Counts NVSP questions; the number of the last.
    exchange: u32,
    reply: Option<Reply>,
    /// The id of the last RNDIS question.
    id: u32,
    waiting: KVec<Waiting>,
}

/// Tells the host something that it does not answer. Any context.
pub(crate) fn tell(session: &Session, message: &nvsp::Message) -> Result {
    trace::nvsp_send(session, message);
    session.writer().send(message.bytes())
}

/// Who waits for what.
#[pin_data]
pub(crate) struct Answers {
    #[pin]
    inner: SpinLockIrq<Inner>,
    messages: Arc<Lent>,
    /// Answers that nobody waits for.
    pub(crate) stray: Counter,
}

impl Answers {
    pub(crate) fn new(messages: Arc<Lent>) -> Result<impl PinInit<Self>> {
        let waiting = KVec::with_capacity(MESSAGES, GFP_KERNEL)?;

        Ok(pin_init!(Self {
            inner <- new_spinlock_irq!(Inner {
                exchange: 0,
                reply: None,
                id: 0,
                waiting,
            }),
            messages,
            stray: Counter::new(),
        }))
    }

    /// Asks an NVSP question, and waits for the answer. One at a time: RTNL is held, or nobody else
    /// knows of the session. Sleeps.
    pub(crate) fn exchange(&self, session: &Session, message: &nvsp::Message) -> Result<Reply> {
        let number = {
            let mut inner = self.inner.lock();

            inner.exchange = inner.exchange.wrapping_add(1);
            inner.reply = None;
            inner.exchange
        };

        // There is room: nothing but control messages is on its way, or what is will be completed.
        let mut request = Some(Pending::Exchange(number));
        let mut error = None;
        session.wait(PATIENCE, || {
            let Some(pending) = request.take() else {
                return true;
            };
            trace::nvsp_send(session, message);
            match session.writer().request(message.bytes(), pending) {
                Ok(()) => true,
                Err((EAGAIN, pending)) => {
                    request = Some(pending);
                    false
                }
                Err((why, _)) => {
                    error = Some(why);
                    true
                }
            }
        })?;
        if let Some(error) = error {
            return Err(error);
        }
        session.wait(PATIENCE, || self.inner.lock().reply.is_some())?;
        self.inner.lock().reply.take().ok_or(EIO)
    }

    /// The host has answered an NVSP question.
    pub(crate) fn exchanged(&self, number: u32, payload: &[u8]) {
        let reply = Reply::new(payload);
        let mut inner = self.inner.lock();

        // An old one is late.
        if inner.exchange == number {
            inner.reply = Some(reply);
        }
    }

    /// Sends an RNDIS message and waits for its answer: all of it, with the header. Sleeps.
    ///
    /// [`EIO`] if the host says that it could not deliver the message.
    pub(crate) fn ask(&self, session: &Session, request: Request<'_>) -> Result<KVec<u8>> {
        let kind = request.answer().ok_or(EINVAL)?;
        let mut answer = Some(KVec::with_capacity(LONGEST, GFP_KERNEL)?);
        let mut id = 0;

        // The table is never larger than it was made.
        session.wait(PATIENCE, || {
            let mut inner = self.inner.lock();
            if inner.waiting.len() >= MESSAGES {
                return false;
            }
            let Some(answer) = answer.take() else {
                return true;
            };
            id = inner.id.wrapping_add(1);
            inner.id = id;
            inner
                .waiting
                .push_within_capacity(Waiting {
                    id,
                    kind,
                    answer,
                    outcome: None,
                })
                .is_ok()
        })?;

        let sent = request
            .message(id)
            .and_then(|message| self.send(session, &message, id));
        let done = sent.and_then(|()| {
            session.wait(PATIENCE, || {
                let inner = self.inner.lock();

                inner
                    .waiting
                    .iter()
                    .any(|waiting| waiting.id == id && waiting.outcome.is_some())
            })
        });

        let waiting = {
            let mut inner = self.inner.lock();
            let at = inner.waiting.iter().position(|waiting| waiting.id == id);

            at.and_then(|at| inner.waiting.remove(at).ok())
        };
        // Others may wait for a place in the table.
        session.notify();
        done?;
        let waiting = waiting.ok_or(EIO)?;
        waiting.outcome.unwrap_or(Err(EIO))?;
        Ok(waiting.answer)
    }

    /// Asks the card about something. Sleeps.
    #[inline(never)]
    pub(crate) fn query(
        &self,
        session: &Session,
        oid: rndis::Oid,
        data: &[u8],
    ) -> Result<KVec<u8>> {
        self.ask(session, Request::Query(oid, data))
    }

    /// Tells the card something, and returns whether it has done it. Sleeps.
    #[inline(never)]
    pub(crate) fn set(&self, session: &Session, oid: rndis::Oid, data: &[u8]) -> Result {
        let answer = self.ask(session, Request::Set(oid, data))?;

        if rndis::succeeded(&answer) {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    /// Sends a message for which there is no answer.
    pub(crate) fn halt(&self, session: &Session) -> Result {
        let message = Request::Halt.message(0)?;

        self.send(session, &message, 0)
    }

    /// Sends a control message from memory that the host reads. Sleeps while there is no room.
    fn send(&self, session: &Session, message: &[u8], id: u32) -> Result {
        let len = u32::try_from(message.len())?;
        let mut slot = None;

        trace::rndis_send(session.handler().0.device(), message);

        // Given back when the host has completed the message, which it does not do at once.
        session.wait(PATIENCE, || {
            slot = Lent::take(&self.messages);
            slot.is_some()
        })?;
        let mut slot = slot;
        slot.as_ref().ok_or(ENOMEM)?.write(message)?;

        let mut result = Err(EAGAIN);
        session.wait(PATIENCE, || {
            let Some(lent) = slot.take() else {
                return true;
            };
            match Self::post(session, lent, len, id) {
                Ok(()) => result = Ok(()),
                Err((EAGAIN, lent)) => {
                    slot = Some(lent);
                    return false;
                }
                Err((error, _)) => result = Err(error),
            }
            true
        })?;
        result
    }

    fn post(session: &Session, slot: Slot, len: u32, id: u32) -> Result<(), (Error, Slot)> {
        let shape = Shape {
            ranges: 1,
            pages: 1,
            payload: nvsp::MESSAGE,
        };
        let (page, offset) = match slot.place() {
            Ok(place) => place,
            Err(error) => return Err((error, slot)),
        };
        let message = nvsp::Message::rndis(true, nvsp::NO_SECTION, 0);

        let mut packet = match session.writer().reserve_seldom(shape) {
            Ok(packet) => packet,
            Err(error) => return Err((error, slot)),
        };
        if let Err(error) = packet
            .range(offset, len, [page])
            .and_then(|()| packet.payload(message.bytes()))
        {
            return Err((error, slot));
        }
        trace::nvsp_send_pkt(session, &packet, &message);
        packet.commit_seldom(Pending::Control { slot, id });
        Ok(())
    }

    /// The host has completed a control message. The answer comes by itself, unless it could not
    /// even deliver the message.
    pub(crate) fn delivered(&self, id: u32, status: Option<u32>) {
        if status == Some(nvsp::SUCCESS) {
            return;
        }
        let mut inner = self.inner.lock();

        if let Some(waiting) = inner.waiting.iter_mut().find(|waiting| waiting.id == id) {
            waiting.outcome.get_or_insert(Err(EIO));
        }
    }

    /// The host has sent an RNDIS answer: `message` is all of it, in shared memory, and `kind` the
    /// type that was read from it.
    pub(crate) fn answered(&self, kind: u32, message: SysMem<'_, [u8]>) -> Result {
        let mut head = [0; rndis::HEADER + 4];
        let start = io_project!(message, [try: 0..rndis::HEADER + 4]);
        start.copy_to_slice(&mut head);
        let id = rndis::id_of(&head).ok_or(EINVAL)?;
        let len = message.len().min(LONGEST);
        let all = io_project!(message, [try: 0..len]);

        let mut inner = self.inner.lock();
        let Some(waiting) = inner
            .waiting
            .iter_mut()
            .find(|waiting| waiting.id == id && waiting.kind == kind && waiting.outcome.is_none())
        else {
            self.stray.inc();
            return Ok(());
        };
        waiting.answer.clear();
        // There is room: nothing is allocated.
        waiting.answer.resize(len, 0, GFP_NOWAIT)?;
        all.copy_to_slice(&mut waiting.answer);
        waiting.outcome = Some(Ok(()));
        Ok(())
    }
}

#[kernel::macros::kunit_tests(hv_netvsc_control)]
mod tests {
    use super::*;

    // X16: nothing behind a short answer is taken for a part of it.
    #[test]
    fn replies_are_as_long_as_their_packet() {
        let packet = [0xa5; 200];

        for len in [0, 1, 7, 8, 24, REPLY - 1, REPLY, REPLY + 1, packet.len()] {
            let reply = Reply::new(packet.get(..len).unwrap_or_default());

            assert_eq!(reply.bytes().len(), len.min(REPLY));
            assert!(reply.bytes().iter().all(|byte| *byte == 0xa5));
        }
        // Such a one is none to the questions of the handshake.
        let mut bytes = [0; REPLY];
        crate::bytes::put_u32(&mut bytes, 0, 2);
        crate::bytes::put_u32(&mut bytes, 12, nvsp::SUCCESS);
        assert!(nvsp::accepted(Reply::new(&bytes).bytes()));
        assert!(!nvsp::accepted(
            Reply::new(bytes.get(..12).unwrap_or_default()).bytes()
        ));
    }
}
