// SPDX-License-Identifier: GPL-2.0

//! The virtual function of a real card beside this one.
//!
//! Its network device becomes the lower one of ours: users see one interface, and its frames go by
//! whichever path is better. The host says which function is ours, and is told which path frames go
//! by; as long as it has not confirmed that, and always when the function is not up, they go by the
//! channel. Nothing here waits for a function that the host has promised.
//!
//! C source: [`drivers/net/hyperv/netvsc_drv.c`](srctree/drivers/net/hyperv/netvsc_drv.c)

use crate::{
    attached::Attached,
    nic::Nic,
    nvsp::Message, //
};
use core::ptr;
use kernel::{
    alloc::{
        KVVec,
        KVec, //
    },
    cpu::{
        self,
        CpuId, //
    },
    dev_err,
    dev_info,
    dev_warn,
    net::{
        self,
        rtnl::{
            self,
            Rtnl, //
        },
        skb::TxSkb,
        stats::{
            Counter,
            LinkStats, //
        },
        xdp::Program,
        Device,
        Event,
        Features,
        FrameToSend,
        Interface,
        LowerRef,
        MacAddress,
        Transmit,
        Upper,
        Watcher, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// How long users may do something with a new function, as rename it, before it is brought up.
const TAKEOVER: Delta = Delta::from_millis(100);

/// How long the host may take to change the path. Frames have one meanwhile, so that giving up costs
/// little.
const PATIENCE: Delta = Delta::from_secs(10);

/// All cards that are set up.
static CARDS: rtnl::Cell<KVec<ARef<Device<Nic>>>> = rtnl::Cell::new(KVec::new());

/// What is counted for each processor; on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Stats {
    pub(crate) rx_packets: Counter,
    pub(crate) rx_bytes: Counter,
    pub(crate) tx_packets: Counter,
    pub(crate) tx_bytes: Counter,
    pub(crate) tx_dropped: Counter,
}

/// A function that was joined.
struct Joined {
    since: Instant<Monotonic>,
    /// It was given the settings of the card.
    ready: bool,
    /// The card has asked for all frames, or for all that are for a group.
    promiscuous: bool,
    all_multicast: bool,
}

/// What the card knows of its function.
pub(crate) struct Vf {
    /// What the host has said last: whether there is one, and its serial number.
    association: Atomic<u64>,
    /// The host has confirmed that frames go by the function.
    active: Atomic<bool>,
    /// What the host was asked for last: it may have done that without confirming it in time.
    asked: Atomic<bool>,
    joined: rtnl::Cell<Option<Joined>>,
    /// A function that is to come to the card's network namespace.
    coming: rtnl::Cell<Option<ARef<Interface>>>,
    /// Bytes of frames that the card segments itself, at most.
    own_tso: rtnl::Cell<u32>,
    /// By processor.
    stats: KVVec<Stats>,
}

const ALLOCATED: u64 = 1 << 32;

impl Vf {
    pub(crate) fn new() -> Result<Self> {
        let mut stats = KVVec::with_capacity(cpu::nr_cpu_ids() as usize, GFP_KERNEL)?;

        for _ in 0..cpu::nr_cpu_ids() {
            stats.push(Stats::default(), GFP_KERNEL)?;
        }
        Ok(Self {
            association: Atomic::new(0),
            active: Atomic::new(false),
            asked: Atomic::new(false),
            joined: rtnl::Cell::new(None),
            coming: rtnl::Cell::new(None),
            own_tso: rtnl::Cell::new(0),
            stats,
        })
    }

    /// Whether frames go by the function, if it is up.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Relaxed)
    }

    /// A host to which a new channel is opened, or that has none any more, knows of no other path.
    pub(crate) fn reset_path(&self) {
        self.active.store(false, Relaxed);
        self.asked.store(false, Relaxed);
    }

    pub(crate) fn set_own_tso(&self, rtnl: &mut Rtnl, bytes: u32) {
        *self.own_tso.get_mut(rtnl) = bytes;
    }

    fn is_allocated(&self) -> bool {
        self.association.load(Relaxed) & ALLOCATED != 0
    }

    /// The figures of each processor.
    pub(crate) fn stats(&self) -> &[Stats] {
        &self.stats
    }

    fn stats_here(&self) -> Option<&Stats> {
        self.stats.get(CpuId::current().as_u32() as usize)
    }

    /// Adds what went by the function to the figures of the interface.
    pub(crate) fn add_stats(&self, stats: &mut LinkStats<'_>) {
        for here in &self.stats {
            stats.received(here.rx_packets.get(), here.rx_bytes.get());
            stats.sent(here.tx_packets.get(), here.tx_bytes.get());
            stats.tx_dropped(here.tx_dropped.get());
        }
    }
}

impl Upper for Nic {
    fn received_below(dev: &Device<Self>, len: usize) {
        if let Some(stats) = dev.vf.stats_here() {
            stats.rx_packets.inc();
            stats.rx_bytes.add(len as u64);
        }
    }
}

/// Whether there is a function, used or not. Any context.
pub(crate) fn is_there(dev: &Device<Nic>) -> bool {
    dev.lower(&rcu::read_lock()).is_some()
}

/// The function, if frames go by it now.
#[inline]
pub(crate) fn path<'a>(dev: &'a Device<Nic>, guard: &'a rcu::Guard) -> Option<LowerRef<'a>> {
    if !dev.vf.is_active() {
        return None;
    }
    dev.lower(guard)
        .filter(|vf| vf.is_running() && vf.has_carrier() && !dev.in_netpoll())
}

/// Sends a frame by the function. With softirqs off.
pub(crate) fn xmit(dev: &Device<Nic>, vf: &Interface, skb: TxSkb) -> Transmit {
    let len = skb.len();
    // With one queue the stack asks nobody.
    let sent = vf.transmit(skb, dev.tx_queues() > 1);

    if let Some(stats) = dev.vf.stats_here() {
        if sent {
            stats.tx_packets.inc();
            stats.tx_bytes.add(len as u64);
        } else {
            stats.tx_dropped.inc();
        }
    }
    Transmit::Taken
}

/// Has the function choose the queue of a frame, if there is one. With softirqs off.
#[inline]
pub(crate) fn select_queue(dev: &Device<Nic>, skb: &FrameToSend<'_>) -> Option<u16> {
    let guard = rcu::read_lock();

    Some(skb.pick_lower(&*dev.lower(&guard)?))
}

/// The host says whether there is a function, and which. The poll function.
pub(crate) fn associated(dev: &Device<Nic>, allocated: bool, serial: u32) {
    let allocated_bit = if allocated { ALLOCATED } else { 0 };

    dev.vf
        .association
        .store(allocated_bit | u64::from(serial), Relaxed);
    if net::ratelimit() {
        let what = if allocated { "added" } else { "removed" };

        dev_info!(dev.hv(), "VF slot {} {}\n", serial, what);
    }
    dev.deferred.vf_changed();
}

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
    let by_slot = cards.iter().find(|card| {
        card.vf.association.load(Relaxed) == ALLOCATED | u64::from(serial)
            && card.addresses(rtnl).1 == permanent
    });
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
                    follow(&dev, rtnl, vf, vf.is_running());
                }
            }
            Event::GoingDown => {
                if let Some(dev) = card_of(vf, rtnl) {
                    follow(&dev, rtnl, vf, false);
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
    *dev.vf.joined.get_mut(rtnl) = Some(Joined {
        since: Instant::now(),
        ready: false,
        promiscuous: false,
        all_multicast: false,
    });
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
    follow(dev, rtnl, &vf, false);
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
        set_up(dev, rtnl, &vf);
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

/// Gives a function the settings of its card, and brings it up if that is.
fn set_up(dev: &Device<Nic>, rtnl: &mut Rtnl, vf: &Interface) {
    match dev.vf.joined.get_mut(rtnl) {
        Some(joined) if !joined.ready => joined.ready = true,
        _ => return,
    }
    if vf.set_mtu(rtnl, dev.mtu()).is_err() {
        dev_warn!(
            dev.hv(),
            "{}: unable to change mtu to {}\n",
            vf.name(rtnl),
            dev.mtu()
        );
    }
    vf.want_features(rtnl, dev.features());
    let program = {
        let guard = rcu::read_lock();

        dev.program.load(&guard).map(|program| (*program).clone())
    };
    if program.is_some() && vf.set_xdp(rtnl, program.as_deref()).is_err() {
        dev_err!(dev.hv(), "{}: vf_setxdp failed\n", vf.name(rtnl));
    }
    if let Err(error) = vf.follow_flags(rtnl, dev) {
        dev_warn!(
            dev.hv(),
            "{}: unable to change flags: {:?}\n",
            vf.name(rtnl),
            error
        );
    }
    follow_rx_mode(dev, rtnl, vf);
    open(dev, rtnl);
}

/// Has the function receive what the card is to receive.
fn follow_rx_mode(dev: &Device<Nic>, rtnl: &mut Rtnl, vf: &Interface) {
    let mode = dev.rx_flags(rtnl);
    let Some(joined) = dev.vf.joined.get_mut(rtnl).as_mut() else {
        return;
    };
    let promiscuous = core::mem::replace(&mut joined.promiscuous, mode.promiscuous);
    let all_multicast = core::mem::replace(&mut joined.all_multicast, mode.all_multicast);

    // The core says so if it is called too often.
    if promiscuous != mode.promiscuous {
        let _ = vf.set_promiscuous(rtnl, mode.promiscuous);
    }
    if all_multicast != mode.all_multicast {
        let _ = vf.set_all_multicast(rtnl, mode.all_multicast);
    }
    dev.sync_lower_addresses(rtnl);
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
        set_up(dev, rtnl, &vf);
    }
    follow_rx_mode(dev, rtnl, &vf);
    follow(dev, rtnl, &vf, vf.is_running());
    None
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

/// Has frames go by the function if it is up, and else by the channel.
fn follow(dev: &Device<Nic>, rtnl: &mut Rtnl, vf: &Interface, up: bool) {
    let Some(attached) = dev.attached.get() else {
        return;
    };

    if dev.vf.is_active() == up && dev.vf.asked.load(Relaxed) == up {
        return;
    }
    if up && !dev.vf.is_allocated() {
        // When it comes this is called again.
        if net::ratelimit() {
            dev_info!(dev.hv(), "Waiting for the VF association from host\n");
        }
        return;
    }
    let way = if up { "to" } else { "from" };
    match switch(dev, &attached, up) {
        Ok(()) => {
            let tso = if up {
                vf.tso_max_size(rtnl)
            } else {
                *dev.vf.own_tso.get(rtnl)
            };

            dev.set_tso_max_size(rtnl, tso);
            dev_info!(
                dev.hv(),
                "{}: Data path switched {} VF: {}\n",
                dev.name(rtnl),
                way,
                vf.name(rtnl)
            );
        }
        Err(error) => dev_err!(
            dev.hv(),
            "{}: Data path failed to switch {} VF: {}, err: {:?}\n",
            dev.name(rtnl),
            way,
            vf.name(rtnl),
            error
        ),
    }
}

/// Tells the host, which confirms it.
fn switch(dev: &Device<Nic>, attached: &Attached, to_vf: bool) -> Result {
    if !to_vf {
        // The function is about to go.
        dev.vf.active.store(false, Relaxed);
    }
    dev.vf.asked.store(to_vf, Relaxed);
    attached.answers.exchange_within(
        attached.primary()?,
        &Message::switch_data_path(to_vf),
        PATIENCE,
    )?;
    dev.vf.active.store(to_vf, Relaxed);
    Ok(())
}

/// The card was brought up, and its function is too.
pub(crate) fn open(dev: &Device<Nic>, rtnl: &mut Rtnl) {
    let ready = dev
        .vf
        .joined
        .get(rtnl)
        .as_ref()
        .is_some_and(|joined| joined.ready);
    let Some(vf) = dev.lower_ref(rtnl).filter(|_| ready && dev.is_running()) else {
        return;
    };

    if let Err(error) = vf.open(rtnl) {
        // Then nothing goes by it.
        dev_warn!(
            dev.hv(),
            "unable to open slave: {}: {:?}\n",
            vf.name(rtnl),
            error
        );
    }
}

/// The card is brought down, and its function is too.
pub(crate) fn stop(dev: &Device<Nic>, rtnl: &mut Rtnl) {
    if let Some(vf) = dev.lower_ref(rtnl) {
        vf.close(rtnl);
    }
}

/// Does `change` after `first` has been done to the function, which `undo` is done to if that fails.
fn with_function(
    dev: &Device<Nic>,
    rtnl: &mut Rtnl,
    first: impl FnOnce(&Interface, &mut Rtnl) -> Result,
    change: impl FnOnce(&mut Rtnl) -> Result,
    undo: impl FnOnce(&Interface, &mut Rtnl) -> Result,
) -> Result {
    let vf = dev.lower_ref(rtnl);

    if let Some(vf) = &vf {
        first(vf, rtnl)?;
    }
    let Err(error) = change(rtnl) else {
        return Ok(());
    };
    if let Some(vf) = &vf {
        if undo(vf, rtnl).is_err() {
            dev_err!(dev.hv(), "{}: cannot be changed back\n", vf.name(rtnl));
        }
    }
    Err(error)
}

/// Changes the MTU of the function, and then that of the card.
pub(crate) fn with_mtu(
    dev: &Device<Nic>,
    rtnl: &mut Rtnl,
    mtu: u32,
    change: impl FnOnce(&mut Rtnl) -> Result,
) -> Result {
    let before = dev.mtu();

    with_function(
        dev,
        rtnl,
        |vf, rtnl| vf.set_mtu(rtnl, mtu),
        change,
        |vf, rtnl| vf.set_mtu(rtnl, before),
    )
}

/// Changes the address of the function, and then that of the card.
pub(crate) fn with_address(
    dev: &Device<Nic>,
    rtnl: &mut Rtnl,
    address: &MacAddress,
    change: impl FnOnce(&mut Rtnl) -> Result,
) -> Result {
    let (before, _) = dev.addresses(rtnl);

    with_function(
        dev,
        rtnl,
        |vf, rtnl| vf.set_address(rtnl, address),
        change,
        |vf, rtnl| vf.set_address(rtnl, &before),
    )
}

/// The features of the card have changed.
pub(crate) fn set_features(dev: &Device<Nic>, rtnl: &mut Rtnl, features: Features) {
    if let Some(vf) = dev.lower_ref(rtnl) {
        vf.want_features(rtnl, features);
    }
}

/// Has a program look at what the function receives, or none.
pub(crate) fn set_xdp(dev: &Device<Nic>, rtnl: &mut Rtnl, program: Option<&Program>) -> Result {
    match dev.lower_ref(rtnl) {
        Some(vf) => vf.set_xdp(rtnl, program),
        None => Ok(()),
    }
}
