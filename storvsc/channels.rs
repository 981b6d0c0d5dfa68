// SPDX-License-Identifier: GPL-2.0

//! The channels of a controller: which one a command takes, and who reads them.

use kernel::{
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
    vmbus::{
        self,
        SubChannel, //
    }, //
};

use crate::{
    controller::Controller,
    queue::Request, //
};

pub(crate) type Session = vmbus::Session<Channel>;

/// How long packets are read before other softirqs have their turn.
const TIME_LIMIT: Delta = Delta::from_millis(2);

/// How many packets are read before the time is looked at.
const BATCH: usize = 8;

/// The handler of a channel, which is read in softirq context.
pub(crate) struct Channel {
    controller: Arc<Controller>,
    /// How often there was something to read.
    received: Atomic<u32>,
}

impl Channel {
    pub(crate) fn new(controller: Arc<Controller>) -> Self {
        Self {
            controller,
            received: Atomic::new(0),
        }
    }

    /// How often there was something to read. Any context.
    pub(crate) fn received(&self) -> u32 {
        self.received.load(Relaxed)
    }
}

impl vmbus::Handler for Channel {
    type Request = Request;

    const POLLED: bool = true;

    fn poll(session: &Session) -> bool {
        let Self {
            controller,
            received,
        } = session.handler();
        let Some(mut reader) = session.reader() else {
            return false;
        };
        let mut start = None::<Instant<Monotonic>>;
        let mut left = BATCH;

        // Nobody else writes it.
        received.store(received.load(Relaxed).wrapping_add(1), Relaxed);
        loop {
            match reader.next() {
                Ok(Some(packet)) => controller.receive(session, packet),
                Ok(None) => break,
                Err(_) => {
                    controller.spoilt(session);
                    return false;
                }
            }
            left -= 1;
            if left == 0 {
                match start {
                    // The host stays silent until we are back.
                    Some(start) if start.elapsed() > TIME_LIMIT => return true,
                    Some(_) => {}
                    None => start = Some(Instant::<Monotonic>::now()),
                }
                left = BATCH;
            }
        }
        reader.finish().unwrap_or_else(|_| {
            controller.spoilt(session);
            false
        })
    }

    fn sub_channel(&self, offer: SubChannel<'_>) {
        self.controller.add_sub_channel(offer);
    }

    fn target_cpu_changed(&self, _old: CpuId, _new: CpuId) {
        self.controller.channels_moved();
    }
}

/// One of the channels, and where the memory of its processor is.
struct Member {
    session: Arc<Session>,
    node: i32,
}

/// The open channels at one time, and the table of which processor uses which.
///
/// It never changes: another takes its place.
pub(crate) struct Channels {
    members: KVec<Member>,
    /// For each processor an index of `members`.
    by_cpu: KVec<u16>,
}

impl Channels {
    /// Makes the table: a processor uses the channel whose interrupts it gets; if there is none,
    /// one of those of its memory node, where the processors take turns; otherwise the primary.
    pub(crate) fn new(sessions: &[Arc<Session>]) -> Result<Arc<Self>> {
        let mut members = KVec::with_capacity(sessions.len(), GFP_KERNEL)?;
        let mut by_cpu = KVec::new();

        for session in sessions {
            let member = Member {
                session: session.clone(),
                node: session.target_cpu().node(),
            };
            members.push(member, GFP_KERNEL)?;
        }
        for cpu in (0..nr_cpu_ids()).filter_map(CpuId::from_u32) {
            let own = sessions
                .iter()
                .position(|session| session.target_cpu().as_u32() == cpu.as_u32());
            let index = match own {
                Some(index) => index,
                None => Self::near(&members, cpu),
            };
            by_cpu.push(u16::try_from(index)?, GFP_KERNEL)?;
        }
        Ok(Arc::new(Self { members, by_cpu }, GFP_KERNEL)?)
    }

    fn near(members: &[Member], cpu: CpuId) -> usize {
        let node = cpu.node();
        let near = || {
            members
                .iter()
                .enumerate()
                .filter(|(_, member)| member.node == node)
                .map(|(index, _)| index)
        };

        match near().count() {
            0 => 0,
            // CAST: Numbers of processors are small.
            count => near().nth(cpu.as_u32() as usize % count).unwrap_or(0),
        }
    }

    /// The channel of a processor, or of a hardware queue, which usually has the number of its
    /// processor.
    #[inline]
    pub(crate) fn of(&self, cpu: usize) -> Option<&Session> {
        let index = self.by_cpu.get(cpu).copied().unwrap_or(0);

        self.members
            .get(usize::from(index))
            .map(|member| &*member.session)
    }

    /// The channel for a command that is issued here, and that of the hardware queue that the
    /// command comes from. The first is another one than that of this processor if most of its ring
    /// is full.
    #[inline]
    pub(crate) fn select(
        &self,
        hw_queue: usize,
        low_water: u32,
        rcu: &rcu::Guard,
    ) -> Option<(&Session, &Session)> {
        let cpu = CpuId::current();
        // CAST: Numbers of processors are small.
        let index = cpu.as_u32() as usize;
        let own = self.of(index)?;
        let home = if hw_queue == index {
            own
        } else {
            self.of(hw_queue)?
        };

        if own.writer().has_free(low_water, rcu) {
            return Some((own, home));
        }
        let other = self.select_other(cpu, low_water, rcu).unwrap_or(own);
        Some((other, home))
    }

    /// The next channel with room, of those of the same memory node if there is one.
    #[cold]
    #[inline(never)]
    fn select_other(&self, cpu: CpuId, low_water: u32, rcu: &rcu::Guard) -> Option<&Session> {
        let node = cpu.node();
        // CAST: Numbers of processors are small.
        let own = self.by_cpu.get(cpu.as_u32() as usize).copied().unwrap_or(0);
        let (before, after) = self.members.split_at_checked(usize::from(own) + 1)?;
        let mut free = Iterator::chain(after.iter(), before)
            .filter(|member| member.session.writer().has_free(low_water, rcu));
        let first = free.next()?;
        let near = if first.node == node {
            first
        } else {
            free.find(|member| member.node == node).unwrap_or(first)
        };

        Some(&near.session)
    }

    /// Sends all signals that are owed to the host.
    pub(crate) fn flush(&self) {
        for member in &self.members {
            member.session.writer().flush();
        }
    }
}
