// SPDX-License-Identifier: GPL-2.0

//! A channel: the object, and the stages of its life.
//!
//! ```text
//! Offered -> Adding -> Ready -> Removing -> Gone
//!               \________________/
//! ```
//!
//! [`crate::lifecycle`] drives a channel through them, in this order and no other, on workqueues.
//! A rescind that comes while a channel is being added is remembered and acted upon when that is
//! done, so nobody waits for anybody.

use crate::{
    abi::{
        fields,
        ring::Private, //
    },
    message::Offer,
    open::Link,
    sys::device::Device, //
};
use kernel::{
    bindings,
    impl_has_work,
    new_mutex,
    new_work,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
    types::Opaque,
    workqueue::Work, //
};

/// What stands for "no relative id", in a channel that lost its own over a hibernation.
pub(crate) const NO_RELID: u32 = u32::MAX;

/// How far a channel has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Offered,
    Adding,
    Ready,
    Removing,
    Gone,
}

/// What [`Channel::life`] protects.
pub(crate) struct Life {
    pub(crate) stage: Stage,
    /// The host has taken the channel back while it was being added.
    pub(crate) remove: bool,
    /// The device of a primary channel, from its creation until the channel is gone.
    pub(crate) device: Option<ARef<Device>>,
}

/// How the monitor page tells the host of a channel.
#[derive(Clone, Copy)]
pub(crate) struct Monitor {
    /// Which of 4 groups.
    pub(crate) group: u8,
    /// Which of its 32 bits.
    pub(crate) bit: u8,
    /// Both in one number.
    pub(crate) id: u8,
}

/// Monitor ids that exist.
pub(crate) const MONITORS: u8 = 4 * 32;

/// No monitor id.
const NO_MONITOR: u32 = u32::MAX;

fn monitor_of(offer: &Offer) -> u32 {
    if offer.monitor_allocated & 1 != 0 {
        offer.monitor_id.into()
    } else {
        NO_MONITOR
    }
}

/// A channel.
///
/// Its first field is what other drivers know of it: pointers to the one are pointers to the
/// other. The reference count is that of the `kobj` in there.
///
/// Locks are taken in this order: `life` or `link` (never both), [`crate::relid::channels`],
/// `vmbus_connection.channel_mutex`, the spinlocks of the C structure.
#[pin_data]
#[repr(C)]
pub(crate) struct Channel {
    #[pin]
    raw: Opaque<bindings::vmbus_channel>,
    relid: Atomic<u32>,
    /// What the data path has of it.
    #[pin]
    pub(crate) private: Private,
    /// Its monitor id, or [`NO_MONITOR`].
    monitor: Atomic<u32>,
    /// A sub-channel keeps its primary alive.
    primary: Option<ARef<Channel>>,
    #[pin]
    pub(crate) life: Mutex<Life>,
    /// The rings, and whether the host knows them.
    #[pin]
    pub(crate) link: Mutex<Link>,
    #[pin]
    add: Work<Channel, 1>,
    #[pin]
    removal: Work<Channel, 2>,
}

// `Channel::from_raw()` and `as_raw()` rely on it.
static_assert!(core::mem::offset_of!(Channel, raw) == 0);

impl_has_work! {
    impl HasWork<Self, 1> for Channel { self.add }
    impl HasWork<Self, 2> for Channel { self.removal }
}

impl Channel {
    /// Creates the channel of an offer, which was checked. Process context, may sleep.
    pub(crate) fn new(offer: &Offer, primary: Option<ARef<Channel>>) -> Result<ARef<Self>> {
        let this = KBox::pin_init(
            pin_init!(Self {
                raw <- fields::init(offer),
                relid: Atomic::new(offer.relid),
                private <- Private::new(),
                monitor: Atomic::new(monitor_of(offer)),
                primary,
                life <- new_mutex!(
                    Life { stage: Stage::Offered, remove: false, device: None },
                    "Channel::life"
                ),
                link <- new_mutex!(Link::None, "Channel::link"),
                add <- new_work!("Channel::add"),
                removal <- new_work!("Channel::removal"),
            }),
            GFP_KERNEL,
        )?;

        Ok(fields::into_counted(this))
    }

    /// The C structure that is the beginning of this object.
    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::vmbus_channel {
        self.raw.get()
    }

    /// The number by which the host knows it; [`NO_RELID`] if it does not any more.
    #[inline]
    pub(crate) fn relid(&self) -> u32 {
        self.relid.load(Relaxed)
    }

    /// Gives it another number, after a hibernation. It is in no table then.
    pub(crate) fn set_relid(&self, relid: u32) {
        self.relid.store(relid, Relaxed);
        fields::set_relid(self, relid);
    }

    /// The monitor bit that the host has given the channel, if any.
    #[inline]
    pub(crate) fn monitor(&self) -> Option<Monitor> {
        let id = u8::try_from(self.monitor.load(Relaxed)).ok()?;

        Some(Monitor {
            group: id / 32,
            bit: id % 32,
            id,
        })
    }

    /// Takes over what may have changed in the offer of a device that is known. The channel is in no
    /// table.
    pub(crate) fn offered_again(&self, offer: &Offer) {
        self.monitor.store(monitor_of(offer), Relaxed);
        fields::offered_again(self, offer);
    }

    /// The primary channel of a sub-channel.
    #[inline]
    pub(crate) fn primary(&self) -> Option<&Channel> {
        self.primary.as_deref()
    }

    /// Forgets what a driver has set, so that the next one finds the channel as the first did.
    ///
    /// To be called when no driver is bound and nothing is open. May sleep.
    pub(crate) fn reset_hooks(&self) {
        fields::reset_hooks(self);
    }
}
