// SPDX-License-Identifier: GPL-2.0

//! A card that is attached: its open channels, its buffers, and what was agreed with the host.
//!
//! It lasts until the card is set up anew, which a change of the MTU, of the buffers or of the
//! number of channels needs, or goes away. Who sends, polls or looks at it finds it under RCU.

use crate::{
    buffers::{
        ReceiveBuffer,
        SendBuffer, //
    },
    control::Answers,
    lent::Lent,
    nic::Nic,
    nvsp::{
        Sections,
        Version, //
    },
    queue::{
        Queue,
        Session,
        Waiting,
        Waker,
        REQUESTS, //
    },
    receive::Receiver, //
};
use kernel::{
    alloc::KVec,
    dev_notice,
    device::Bound,
    net::{
        napi::{
            Enabled,
            Napi, //
        },
        Device, //
    },
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex,
        SetOnce, //
    },
    vmbus::{
        self,
        Sizes,
        SubChannel, //
    },
};

/// Messages in one packet, and bytes to which they are filled up, if the host does not say.
const DEFAULT_BATCH: u32 = 8;
const DEFAULT_ALIGNMENT: u32 = 8;
const MAX_BATCH: u32 = 256;

/// Questions for a path of frames without an answer, at most: each keeps a place among the requests of
/// a channel, which frames need too.
const MAX_QUESTIONS: u32 = 16;

/// Bytes to which messages are filled up, at most; what is more makes no sense.
pub(crate) const MAX_ALIGNMENT: usize = 256;

/// Bytes that a packet of the host has behind its descriptor, at most: its ranges, a message, and
/// the table of channels to send on.
const PAYLOAD: usize =
    8 + 8 * crate::nvsp::MAX_RANGES + crate::nvsp::MESSAGE + 4 * crate::nvsp::SEND_TABLE;

/// A pair of queues with its open channel.
pub(crate) struct OpenQueue {
    // Dropped first: nothing polls any more when the session is.
    napi: Enabled<Queue>,
    pub(crate) session: Arc<Session>,
}

impl OpenQueue {
    #[inline]
    pub(crate) fn napi(&self) -> &Napi<Queue> {
        &self.napi
    }

    /// A reference that can be kept.
    pub(crate) fn napi_ref(&self) -> &Arc<Napi<Queue>> {
        self.napi.napi()
    }

    /// Whether this is the one that is polled.
    #[inline]
    pub(crate) fn is(&self, napi: &Napi<Queue>) -> bool {
        core::ptr::eq(self.napi(), napi)
    }
}

/// An attached card.
#[pin_data]
pub(crate) struct Attached {
    // Dropped in this order: the channels before the buffers.
    /// In the order in which they were opened. There is no more room than there may be queues.
    queues: KVec<SetOnce<OpenQueue>>,
    /// What the queues that are not open yet will be: made beforehand, because who opens them has
    /// no bound device.
    prepared: KVec<Arc<Napi<Queue>>>,
    opened: Atomic<u32>,
    /// Sub-channels are offered at the same time, and opened one after another.
    #[pin]
    opening: Mutex<()>,
    /// Sub-channels that were offered and could not be opened.
    failed: Atomic<u32>,
    /// Sub-channels that the host has granted.
    granted: Atomic<u32>,
    #[pin]
    pub(crate) answers: Answers,
    pub(crate) receive: SetOnce<ReceiveBuffer>,
    pub(crate) send: SetOnce<SendBuffer>,
    version: Atomic<u32>,
    batch: Atomic<u32>,
    alignment: Atomic<u32>,
    /// Frames may be sent.
    sends: Atomic<bool>,
    /// Which frames the card passes on.
    pub(crate) filter: Atomic<u32>,
    /// Questions for a path of frames that the host has not answered.
    questions: Atomic<u32>,
    /// It is about to be closed.
    pub(crate) closing: Atomic<bool>,
    sizes: Sizes,
}

impl Attached {
    /// Makes one without a channel, for so many queues. May sleep.
    pub(crate) fn new(
        parent: &vmbus::Device<Bound>,
        dev: &ARef<Device<Nic>>,
        queues: u16,
        ring: usize,
    ) -> Result<Arc<Self>> {
        let sizes = Sizes::new(ring, ring, PAYLOAD).ok_or(EINVAL)?;
        let messages = Lent::new(
            parent.as_ref(),
            crate::control::LONGEST,
            crate::control::MESSAGES,
        )?;
        let mut places = KVec::with_capacity(queues.into(), GFP_KERNEL)?;
        let mut prepared = KVec::with_capacity(queues.into(), GFP_KERNEL)?;

        for index in 0..queues {
            places.push(SetOnce::new(), GFP_KERNEL)?;
            let queue = Queue::new(parent.as_ref(), index)?;
            let napi = Napi::new(dev.clone(), Receiver::new(dev.clone(), index)?, queue);

            prepared.push(Arc::pin_init(napi, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let answers = Answers::new(messages)?;

        Arc::pin_init(
            pin_init!(Self {
                queues: places,
                prepared,
                opened: Atomic::new(0),
                opening <- new_mutex!((), "hv_netvsc::Attached::opening"),
                failed: Atomic::new(0),
                granted: Atomic::new(0),
                answers <- answers,
                receive: SetOnce::new(),
                send: SetOnce::new(),
                version: Atomic::new(0),
                batch: Atomic::new(DEFAULT_BATCH),
                alignment: Atomic::new(DEFAULT_ALIGNMENT),
                sends: Atomic::new(false),
                filter: Atomic::new(0),
                questions: Atomic::new(0),
                closing: Atomic::new(false),
                sizes,
            }),
            GFP_KERNEL,
        )
    }

    /// Opens the first channel. Process context, sleeps.
    pub(crate) fn open_primary(&self, parent: &vmbus::Device<Bound>) -> Result<&Session> {
        self.open(0, |sizes, waker| {
            parent
                .channel()
                .open(sizes, REQUESTS, Ok::<_, Error>(waker))
        })
    }

    /// Opens a sub-channel that the host has just offered, if it was asked for.
    pub(crate) fn open_sub_channel(&self, dev: &Device<Nic>, offer: SubChannel<'_>) {
        let _opening = self.opening.lock();
        let opened = self.opened.load(Acquire);

        if opened == 0 || opened + self.failed.load(Relaxed) > self.granted.load(Acquire) {
            return;
        }
        // CAST: Less than the number of queues, or there is none of this number.
        let result = self.open(opened as u16, |sizes, waker| {
            offer.open(sizes, REQUESTS, Ok::<_, Error>(waker))
        });
        if let Err(error) = result {
            self.failed.fetch_add(1, Release);
            dev_notice!(dev.hv(), "sub channel open failed: {:?}\n", error);
        }
        // Also without it those that there are may be all that there will be.
        dev.deferred.queues_changed();
        self.notify();
    }

    fn open(
        &self,
        index: u16,
        open: impl FnOnce(Sizes, Waker) -> Result<Arc<Session>>,
    ) -> Result<&Session> {
        let place = self.queues.get(usize::from(index)).ok_or(ENOSPC)?;
        let napi = self.prepared.get(usize::from(index)).ok_or(ENOSPC)?;
        let enabled = Enabled::new(napi.clone())?;
        let session = open(self.sizes, Waker(napi.clone()))?;

        if !place.populate(OpenQueue {
            napi: enabled,
            session,
        }) {
            return Err(EBUSY);
        }
        self.opened.store(u32::from(index) + 1, Release);
        // What the host has sent until now found no queue.
        napi.schedule();
        place.as_ref().map(|open| &*open.session).ok_or(EBUSY)
    }

    /// A queue, if it is open.
    #[inline]
    pub(crate) fn queue(&self, index: u16) -> Option<&OpenQueue> {
        self.queues.get(usize::from(index))?.as_ref()
    }

    /// All open queues.
    pub(crate) fn open_queues(&self) -> impl Iterator<Item = &OpenQueue> {
        self.queues.iter().filter_map(SetOnce::as_ref)
    }

    /// How many queues are open.
    pub(crate) fn opened(&self) -> u32 {
        self.opened.load(Acquire)
    }

    /// How many queues there can be.
    pub(crate) fn capacity(&self) -> u32 {
        // CAST: At most 64.
        self.queues.len() as u32
    }

    /// The host has granted so many sub-channels.
    pub(crate) fn grant(&self, count: u32) {
        self.granted.store(count, Release);
    }

    /// How many queues there will be.
    pub(crate) fn promised(&self) -> u32 {
        // Each of them was granted, unless that was taken back.
        (self.granted.load(Acquire) + 1).saturating_sub(self.failed.load(Acquire))
    }

    /// The session of the first channel, on which the host is asked.
    pub(crate) fn primary(&self) -> Result<&Session> {
        Ok(&self.queue(0).ok_or(ENODEV)?.session)
    }

    /// Has those who wait for the host look. Any context.
    #[inline]
    pub(crate) fn notify(&self) {
        if let Some(open) = self.queue(0) {
            open.session.notify();
        }
    }

    /// The version of the protocol.
    #[inline]
    pub(crate) fn version(&self) -> Version {
        Version(self.version.load(Relaxed))
    }

    pub(crate) fn set_version(&self, version: Version) {
        self.version.store(version.0, Relaxed);
    }

    /// Bytes to which messages in one section are filled up: a power of 2.
    #[inline]
    pub(crate) fn alignment(&self) -> usize {
        self.alignment.load(Relaxed) as usize
    }

    /// Bytes by which a message of so many is filled up.
    #[inline]
    pub(crate) fn padding(&self, len: usize) -> usize {
        len.wrapping_neg() & self.alignment().wrapping_sub(1)
    }

    /// How many messages there may be in one packet, and to how many bytes each is filled up.
    pub(crate) fn set_batching(&self, count: u32, alignment: u32) {
        self.batch.store(count.clamp(1, MAX_BATCH), Relaxed);
        if alignment.is_power_of_two() && alignment as usize <= MAX_ALIGNMENT {
            self.alignment.store(alignment, Relaxed);
        }
    }

    /// How many messages there may be in one packet.
    #[inline]
    pub(crate) fn batch(&self) -> u32 {
        self.batch.load(Relaxed)
    }

    /// The send buffer and its sections, once the host has agreed.
    #[inline]
    pub(crate) fn send_sections(&self) -> Option<(&SendBuffer, Sections)> {
        let send = self.send.as_ref()?;

        Some((send, send.sections()?))
    }

    /// The receive buffer's sections, once the host has agreed.
    pub(crate) fn receive_sections(&self) -> Option<Sections> {
        self.receive.as_ref()?.sections()
    }

    /// Whether frames may be sent.
    #[inline]
    pub(crate) fn sends(&self) -> bool {
        self.sends.load(Relaxed)
    }

    pub(crate) fn set_sends(&self, on: bool) {
        self.sends.store(on, Relaxed);
    }

    /// A question for a path of frames is about to be sent; [`EBUSY`] if many were not answered.
    /// With RTNL, as for [`Attached::in_flight`].
    pub(crate) fn begin_question(&self) -> Result {
        if self.questions.load(Relaxed) >= MAX_QUESTIONS {
            return Err(EBUSY);
        }
        self.questions.fetch_add(1, Relaxed);
        Ok(())
    }

    /// It was answered, or not sent. Any context.
    pub(crate) fn end_question(&self) {
        self.questions.fetch_sub(1, Relaxed);
    }

    /// Frames and messages that the host has not completed.
    ///
    /// Not among them are questions for a path of frames: it need not answer these, and has no
    /// memory of theirs. Their ids are theirs until the channel is closed.
    pub(crate) fn in_flight(&self) -> usize {
        let all: usize = self
            .open_queues()
            .map(|open| open.session.writer().in_flight())
            .sum();

        // CAST: A small number.
        all.saturating_sub(self.questions.load(Relaxed) as usize)
    }

    /// Drops frames that still wait to be sent. Nobody sends any more.
    pub(crate) fn discard_waiting(&self, dev: &Device<Nic>) {
        for napi in self.prepared.iter() {
            if let Some(batch) = napi.waiting().and_then(Waiting::take) {
                batch.discard(dev, self);
            }
        }
    }

    /// Closes all channels. Process context, sleeps; nobody sends, and no sub-channel is opened
    /// any more when this returns.
    pub(crate) fn close(&self) {
        self.grant(0);
        if let Ok(session) = self.primary() {
            session.close();
        }
    }
}
