// SPDX-License-Identifier: GPL-2.0

//! What ethtool shows and sets.

use crate::{
    attach, buffers,
    nic::Nic,
    nvsp::{
        Version,
        SEND_TABLE, //
    },
    rss::{
        self,
        Rss as Spread, //
    },
    vf::Stats,
};
use kernel::{
    alloc::KVec,
    cpu,
    net::{
        ethtool::{
            Channels,
            Figures,
            Flow,
            HashFields,
            Link,
            Names,
            Operations,
            Rings,
            Rss, //
        },
        rtnl::Rtnl,
        stats::Counter,
        Device, //
    },
    prelude::*,
    sync::atomic::Relaxed,
    time::Delta, //
};

/// How long sub-channels may take to come.
const PATIENCE: Delta = Delta::from_secs(60);

/// Where a figure of the card is.
type OfCard = fn(&Nic) -> &Counter;

/// The figures of the card.
const OF_CARD: [(&str, OfCard); 11] = [
    ("tx_scattered", |nic| &nic.counters.tx_scattered),
    ("tx_no_memory", |nic| &nic.counters.tx_no_memory),
    ("tx_no_space", |nic| &nic.counters.tx_no_space),
    ("tx_too_big", |nic| &nic.counters.tx_too_big),
    ("tx_busy", |nic| &nic.counters.tx_busy),
    ("tx_send_full", |nic| &nic.counters.tx_send_full),
    ("rx_comp_busy", |nic| &nic.counters.rx_comp_busy),
    ("rx_no_memory", |nic| &nic.counters.rx_no_memory),
    ("stop_queue", |nic| &nic.counters.stop_queue),
    ("wake_queue", |nic| &nic.counters.wake_queue),
    ("vlan_error", |nic| &nic.counters.vlan_error),
];

/// Where a figure of the virtual function is.
type OfVf = fn(&Stats) -> &Counter;

/// Those of the virtual function.
const OF_VF: [(&str, OfVf); 5] = [
    ("vf_rx_packets", |vf| &vf.rx_packets),
    ("vf_rx_bytes", |vf| &vf.rx_bytes),
    ("vf_tx_packets", |vf| &vf.tx_packets),
    ("vf_tx_bytes", |vf| &vf.tx_bytes),
    ("vf_tx_dropped", |vf| &vf.tx_dropped),
];

/// Those of each queue.
const OF_QUEUE: [(&str, &str); 8] = [
    ("tx", "packets"),
    ("tx", "bytes"),
    ("tx", "xdp_xmit"),
    ("rx", "packets"),
    ("rx", "bytes"),
    ("rx", "xdp_drop"),
    ("rx", "xdp_redirect"),
    ("rx", "xdp_tx"),
];

/// Those of each processor.
const OF_CPU: [&str; 8] = [
    "rx_packets",
    "rx_bytes",
    "tx_packets",
    "tx_bytes",
    "vf_rx_packets",
    "vf_rx_bytes",
    "vf_tx_packets",
    "vf_tx_bytes",
];

/// How many queues are shown.
fn shown(dev: &Device<Nic>) -> u16 {
    dev.attached
        .get()
        // CAST: At most `MAX_QUEUES`.
        .map_or(0, |attached| attached.opened() as u16)
}

/// Adds a name that has no number in it.
#[inline(never)]
fn push(names: &mut Names<'_>, name: &str) {
    names.push(fmt!("{}", name));
}

/// Adds the name of a figure of a queue.
#[inline(never)]
fn push_of_queue(names: &mut Names<'_>, direction: &str, queue: u16, name: &str) {
    names.push(fmt!("{}_queue_{}_{}", direction, queue, name));
}

/// Adds the name of a figure of a processor.
#[inline(never)]
fn push_of_cpu(names: &mut Names<'_>, cpu: u32, name: &str) {
    names.push(fmt!("cpu{}_{}", cpu, name));
}

#[vtable]
impl Operations for Nic {
    const DRIVER: &'static str = "hv_netvsc";

    fn stats_count(dev: &Device<Self>, rtnl: &mut Rtnl) -> Result<usize> {
        dev.attached(rtnl)?;
        Ok(OF_CARD.len()
            + OF_VF.len()
            + usize::from(shown(dev)) * OF_QUEUE.len()
            + cpu::nr_cpu_ids() as usize * OF_CPU.len())
    }

    fn stats_names(dev: &Device<Self>, _rtnl: &mut Rtnl, names: &mut Names<'_>) {
        for (name, _) in OF_CARD {
            push(names, name);
        }
        for (name, _) in OF_VF {
            push(names, name);
        }
        for queue in 0..shown(dev) {
            for (direction, name) in OF_QUEUE {
                push_of_queue(names, direction, queue, name);
            }
        }
        for cpu in 0..cpu::nr_cpu_ids() {
            for name in OF_CPU {
                push_of_cpu(names, cpu, name);
            }
        }
    }

    fn stats_figures(dev: &Device<Self>, _rtnl: &mut Rtnl, figures: &mut Figures<'_>) {
        for (_, counter) in OF_CARD {
            figures.push(counter(dev).get());
        }
        for (_, counter) in OF_VF {
            figures.push(
                dev.vf
                    .stats()
                    .iter()
                    .fold(0, |sum: u64, here| sum.wrapping_add(counter(here).get())),
            );
        }
        for queue in 0..shown(dev) {
            let Some(stats) = dev.queue_stats(queue) else {
                return;
            };

            for counter in [
                &stats.tx_packets,
                &stats.tx_bytes,
                &stats.xdp_xmit,
                &stats.rx_packets,
                &stats.rx_bytes,
                &stats.xdp_drop,
                &stats.xdp_redirect,
                &stats.xdp_tx,
            ] {
                figures.push(counter.get());
            }
        }
        // A queue's frames are those of the processor that the host interrupts for it now.
        let attached = dev.attached.get();
        for cpu in 0..cpu::nr_cpu_ids() {
            let vf = dev.vf.stats().get(cpu as usize).map_or([0; 4], |vf| {
                [&vf.rx_packets, &vf.rx_bytes, &vf.tx_packets, &vf.tx_bytes].map(Counter::get)
            });
            // By both paths.
            let mut sums = vf;

            for (index, open) in (0..).zip(attached.iter().flat_map(|a| a.open_queues())) {
                let Some(stats) = dev.queue_stats(index) else {
                    continue;
                };
                if open.session.target_cpu().as_u32() != cpu {
                    continue;
                }
                for (sum, counter) in sums.iter_mut().zip([
                    &stats.rx_packets,
                    &stats.rx_bytes,
                    &stats.tx_packets,
                    &stats.tx_bytes,
                ]) {
                    *sum = counter.get().wrapping_add(*sum);
                }
            }
            for figure in sums {
                figures.push(figure);
            }
            for figure in vf {
                figures.push(figure);
            }
        }
    }

    fn regs_len(_dev: &Device<Self>, _rtnl: &mut Rtnl) -> usize {
        4 * SEND_TABLE
    }

    fn regs(dev: &Device<Self>, _rtnl: &mut Rtnl, dump: &mut [u8]) -> u32 {
        const VERSION: u32 = 1;

        for (place, queue) in dump.chunks_exact_mut(4).zip(dev.send_table.queues()) {
            place.copy_from_slice(&queue.to_ne_bytes());
        }
        VERSION
    }

    fn msglevel(dev: &Device<Self>, _rtnl: &mut Rtnl) -> u32 {
        dev.msg_level.load(Relaxed)
    }

    fn set_msglevel(dev: &Device<Self>, _rtnl: &mut Rtnl, level: u32) {
        dev.msg_level.store(level, Relaxed);
    }

    fn link(dev: &Device<Self>, _rtnl: &mut Rtnl) -> Link {
        dev.link.shown()
    }

    fn set_link(dev: &Device<Self>, _rtnl: &mut Rtnl, link: Link) {
        dev.link.show(link);
    }

    fn channels(dev: &Device<Self>, rtnl: &mut Rtnl) -> Channels {
        match dev.attached.get() {
            Some(attached) => Channels {
                max: dev.config.get(rtnl).possible,
                count: attached.opened(),
            },
            None => Channels::default(),
        }
    }

    fn set_channels(dev: &Device<Self>, rtnl: &mut Rtnl, count: u32) -> Result {
        let attached = dev.attached(rtnl)?;
        let before = dev.config.get(rtnl).queues;

        if attached.version() < Version::V5 {
            return Err(EINVAL);
        }
        drop(attached);
        attach::reattach(
            dev,
            rtnl,
            |rtnl| dev.config.get_mut(rtnl).queues = count,
            |rtnl| dev.config.get_mut(rtnl).queues = before,
        )?;

        // Who asks for channels wants to have them when this returns; they come by themselves. If
        // some do not, there are fewer.
        let attached = dev.attached(rtnl)?;
        let _ = attached
            .primary()?
            .wait(PATIENCE, || attached.opened() >= attached.promised());
        crate::queues::changed(dev, rtnl);
        Ok(())
    }

    fn rings(dev: &Device<Self>, _rtnl: &mut Rtnl) -> Option<(Rings, Rings)> {
        let attached = dev.attached.get()?;
        let receive = attached.receive_sections()?;
        let (_, send) = attached.send_sections()?;
        let max = if attached.version() <= Version::V2 {
            buffers::MAX_RECEIVE_LEGACY
        } else {
            buffers::MAX_RECEIVE
        };

        // CAST: Less than 2^32.
        Some((
            Rings {
                rx: (max as u32).checked_div(receive.size)?,
                tx: (buffers::MAX_SEND as u32).checked_div(send.size)?,
            },
            Rings {
                rx: receive.count,
                tx: send.count,
            },
        ))
    }

    fn set_rings(dev: &Device<Self>, rtnl: &mut Rtnl, rings: Rings) -> Result {
        let (max, now) = Self::rings(dev, rtnl).ok_or(ENODEV)?;
        let attached = dev.attached(rtnl)?;
        let mut receive = attached.receive_sections().ok_or(ENODEV)?;
        let (_, mut send) = attached.send_sections().ok_or(ENODEV)?;
        let wanted = Rings {
            rx: rings.rx.min(max.rx).max(buffers::MIN_SECTIONS),
            tx: rings.tx.min(max.tx).max(buffers::MIN_SECTIONS),
        };
        let (receive_before, send_before) = (receive, send);

        if wanted == now {
            return Ok(());
        }
        drop(attached);
        receive.count = wanted.rx;
        send.count = wanted.tx;
        attach::reattach(
            dev,
            rtnl,
            |rtnl| {
                let config = dev.config.get_mut(rtnl);

                config.receive = receive;
                config.send = send;
            },
            |rtnl| {
                let config = dev.config.get_mut(rtnl);

                config.receive = receive_before;
                config.send = send_before;
            },
        )
    }

    fn rx_ring_count(dev: &Device<Self>, _rtnl: &mut Rtnl) -> u32 {
        shown(dev).into()
    }

    fn rss_key_len(_dev: &Device<Self>) -> u32 {
        rss::KEY as u32
    }

    fn rss_table_len(dev: &Device<Self>, rtnl: &mut Rtnl) -> u32 {
        // CAST: At most 256.
        dev.config.get(rtnl).rss.table.len() as u32
    }

    fn rss(dev: &Device<Self>, rtnl: &mut Rtnl, asked: &mut Rss<'_>) -> Result {
        dev.attached(rtnl)?;
        let rss = &dev.config.get(rtnl).rss;

        if let Some(table) = &mut asked.table {
            for (place, queue) in table.iter_mut().zip(rss.table.iter()) {
                *place = *queue;
            }
        }
        if let Some(key) = &mut asked.key {
            for (place, byte) in key.iter_mut().zip(rss.key) {
                *place = byte;
            }
        }
        Ok(())
    }

    fn set_rss(dev: &Device<Self>, rtnl: &mut Rtnl, wanted: &Rss<'_>) -> Result {
        let attached = dev.attached(rtnl)?;
        let opened = attached.opened();
        let rss = &mut dev.config.get_mut(rtnl).rss;

        if rss.table.is_empty() {
            return Err(EOPNOTSUPP);
        }
        if let Some(table) = &wanted.table {
            if table.iter().any(|queue| *queue >= opened) {
                return Err(EINVAL);
            }
            let mut copy = KVec::with_capacity(rss.table.len(), GFP_KERNEL)?;
            copy.extend_from_slice(table, GFP_KERNEL)?;
            rss.chosen = !Spread::is_default(&copy, opened);
            rss.table = copy;
        }
        if let Some(key) = &wanted.key {
            for (place, byte) in rss.key.iter_mut().zip(key.iter()) {
                *place = *byte;
            }
        }
        rss::apply(dev, rtnl, &attached)
    }

    fn hash_fields(dev: &Device<Self>, _rtnl: &mut Rtnl, flow: Flow) -> HashFields {
        dev.send_table.fields(flow)
    }

    fn set_hash_fields(
        dev: &Device<Self>,
        _rtnl: &mut Rtnl,
        flow: Flow,
        fields: HashFields,
    ) -> Result {
        dev.send_table.set_fields(flow, fields)
    }
}
