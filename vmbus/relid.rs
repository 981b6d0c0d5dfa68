// SPDX-License-Identifier: GPL-2.0

//! The channels that the host has offered, by their relative ids.
//!
//! A slot belongs to the channel in it: it is taken when an offer is accepted and left free by
//! that same channel only. The interrupt handler looks channels up under RCU.

use crate::channel::{
    Channel,
    NO_RELID, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        global_lock,
        rcu,
        GlobalGuard, //
    }, //
};

/// Relative ids that exist: bits of an event page.
pub(crate) const COUNT: usize = 2048;

/// What the interrupt handler sees.
///
/// # Invariants
///
/// A pointer that is not null is a channel that has a reference in [`TABLE`] now, or had one at
/// most a grace period ago.
static BY_RELID: [Atomic<*mut Channel>; COUNT] =
    [const { Atomic::new(core::ptr::null_mut()) }; COUNT];

/// The highest relative id that was ever used.
static HIGHEST: Atomic<u32> = Atomic::new(0);

global_lock! {
    // SAFETY: `init()` is called by the module's initialization, before anything else.
    unsafe(uninit) static TABLE: Mutex<KVec<ARef<Channel>>> = KVec::new();
}

/// Prepares the table. Once, before everything else of this module.
///
/// # Safety
///
/// To be called once for a load of the module.
pub(crate) unsafe fn init() {
    // SAFETY: By the safety requirements this is the only call.
    unsafe { TABLE.init() }
}

/// The channels, locked: none comes or goes meanwhile.
///
/// Nobody who holds this waits for the host.
pub(crate) struct Channels(GlobalGuard<TABLE>);

/// Locks the channels. May sleep.
pub(crate) fn channels() -> Channels {
    Channels(TABLE.lock())
}

impl Channels {
    /// All channels, sub-channels too, in the order of their offers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ARef<Channel>> {
        self.0.iter()
    }

    /// The sub-channels of a primary channel.
    pub(crate) fn subs_of<'a>(
        &'a self,
        primary: &'a Channel,
    ) -> impl Iterator<Item = &'a ARef<Channel>> {
        self.iter().filter(move |channel| {
            channel
                .primary()
                .is_some_and(|other| core::ptr::eq(other, primary))
        })
    }

    /// The channel with this relative id.
    pub(crate) fn get(&self, relid: u32) -> Option<&ARef<Channel>> {
        // Several channels may be without one, and the host may ask for that number.
        self.iter()
            .find(|channel| channel.relid() == relid)
            .filter(|_| relid != NO_RELID)
    }

    /// Enters a channel.
    ///
    /// Returns [`ERANGE`] if there is no such relative id, [`EEXIST`] if it is another channel's,
    /// and [`ENOMEM`].
    pub(crate) fn insert(&mut self, channel: &ARef<Channel>) -> Result {
        self.0.push(channel.clone(), GFP_KERNEL)?;
        self.map(channel).inspect_err(|_| drop(self.0.pop()))
    }

    /// Shows a channel of the table to the interrupt handler.
    ///
    /// Returns [`ERANGE`] if there is no such relative id, and [`EEXIST`] if it is another
    /// channel's.
    pub(crate) fn map(&mut self, channel: &Channel) -> Result {
        let slot = BY_RELID.get(channel.relid() as usize).ok_or(ERANGE)?;

        if !slot.load(Relaxed).is_null() {
            return Err(EEXIST);
        }
        // INVARIANT: The table has a reference.
        slot.store(core::ptr::from_ref(channel).cast_mut(), Release);
        if channel.relid() > HIGHEST.load(Relaxed) {
            HIGHEST.store(channel.relid(), Release);
        }
        Ok(())
    }

    /// Hides a channel from the interrupt handler. Returns whether its slot was its own.
    pub(crate) fn unmap(&mut self, channel: &Channel) -> bool {
        let own = core::ptr::from_ref(channel).cast_mut();

        BY_RELID
            .get(channel.relid() as usize)
            .is_some_and(|slot| slot.cmpxchg(own, core::ptr::null_mut(), Relaxed).is_ok())
    }

    /// Removes a channel; its last reference must be dropped after the lock.
    #[must_use]
    pub(crate) fn remove(&mut self, channel: &Channel) -> Option<ARef<Channel>> {
        self.unmap(channel);
        let index = self
            .iter()
            .position(|other| core::ptr::eq::<Channel>(&**other, channel))?;

        self.0.remove(index).ok()
    }
}

/// Looks a channel up. Any context.
pub(crate) fn lookup<'g>(relid: u32, _guard: &'g rcu::Guard) -> Option<&'g Channel> {
    let channel = BY_RELID.get(relid as usize)?.load(Acquire);

    // SAFETY: By the invariant of `BY_RELID` it is null or a channel that is not freed before a
    // grace period has passed, which does not while the guard exists.
    unsafe { channel.as_ref() }
}

/// The highest relative id that may be in use. Any context.
pub(crate) fn highest() -> u32 {
    HIGHEST.load(Acquire)
}

/// Gives the memory of the table back, which is empty. At the end of the module.
pub(crate) fn forget() {
    *TABLE.lock() = KVec::new();
}
