// SPDX-License-Identifier: GPL-2.0

//! Programs that look at received frames before the stack does, and frames that they redirect here.
//!
//! A frame is copied, once, from the receive buffer to a page of its queue. One that the program
//! drops leaves the page for the next. The program outlasts setting the card up anew.

use crate::{
    nic::Nic,
    transmit,
    vf, //
};
use kernel::{
    cpu::CpuId,
    dev_err,
    dev_info,
    net::{
        rtnl::Rtnl,
        skb::ETH_HLEN,
        xdp::{
            self,
            Program,
            Redirected, //
        },
        Device,
        ExtAck,
        Feature,
        Features, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        rcu,
        Arc, //
    }, //
};

/// Whether frames of an interface with this MTU fit into the page of a queue.
fn fits(mtu: u32) -> bool {
    xdp::fits((mtu as usize).saturating_add(ETH_HLEN))
}

fn has_program(dev: &Device<Nic>) -> bool {
    dev.program.load(&rcu::read_lock()).is_some()
}

/// Has `program` look at received frames, or none. Process context, sleeps.
pub(crate) fn set(
    dev: &Device<Nic>,
    rtnl: &mut Rtnl,
    program: Option<&Program>,
    ack: &mut ExtAck<'_>,
) -> Result {
    let new = match program {
        Some(program) => {
            dev.attached(rtnl)?;
            if !fits(dev.mtu()) {
                dev_err!(dev.hv(), "XDP: mtu:{} too large\n", dev.mtu());
                ack.set("hv_netvsc: XDP: mtu too large");
                return Err(EOPNOTSUPP);
            }
            if dev.features().contains(Feature::Lro) {
                dev_err!(dev.hv(), "XDP: not support LRO\n");
                ack.set("hv_netvsc: XDP: not support LRO");
                return Err(EOPNOTSUPP);
            }
            Some(Arc::new(ARef::from(program), GFP_KERNEL)?)
        }
        None => None,
    };

    // Nobody uses the old one any more when this returns.
    drop(dev.program.replace(new));
    if let Err(error) = vf::set_xdp(dev, rtnl, program) {
        dev_err!(dev.hv(), "vf_setxdp failed:{:?}\n", error);
        ack.set("hv_netvsc: vf_setxdp failed");
        drop(dev.program.replace(None));
        return Err(error);
    }
    Ok(())
}

/// Refuses an MTU whose frames a program could not look at.
pub(crate) fn check_mtu(dev: &Device<Nic>, mtu: u32) -> Result {
    if has_program(dev) && !fits(mtu) {
        dev_err!(dev.hv(), "XDP: mtu:{} too large\n", mtu);
        return Err(EOPNOTSUPP);
    }
    Ok(())
}

/// Coalesced frames are too large for programs.
pub(crate) fn fix_features(dev: &Device<Nic>, features: Features) -> Features {
    if features.contains(Feature::Lro) && has_program(dev) {
        dev_info!(dev.hv(), "Skip LRO - unsupported with XDP\n");
        return features.without(Feature::Lro.into());
    }
    features
}

/// Sends frames that were redirected. With softirqs off.
pub(crate) fn xmit(dev: &Device<Nic>, frames: &mut Redirected<'_>) {
    let guard = rcu::read_lock();
    if vf::path(dev, &guard).is_some_and(|vf| frames.forward(&vf)) {
        return;
    }
    let Some(attached) = dev.attached.load(&guard) else {
        return;
    };
    let index = CpuId::current()
        .as_u32()
        .checked_rem(dev.tx_queues())
        .unwrap_or(0);
    // CAST: Less than the number of queues, which has 16 bits.
    let index = index as u16;
    let (Some(open), Some(stats)) = (attached.queue(index), dev.queue_stats(index)) else {
        return;
    };
    if !attached.sends() {
        return;
    }

    for skb in frames.by_ref() {
        transmit::send_now(dev, &attached, open, skb);
    }
    stats.xdp_xmit.add(frames.taken() as u64);
    open.session.writer().flush();
}
