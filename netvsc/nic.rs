// SPDX-License-Identifier: GPL-2.0

//! The card as the network core sees it: its private data, and its operations.

use crate::{
    attach::{
        self,
        Config, //
    },
    attached::Attached,
    deferred::Deferred,
    link::LinkState,
    offloads::Offloads,
    queues::SendTable,
    transmit,
    vf::{
        self,
        Vf, //
    },
};
use kernel::{
    alloc::KVVec,
    cpu,
    device::Bound,
    net::{
        rtnl::{
            self,
            Rtnl, //
        },
        skb::TxSkb,
        stats::{
            Counter,
            LinkStats, //
        },
        xdp::{
            Program,
            Redirected, //
        },
        Device,
        ExtAck,
        Feature,
        Features,
        FrameToSend,
        MacAddress,
        Operations,
        Transmit, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Atomic,
        rcu::Slot,
        Arc, //
    },
    vmbus, //
};

/// Queues of a card, at most.
pub(crate) const MAX_QUEUES: u16 = 64;

/// What is counted for each queue. It goes on when the card is set up anew.
#[derive(Default)]
pub(crate) struct QueueStats {
    pub(crate) tx_packets: Counter,
    pub(crate) tx_bytes: Counter,
    pub(crate) rx_packets: Counter,
    pub(crate) rx_bytes: Counter,
    /// For a group, or for all.
    pub(crate) rx_multicast: Counter,
    /// What programs have done with received frames.
    pub(crate) xdp_drop: Counter,
    pub(crate) xdp_redirect: Counter,
    pub(crate) xdp_tx: Counter,
    /// Frames that were redirected to this card.
    pub(crate) xdp_xmit: Counter,
}

/// What is counted for the card; the names are those that ethtool shows.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) tx_scattered: Counter,
    pub(crate) tx_no_memory: Counter,
    pub(crate) tx_no_space: Counter,
    pub(crate) tx_too_big: Counter,
    pub(crate) tx_busy: Counter,
    pub(crate) tx_send_full: Counter,
    pub(crate) rx_comp_busy: Counter,
    pub(crate) rx_no_memory: Counter,
    pub(crate) stop_queue: Counter,
    pub(crate) wake_queue: Counter,
    pub(crate) vlan_error: Counter,
}

/// The private data of the network device.
pub(crate) struct Nic {
    /// The bus device, for messages.
    hv: ARef<vmbus::Device>,
    pub(crate) attached: Slot<Attached>,
    pub(crate) deferred: Arc<Deferred>,
    /// What looks at received frames before the stack does.
    pub(crate) program: Slot<ARef<Program>>,
    /// How the card is to be set up.
    pub(crate) config: rtnl::Cell<Config>,
    /// The driver is being unbound: nothing is set up any more.
    pub(crate) removed: rtnl::Cell<bool>,
    pub(crate) link: LinkState,
    pub(crate) offloads: Offloads,
    pub(crate) send_table: SendTable,
    pub(crate) vf: Vf,
    pub(crate) counters: Counters,
    pub(crate) tx_dropped: Counter,
    pub(crate) rx_errors: Counter,
    queue_stats: KVVec<QueueStats>,
    /// Which messages are printed.
    pub(crate) msg_level: Atomic<u32>,
}

impl Nic {
    pub(crate) fn new(
        parent: &vmbus::Device<Bound>,
        deferred: Arc<Deferred>,
        config: Config,
        msg_level: u32,
    ) -> Result<Self> {
        let parent: &vmbus::Device = parent;
        let queues = max_queues();
        let mut queue_stats = KVVec::with_capacity(queues.into(), GFP_KERNEL)?;

        for _ in 0..queues {
            queue_stats.push(QueueStats::default(), GFP_KERNEL)?;
        }
        Ok(Self {
            hv: parent.into(),
            attached: Slot::new(),
            deferred,
            program: Slot::new(),
            config: rtnl::Cell::new(config),
            removed: rtnl::Cell::new(false),
            link: LinkState::new(),
            offloads: Offloads::new(),
            send_table: SendTable::new(),
            vf: Vf::new()?,
            counters: Counters::default(),
            tx_dropped: Counter::new(),
            rx_errors: Counter::new(),
            queue_stats,
            msg_level: Atomic::new(msg_level),
        })
    }

    /// The bus device.
    #[inline]
    pub(crate) fn hv(&self) -> &vmbus::Device {
        &self.hv
    }

    /// The figures of a queue.
    #[inline]
    pub(crate) fn queue_stats(&self, queue: u16) -> Option<&QueueStats> {
        self.queue_stats.get(usize::from(queue))
    }

    /// What is attached, for those who hold RTNL; [`ENODEV`] if there is nothing.
    pub(crate) fn attached(&self, _rtnl: &Rtnl) -> Result<Arc<Attached>> {
        self.attached.get().ok_or(ENODEV)
    }
}

/// How many queues a card can have on this machine.
pub(crate) fn max_queues() -> u16 {
    u16::try_from(cpu::nr_cpu_ids())
        .unwrap_or(MAX_QUEUES)
        .clamp(1, MAX_QUEUES)
}

#[vtable]
impl Operations for Nic {
    type Parent = vmbus::Device<Bound>;

    fn open(dev: &Device<Self>, rtnl: &mut Rtnl) -> Result {
        dev.carrier_off();
        attach::open(dev, rtnl)?;
        vf::open(dev, rtnl);
        Ok(())
    }

    fn stop(dev: &Device<Self>, rtnl: &mut Rtnl) -> Result {
        let stopped = attach::stop(dev, rtnl);

        vf::stop(dev, rtnl);
        stopped
    }

    fn start_xmit(dev: &Device<Self>, skb: TxSkb, more: bool) -> Transmit {
        transmit::start_xmit(dev, skb, more)
    }

    fn select_queue(dev: &Device<Self>, skb: &FrameToSend<'_>) -> u16 {
        vf::select_queue(dev, skb).unwrap_or_else(|| dev.send_table.select(dev, skb))
    }

    fn set_rx_mode(dev: &Device<Self>) {
        dev.deferred.rx_mode_changed();
        if vf::is_there(dev) {
            dev.deferred.vf_changed();
        }
    }

    fn set_mac_address(dev: &Device<Self>, rtnl: &mut Rtnl, addr: &MacAddress) -> Result {
        let attached = dev.attached(rtnl)?;

        vf::with_address(dev, rtnl, addr, |_| attach::set_address(&attached, addr))
    }

    fn change_mtu(dev: &Device<Self>, rtnl: &mut Rtnl, mtu: u32) -> Result {
        let before = dev.mtu();

        crate::xdp::check_mtu(dev, mtu)?;
        vf::with_mtu(dev, rtnl, mtu, |rtnl| {
            attach::reattach(
                dev,
                rtnl,
                |rtnl| dev.set_mtu(rtnl, mtu),
                |rtnl| dev.set_mtu(rtnl, before),
            )
        })
    }

    fn stats(dev: &Device<Self>, stats: &mut LinkStats<'_>) {
        for queue in &dev.queue_stats {
            stats.sent(queue.tx_packets.get(), queue.tx_bytes.get());
            stats.received(queue.rx_packets.get(), queue.rx_bytes.get());
            stats.multicast(queue.rx_multicast.get());
        }
        dev.vf.add_stats(stats);
        stats.tx_dropped(dev.tx_dropped.get());
        stats.rx_errors(dev.rx_errors.get());
    }

    fn fix_features(dev: &Device<Self>, _rtnl: &mut Rtnl, features: Features) -> Features {
        crate::xdp::fix_features(dev, features)
    }

    fn set_xdp(
        dev: &Device<Self>,
        rtnl: &mut Rtnl,
        program: Option<&Program>,
        ack: &mut ExtAck<'_>,
    ) -> Result {
        crate::xdp::set(dev, rtnl, program, ack)
    }

    fn xdp_xmit(dev: &Device<Self>, frames: &mut Redirected<'_>) {
        crate::xdp::xmit(dev, frames);
    }

    fn set_features(dev: &Device<Self>, rtnl: &mut Rtnl, features: Features) -> Result {
        let lro = features.contains(Feature::Lro);
        let attached = dev.attached(rtnl)?;

        if lro != dev.features().contains(Feature::Lro) {
            dev.offloads.set_coalescing(&attached, lro)?;
        }
        vf::set_features(dev, rtnl, features);
        Ok(())
    }
}
