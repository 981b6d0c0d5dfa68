// SPDX-License-Identifier: GPL-2.0

//! The state of the link: what the host says about it, and when the stack learns of it.
//!
//! The host may say more than anybody wants to know. What counts is the last it has said, and the
//! stack learns of a change at most every two seconds.

use crate::{
    nic::Nic,
    rndis::{
        self,
        Indication, //
    },
};
use kernel::{
    io::{
        Io,
        SysMem, //
    },
    net::{
        ethtool::Link,
        rtnl::{
            self,
            Rtnl, //
        },
        Device, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
};

use crate::buffers::part;

/// The stack does not learn of changes more often.
const INTERVAL: Delta = Delta::from_secs(2);

/// How long a message about a change is, at most, as far as it is looked at.
const MAX_INDICATION: usize = 64;

/// What the host has said and the stack has not learnt: bits.
const DOWN: u32 = 1;
const UP: u32 = 2;
const CHANGED: u32 = 4;

/// What is known of the link.
pub(crate) struct LinkState {
    news: Atomic<u32>,
    /// In Mbit/s; what ethtool shows.
    speed: Atomic<u32>,
    duplex: Atomic<u32>,
    /// The link is up, as far as the stack knows.
    up: rtnl::Cell<bool>,
}

impl LinkState {
    pub(crate) fn new() -> Self {
        let link = Link::new();

        Self {
            news: Atomic::new(0),
            speed: Atomic::new(link.speed),
            duplex: Atomic::new(link.duplex.into()),
            up: rtnl::Cell::new(true),
        }
    }

    /// What ethtool shows.
    pub(crate) fn shown(&self) -> Link {
        Link {
            speed: self.speed.load(Relaxed),
            // CAST: It was stored from a byte.
            duplex: self.duplex.load(Relaxed) as u8,
        }
    }

    pub(crate) fn show(&self, link: Link) {
        self.speed.store(link.speed, Relaxed);
        self.duplex.store(link.duplex.into(), Relaxed);
    }

    /// The host has told the speed, in units of 100 bits per second.
    pub(crate) fn set_speed(&self, speed: u32) {
        self.speed.store(speed / 10_000, Relaxed);
    }

    /// The host has told the state when it was asked.
    pub(crate) fn set_up(&self, rtnl: &mut Rtnl, up: bool) {
        *self.up.get_mut(rtnl) = up;
    }

    pub(crate) fn is_up(&self, rtnl: &Rtnl) -> bool {
        *self.up.get(rtnl)
    }

    /// Notes what the host says. Any context.
    fn note(&self, indication: Indication) {
        let (set, clear) = match indication {
            // A network that has changed is one that is up.
            Indication::Connected => (UP, DOWN),
            Indication::Disconnected => (DOWN, UP | CHANGED),
            Indication::NetworkChanged => (CHANGED, 0),
            Indication::Speed(speed) => return self.set_speed(speed),
        };
        let mut news = self.news.load(Relaxed);
        while let Err(now) = self.news.cmpxchg(news, (news & !clear) | set, Full) {
            news = now;
        }
    }
}

/// The host says that something has changed: `body` is what is behind the header of its message.
/// The poll function.
pub(crate) fn indicated(dev: &Device<Nic>, body: SysMem<'_, [u8]>) -> Result {
    let mut bytes = [0; MAX_INDICATION];
    let len = body.len().min(MAX_INDICATION);
    let place = bytes.get_mut(..len).ok_or(EINVAL)?;

    part(body, 0, len)?.copy_to_slice(place);
    // Of other changes nobody needs to know.
    let Some(indication) = rndis::indication(place) else {
        return Ok(());
    };
    dev.link.note(indication);
    if !matches!(indication, Indication::Speed(_)) && dev.is_registered() {
        dev.deferred.link_changed();
    }
    Ok(())
}

/// Tells the stack what is new, as often as something is. Process context, sleeps; `closing` says
/// when it is not wanted any more.
pub(crate) fn changed(
    dev: &Device<Nic>,
    last: &mut Option<Instant<Monotonic>>,
    closing: impl Fn() -> bool,
) {
    const SLICE: Delta = Delta::from_millis(50);

    while dev.link.news.load(Relaxed) != 0 {
        while last.is_some_and(|last| last.elapsed() < INTERVAL) {
            if closing() {
                return;
            }
            fsleep(SLICE);
        }
        if closing() {
            return;
        }
        let mut rtnl = rtnl::lock();
        let news = dev.link.news.xchg(0, Full);

        *last = Some(Instant::now());
        if news & DOWN != 0 {
            set_carrier(dev, &mut rtnl, false);
        } else if news & CHANGED != 0 && dev.link.is_up(&rtnl) {
            // Down and up again: those who watch the link do what a new network needs.
            set_carrier(dev, &mut rtnl, false);
            dev.link.note(Indication::Connected);
        } else if news & UP != 0 {
            if dev.link.is_up(&rtnl) {
                dev.notify_peers(&mut rtnl);
            } else {
                set_carrier(dev, &mut rtnl, true);
            }
        }
    }
}

fn set_carrier(dev: &Device<Nic>, rtnl: &mut Rtnl, up: bool) {
    let attached = dev.attached.get();

    dev.link.set_up(rtnl, up);
    if up {
        dev.carrier_on();
        if let Some(attached) = attached.filter(|_| dev.is_running()) {
            attached.set_sends(true);
            dev.tx_wake_all(rtnl);
        }
    } else {
        dev.carrier_off();
        if let Some(attached) = attached.filter(|attached| attached.sends()) {
            attached.disable(dev, rtnl);
        }
    }
}
