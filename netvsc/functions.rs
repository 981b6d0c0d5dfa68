// SPDX-License-Identifier: GPL-2.0

//! Finding the virtual function of a card: it may come before the card or after it, and before the
//! host has said which one it is.
//!
//! C source: [`drivers/net/hyperv/netvsc_drv.c`](srctree/drivers/net/hyperv/netvsc_drv.c)

use crate::{
    nic::Nic,
    vf::{
        self,
        Joined, //
    },
};
use core::ptr;
use kernel::{
    alloc::KVec,
    dev_err,
    dev_info,
    net::{
        rtnl::{
            self,
            Rtnl, //
        },
        Device,
        Event,
        Interface,
        Watcher, //
    },
    prelude::*,
    sync::aref::ARef,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// How long users may do something with a new function, as rename it, before it is brought up.
const TAKEOVER: Delta = Delta::from_millis(100);

/// All cards that are set up.
static CARDS: rtnl::Cell<KVec<ARef<Device<Nic>>>> = rtnl::Cell::new(KVec::new());

/// Finds the card that a device is the function of.
fn card_for(vf: &Interface, rtnl: &Rtnl) -> Option<ARef<Device<Nic>>> {
    let (now, permanent) = vf.addresses(rtnl)?;
    let serial = match vf.pci_slot(rtnl) {
        Ok(serial) => serial,
        Err(ENODEV) => return None,
        Err(ENXIO) => {
            pr_notice!("{}: no PCI slot information\n", vf.name(rtnl));
            return None;
        }
        Err(_) => {
            pr_notice!("{}: Invalid vf serial\n", vf.name(rtnl));
            return None;
        }
    };
    let cards = CARDS.get(rtnl);
    let by_slot = cards
        .iter()
        .find(|card| card.vf.is(serial) && card.addresses(rtnl).1 == permanent);
    // The host may not have said anything yet. Nobody but it gives a function this address; the
    // permanent one is not known before the device is registered.
    let found = by_slot.or_else(|| {
        cards.iter().find(|card| {
            let address = card.addresses(rtnl).1;

            address == permanent || address == now
        })
    });

    if found.is_none() {
        pr_notice!(
            "{}: no netdev found for vf serial:{}\n",
            vf.name(rtnl),
            serial
        );
    }
    found.cloned()
}

/// The card that has this device as its function.
#[inline(never)]
fn card_of(vf: &Interface, rtnl: &Rtnl) -> Option<ARef<Device<Nic>>> {
    CARDS
        .get(rtnl)
        .iter()
        .find(|card| card.lower_ref(rtnl).is_some_and(|lower| lower.is_same(vf)))
        .cloned()
}

/// Sees functions come and go.
pub(crate) struct Functions;

impl Watcher for Functions {
    fn event(vf: &Interface, event: Event, rtnl: &mut Rtnl) {
        let own = CARDS.get(rtnl).iter().find(|card| vf.is(&***card)).cloned();

        if let Some(own) = own {
            // It may have come to another network namespace, and its function follows it. Not here,
            // where others do something with the list of devices.
            if event == Event::Register {
                own.deferred.vf_changed();
            }
            return;
        }
        match event {
            Event::PostInit => {
                if card_for(vf, rtnl).is_some() {
                    vf.mark_slave(rtnl);
                }
            }
            Event::Register => {
                if let Some(dev) = card_for(vf, rtnl) {
                    registered(&dev, vf, rtnl);
                }
            }
            Event::Unregister => unregistered(vf, rtnl),
            Event::Up | Event::Down | Event::Change => {
                if let Some(dev) = card_of(vf, rtnl) {
                    vf::follow(&dev, rtnl, vf, vf.is_running());
                }
            }
            Event::GoingDown => {
                if let Some(dev) = card_of(vf, rtnl) {
                    vf::follow(&dev, rtnl, vf, false);
                }
            }
        }
    }
}

/// The function of a card is there. Returns whether it is the card's now.
fn registered(dev: &ARef<Device<Nic>>, vf: &Interface, rtnl: &mut Rtnl) -> bool {
    if dev.attached(rtnl).is_err() || dev.lower_ref(rtnl).is_some() {
        return false;
    }
    if !dev.is_near(rtnl, vf) {
        *dev.vf.coming.get_mut(rtnl) = Some(vf.into());
        dev.deferred.vf_changed();
        return false;
    }
    dev_info!(dev.hv(), "VF registering: {}\n", vf.name(rtnl));
    if let Err(error) = dev.join(rtnl, vf) {
        dev_err!(
            dev.hv(),
            "{}: can not join {} (err = {:?})\n",
            vf.name(rtnl),
            dev.name(rtnl),
            error
        );
        return false;
    }
    *dev.vf.joined.get_mut(rtnl) = Some(Joined::new());
    dev_info!(
        dev.hv(),
        "{}: joined to {}\n",
        vf.name(rtnl),
        dev.name(rtnl)
    );
    dev.deferred.vf_changed();
    true
}

fn unregistered(vf: &Interface, rtnl: &mut Rtnl) {
    let waiting = CARDS.get(rtnl).iter().find(|card| {
        let coming = card.vf.coming.get(rtnl).as_ref();

        coming.is_some_and(|coming| coming.is_same(vf))
    });
    if let Some(dev) = waiting.cloned() {
        *dev.vf.coming.get_mut(rtnl) = None;
    }
    if let Some(dev) = card_of(vf, rtnl) {
        leave(&dev, rtnl);
    }
}

/// Lets the function go.
fn leave(dev: &Device<Nic>, rtnl: &mut Rtnl) {
    let Some(vf) = dev.lower_ref(rtnl) else {
        return;
    };

    dev_info!(dev.hv(), "VF unregistering: {}\n", vf.name(rtnl));
    // If it was not brought down before.
    vf::follow(dev, rtnl, &vf, false);
    if let Some(joined) = dev.vf.joined.get_mut(rtnl).take() {
        if joined.promiscuous {
            let _ = vf.set_promiscuous(rtnl, false);
        }
        if joined.all_multicast {
            let _ = vf.set_all_multicast(rtnl, false);
        }
    }
    drop(dev.leave(rtnl));
}

/// The card is registered: its function may be there already.
pub(crate) fn begin(dev: &ARef<Device<Nic>>, rtnl: &mut Rtnl) -> Result {
    CARDS.get_mut(rtnl).push(dev.clone(), GFP_KERNEL)?;

    let own = |vf: &Interface| card_for(vf, rtnl).is_some_and(|card| ptr::eq(&*card, &**dev));
    let Some(vf) = dev.find_near(rtnl, |vf| !vf.is(&**dev) && own(vf)) else {
        return Ok(());
    };
    vf.mark_slave(rtnl);
    if registered(dev, &vf, rtnl) {
        vf::set_up(dev, rtnl, &vf);
    }
    Ok(())
}

/// The card goes.
pub(crate) fn end(dev: &Device<Nic>, rtnl: &mut Rtnl) {
    let cards = CARDS.get_mut(rtnl);
    let at = cards.iter().position(|card| ptr::eq(&**card, dev));
    let card = at.and_then(|at| cards.remove(at).ok());

    // Nobody drops a static when the module goes.
    if cards.is_empty() {
        *cards = KVec::new();
    }
    *dev.vf.coming.get_mut(rtnl) = None;
    leave(dev, rtnl);
    drop(card);
}

/// Does what is to be done about the function, outside of the stack's own changes. Process context,
/// sleeps.
pub(crate) fn settle(dev: &ARef<Device<Nic>>) {
    loop {
        // Not with RTNL while this sleeps.
        let rest = settle_now(dev, &mut rtnl::lock());

        match rest {
            Some(rest) => fsleep(rest),
            None => return,
        }
    }
}

/// Returns how long to wait for the rest.
fn settle_now(dev: &ARef<Device<Nic>>, rtnl: &mut Rtnl) -> Option<Delta> {
    if *dev.removed.get(rtnl) {
        return None;
    }
    if let Some(vf) = dev.vf.coming.get_mut(rtnl).take() {
        // It joins when it is registered there.
        come(dev, rtnl, &vf);
    }
    let mut vf = dev.lower_ref(rtnl)?;
    if !dev.is_near(rtnl, &vf) {
        come(dev, rtnl, &vf);
        vf = dev.lower_ref(rtnl)?;
    }
    let joined = dev.vf.joined.get(rtnl).as_ref()?;
    if !joined.ready {
        let passed = joined.since.elapsed();

        if passed < TAKEOVER {
            return Some(TAKEOVER - passed);
        }
        vf::set_up(dev, rtnl, &vf);
    }
    vf::follow_rx_mode(dev, rtnl, &vf);
    vf::settle(dev, rtnl, &vf)
}

/// Moves a function to the network namespace of its card.
fn come(dev: &Device<Nic>, rtnl: &mut Rtnl, vf: &Interface) {
    match vf.move_to_namespace(rtnl, dev) {
        Ok(()) => dev_info!(
            dev.hv(),
            "{}: Moved VF to namespace with: {}\n",
            vf.name(rtnl),
            dev.name(rtnl)
        ),
        Err(error) => dev_err!(
            dev.hv(),
            "{}: Cannot move to same namespace as {}: {:?}\n",
            vf.name(rtnl),
            dev.name(rtnl),
            error
        ),
    }
}
