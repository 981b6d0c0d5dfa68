// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for an answer of the host.
//!
//! Every wait has a deadline, and ends when the channel is rescinded. An answer is matched by what
//! it is about; one that nobody waits for (any more) is counted and dropped.

use crate::{
    channel::Channel,
    log::warn_limited, //
};
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        Completion,
        SpinLockIrq, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    }, //
};

/// How long the host may take to answer, in milliseconds. Busy hosts are slow: Azure has been seen
/// to take half a minute.
pub(crate) const DEADLINE: Msecs = 60_000;

/// What an answer is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Version,
    Open { relid: u32, open_id: u32 },
    GpadlCreated { relid: u32, gpadl: u32 },
    GpadlTorndown { gpadl: u32 },
    Modify { relid: u32 },
    Unload,
}

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Version {
        supported: bool,
        connection_id: u32,
    },
    /// 0 is success; what else it means depends on the subject.
    Status(u32),
    Done,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The channel was taken back: the host does not touch anything of it any more.
    Rescinded,
    /// The deadline has passed; what the host will do is not known.
    TimedOut,
}

impl From<NoAnswer> for Error {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::Rescinded => ENODEV,
            NoAnswer::TimedOut => ETIMEDOUT,
        }
    }
}

#[pin_data]
struct Request {
    subject: Subject,
    /// The address of the channel that it is about, only for comparing; 0 if there is none.
    channel: usize,
    #[pin]
    outcome: SpinLockIrq<Option<Result<Answer, NoAnswer>>>,
    #[pin]
    done: Completion,
}

impl Request {
    fn finish(&self, outcome: Result<Answer, NoAnswer>) {
        *self.outcome.lock() = Some(outcome);
        self.done.complete_all();
    }
}

/// All requests under way.
#[pin_data]
pub(crate) struct Requests {
    #[pin]
    waiting: SpinLockIrq<KVec<Arc<Request>>>,
}

/// A request that can be answered from now on. Dropping it gives it up.
pub(crate) struct Pending<'a> {
    all: &'a Requests,
    request: Arc<Request>,
}

impl Requests {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiting <- new_spinlock_irq!(KVec::new(), "Requests::waiting"),
        })
    }

    /// Registers a request, before its message is sent.
    ///
    /// Returns [`EBUSY`] if one on the same subject waits already, [`ENODEV`] if the channel is
    /// rescinded, and [`ENOMEM`]. Process context, may sleep.
    pub(crate) fn begin(&self, subject: Subject, channel: Option<&Channel>) -> Result<Pending<'_>> {
        let request = Arc::pin_init(
            pin_init!(Request {
                subject,
                channel: channel.map_or(0, |channel| channel.as_raw() as usize),
                outcome <- new_spinlock_irq!(None, "Request::outcome"),
                done <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        let mut waiting = self.waiting.lock();

        if waiting.iter().any(|other| other.subject == subject) {
            return Err(EBUSY);
        }
        // Whoever marks a channel as rescinded wakes its requests afterwards, under this lock: it
        // either finds this one, or we see the mark.
        if channel.is_some_and(|channel| channel.is_rescinded()) {
            return Err(ENODEV);
        }
        waiting.push(request.clone(), GFP_ATOMIC)?;
        drop(waiting);
        Ok(Pending { all: self, request })
    }

    /// Hands an answer of the host to who waits for it. Any context.
    pub(crate) fn answer(&self, subject: Subject, answer: Answer) {
        if let Some(request) = self.take(|request| request.subject == subject) {
            request.finish(Ok(answer));
        } else {
            warn_limited!("the host has answered what nobody waits for\n");
        }
    }

    /// Ends all waits for answers about this channel, which is marked as rescinded. Any context.
    pub(crate) fn rescinded(&self, channel: &Channel) {
        let channel = channel.as_raw() as usize;

        while let Some(request) = self.take(|request| request.channel == channel) {
            request.finish(Err(NoAnswer::Rescinded));
        }
    }

    fn take(&self, wanted: impl Fn(&Request) -> bool) -> Option<Arc<Request>> {
        let mut waiting = self.waiting.lock();
        let index = waiting.iter().position(|request| wanted(request))?;

        waiting.remove(index).ok()
    }
}

impl Pending<'_> {
    /// Waits for the answer, for [`DEADLINE`] at most. May sleep.
    pub(crate) fn wait(self) -> Result<Answer, NoAnswer> {
        self.wait_for(DEADLINE)
    }

    /// Waits for the answer. May sleep.
    pub(crate) fn wait_for(self, deadline: Msecs) -> Result<Answer, NoAnswer> {
        // The outcome says what happened, also if it came at the last moment.
        let _ = self
            .request
            .done
            .wait_for_completion_timeout(msecs_to_jiffies(deadline));
        let outcome = *self.request.outcome.lock();

        outcome.unwrap_or(Err(NoAnswer::TimedOut))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let request = self.all.take(|other| core::ptr::eq(other, &*self.request));

        // What is freed may not be freed under the lock, which `take()` has left.
        drop(request);
    }
}
