// SPDX-License-Identifier: GPL-2.0

//! The virtual function of a real card beside this one.
//!
//! Its network device becomes the lower one of ours: users see one interface, and its frames go by
//! whichever path is better. The host says which function is ours, and is told which path frames go
//! by; as long as it has not confirmed that, and always when the function is not up, they go by the
//! channel. Nothing here waits for a function that the host has promised, nor for its word that
//! frames go by one; only a function that is about to go waits until they do not any more.
//!
//! How functions are found is in [`crate::functions`].
//!
//! C source: [`drivers/net/hyperv/netvsc_drv.c`](srctree/drivers/net/hyperv/netvsc_drv.c)

use crate::{
    attached::Attached,
    nic::Nic,
    nvsp::Message,
    queue::Pending,
    trace, //
};
use kernel::{
    alloc::KVVec,
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
        Features,
        FrameToSend,
        Interface,
        LowerRef,
        MacAddress,
        Transmit,
        Upper, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        rcu, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// How long the host may take to change the path. It can be slow.
const PATIENCE: Delta = Delta::from_secs(60);

/// A question is not repeated before.
const REPEAT: Delta = Delta::from_secs(1);

/// How often it is looked whether it has.
const SLICE: Delta = Delta::from_millis(200);

/// Which path the host was asked for last, and whether it has confirmed that; above these bits is a
/// number that tells questions apart.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Path(u32);

impl Path {
    const CONFIRMED: u32 = 1;
    const TO_VF: u32 = 2;
    const ACTIVE: u32 = Self::CONFIRMED | Self::TO_VF;
    const NUMBER: u32 = 4;

    fn next(self, bits: u32) -> Self {
        Self((self.0 & !Self::ACTIVE).wrapping_add(Self::NUMBER) | bits)
    }

    fn is_to_vf(self) -> bool {
        self.0 & Self::TO_VF != 0
    }

    fn is_confirmed(self) -> bool {
        self.0 & Self::CONFIRMED != 0
    }

    fn is_active(self) -> bool {
        self.0 & Self::ACTIVE == Self::ACTIVE
    }
}

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
pub(crate) struct Joined {
    pub(crate) since: Instant<Monotonic>,
    /// It was given the settings of the card.
    pub(crate) ready: bool,
    /// The card has asked for all frames, or for all that are for a group.
    pub(crate) promiscuous: bool,
    pub(crate) all_multicast: bool,
}

impl Joined {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            ready: false,
            promiscuous: false,
            all_multicast: false,
        }
    }
}

/// What the card knows of its function.
pub(crate) struct Vf {
    /// What the host has said last: whether there is one, and its serial number.
    association: Atomic<u64>,
    /// A [`Path`].
    path: Atomic<u32>,
    /// Since when the host is asked for the function's path, and the question.
    asking: rtnl::Cell<Option<(Path, Instant<Monotonic>)>>,
    /// The answer that users were told of last.
    told: rtnl::Cell<Path>,
    pub(crate) joined: rtnl::Cell<Option<Joined>>,
    /// A function that is to come to the card's network namespace.
    pub(crate) coming: rtnl::Cell<Option<ARef<Interface>>>,
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
            path: Atomic::new(Path::CONFIRMED),
            asking: rtnl::Cell::new(None),
            told: rtnl::Cell::new(Path(0)),
            joined: rtnl::Cell::new(None),
            coming: rtnl::Cell::new(None),
            own_tso: rtnl::Cell::new(0),
            stats,
        })
    }

    /// Whether frames go by the function, if it is up.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.path().is_active()
    }

    #[inline]
    fn path(&self) -> Path {
        Path(self.path.load(Relaxed))
    }

    /// Which function the host says that it is.
    pub(crate) fn is(&self, serial: u32) -> bool {
        self.association.load(Relaxed) == ALLOCATED | u64::from(serial)
    }

    /// A host to which a new channel is opened, or that has none any more, knows of no other path.
    pub(crate) fn reset_path(&self) {
        self.path
            .store(self.path().next(Path::CONFIRMED).0, Relaxed);
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

/// Gives a function the settings of its card, and brings it up if that is.
pub(crate) fn set_up(dev: &Device<Nic>, rtnl: &mut Rtnl, vf: &Interface) {
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
pub(crate) fn follow_rx_mode(dev: &Device<Nic>, rtnl: &mut Rtnl, vf: &Interface) {
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

/// Has frames go by the function if it is up, and else by the channel.
pub(crate) fn follow(dev: &Device<Nic>, rtnl: &mut Rtnl, vf: &Interface, up: bool) {
    if change(dev, rtnl, vf, up) {
        dev.deferred.vf_changed();
    }
}

/// Returns whether it has to be looked at later.
fn change(dev: &Device<Nic>, rtnl: &mut Rtnl, vf: &Interface, up: bool) -> bool {
    let Some(attached) = dev.attached.get() else {
        return false;
    };
    let path = dev.vf.path();

    if path.is_confirmed() && path.is_to_vf() == up {
        return false;
    }
    if up && !dev.vf.is_allocated() {
        // When it comes this is called again.
        if net::ratelimit() {
            dev_info!(dev.hv(), "Waiting for the VF association from host\n");
        }
        return false;
    }
    if up {
        let asked = *dev.vf.asking.get(rtnl);

        if asked.is_some_and(|(asked, since)| asked == path && since.elapsed() < REPEAT) {
            return true;
        }
        match ask(dev, &attached, true) {
            Ok(path) => *dev.vf.asking.get_mut(rtnl) = Some((path, Instant::now())),
            Err(error) if error == EAGAIN => {}
            Err(error) => {
                failed(dev, rtnl, vf, "to", error);
                return false;
            }
        }
        return true;
    }
    *dev.vf.asking.get_mut(rtnl) = None;
    match back(dev, &attached) {
        Ok(()) => {
            let tso = *dev.vf.own_tso.get(rtnl);

            switched(dev, rtnl, vf, "from", tso);
        }
        Err(error) => failed(dev, rtnl, vf, "from", error),
    }
    false
}

/// What is to be done about the path when nothing changes. Returns how long to wait for the rest.
pub(crate) fn settle(dev: &Device<Nic>, rtnl: &mut Rtnl, vf: &Interface) -> Option<Delta> {
    let path = dev.vf.path();

    if path.is_active() {
        if *dev.vf.told.get(rtnl) != path {
            let tso = vf.tso_max_size(rtnl);

            *dev.vf.told.get_mut(rtnl) = path;
            switched(dev, rtnl, vf, "to", tso);
        }
        *dev.vf.asking.get_mut(rtnl) = None;
        let _ = change(dev, rtnl, vf, vf.is_running());
        return None;
    }
    match *dev.vf.asking.get(rtnl) {
        Some((asked, since)) if asked == path && vf.is_running() => {
            if since.elapsed() < PATIENCE {
                return Some(SLICE);
            }
            // The next reason to look at the function asks again.
            *dev.vf.asking.get_mut(rtnl) = None;
            failed(dev, rtnl, vf, "to", ETIMEDOUT);
            None
        }
        _ => change(dev, rtnl, vf, vf.is_running()).then_some(SLICE),
    }
}

fn switched(dev: &Device<Nic>, rtnl: &mut Rtnl, vf: &Interface, way: &str, tso: u32) {
    dev.set_tso_max_size(rtnl, tso);
    dev_info!(
        dev.hv(),
        "{}: Data path switched {} VF: {}\n",
        dev.name(rtnl),
        way,
        vf.name(rtnl)
    );
}

fn failed(dev: &Device<Nic>, rtnl: &Rtnl, vf: &Interface, way: &str, error: Error) {
    dev_err!(
        dev.hv(),
        "{}: Data path failed to switch {} VF: {}, err: {:?}\n",
        dev.name(rtnl),
        way,
        vf.name(rtnl),
        error
    );
}

/// Asks the host for a path. Under RTNL. [`EAGAIN`] if there is no room, [`EBUSY`] if it answers
/// nothing.
fn ask(dev: &Device<Nic>, attached: &Attached, to_vf: bool) -> Result<Path> {
    let session = attached.primary()?;
    let message = Message::switch_data_path(to_vf);
    let path = dev.vf.path().next(if to_vf { Path::TO_VF } else { 0 });

    // Before the host can answer. If it has no room it is on the channel's path, as frames are.
    dev.vf.path.store(path.0, Relaxed);
    attached.begin_question()?;
    trace::nvsp_send(session, &message);
    match session
        .writer()
        .request(message.bytes(), Pending::Switch(path.0))
    {
        Ok(()) => Ok(path),
        Err((error, _)) => {
            attached.end_question();
            Err(error)
        }
    }
}

/// Has the host send by the channel again, and waits until it does: the function is about to go.
fn back(dev: &Device<Nic>, attached: &Attached) -> Result {
    let session = attached.primary()?;
    let mut asked = Err(EAGAIN);

    session.wait(PATIENCE, || {
        asked = ask(dev, attached, false);
        !matches!(asked, Err(error) if error == EAGAIN)
    })?;
    asked?;
    session.wait(PATIENCE, || dev.vf.path().is_confirmed())
}

/// The host has answered a question for a path. The poll function.
#[cold]
pub(crate) fn answered(dev: &Device<Nic>, attached: &Attached, path: u32) {
    // Old ones are late.
    let _ = dev.vf.path.cmpxchg(path, path | Path::CONFIRMED, Full);

    attached.end_question();
    attached.notify();
    dev.deferred.vf_changed();
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
