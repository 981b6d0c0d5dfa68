// SPDX-License-Identifier: GPL-2.0

//! How many queues are in use, and which one a frame is sent on.
//!
//! The host speaks of channels by their index, which it chooses. The queues are numbered by the
//! guest, in the order in which their channels were opened; one that cannot be opened leaves no
//! gap. What translates is here.

use crate::{
    attached::Attached,
    nic::Nic,
    nvsp::SEND_TABLE,
    rss, //
};
use kernel::{
    dev_err,
    net::{
        ethtool::{
            Flow,
            HashFields, //
        },
        rtnl::Rtnl,
        Device,
        FrameToSend,
        Queues, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// The queue for each value of the low bits of a flow's hash.
pub(crate) struct SendTable {
    /// As the host has said it, or simply one after the other.
    channels: [Atomic<u32>; SEND_TABLE],
    queues: [Atomic<u32>; SEND_TABLE],
    /// Flows whose hash is over addresses only: bits of [`flow_bit`].
    addresses_only: Atomic<u32>,
}

fn flow_bit(flow: Flow) -> Option<u32> {
    match flow {
        Flow::Tcp4 => Some(1),
        Flow::Tcp6 => Some(2),
        Flow::Udp4 => Some(4),
        Flow::Udp6 => Some(8),
        Flow::Ip | Flow::Other => None,
    }
}

impl SendTable {
    pub(crate) fn new() -> Self {
        let this = Self {
            channels: [const { Atomic::new(0) }; SEND_TABLE],
            queues: [const { Atomic::new(0) }; SEND_TABLE],
            addresses_only: Atomic::new(0),
        };

        this.reset();
        this
    }

    /// Forgets what the host has said.
    #[inline(never)]
    pub(crate) fn reset(&self) {
        for (n, channel) in (0..).zip(&self.channels) {
            channel.store(n, Relaxed);
        }
        for queue in &self.queues {
            queue.store(0, Relaxed);
        }
    }

    /// The host has sent a table.
    pub(crate) fn set(&self, table: &[u32; SEND_TABLE]) {
        for (place, channel) in self.channels.iter().zip(table) {
            place.store(*channel, Relaxed);
        }
    }

    /// Finds the queues of the table's channels.
    pub(crate) fn translate(&self, attached: &Attached) {
        let count = attached.opened().max(1);

        for (queue, channel) in self.queues.iter().zip(&self.channels) {
            let channel = channel.load(Relaxed);
            let found = (0..)
                .zip(attached.open_queues())
                .find(|(_, open)| u32::from(open.session.sub_index()) == channel);

            queue.store(found.map_or(channel % count, |(n, _)| n), Relaxed);
        }
    }

    /// The queues in the table.
    pub(crate) fn queues(&self) -> impl Iterator<Item = u32> + '_ {
        self.queues.iter().map(|queue| queue.load(Relaxed))
    }

    /// What the hash of a kind of flows is computed over.
    pub(crate) fn fields(&self, flow: Flow) -> HashFields {
        match flow_bit(flow) {
            Some(bit) if self.addresses_only.load(Relaxed) & bit == 0 => {
                HashFields::AddressesAndPorts
            }
            Some(_) => HashFields::Addresses,
            None if flow == Flow::Ip => HashFields::Addresses,
            None => HashFields::Nothing,
        }
    }

    /// Sets it. Under RTNL.
    pub(crate) fn set_fields(&self, flow: Flow, fields: HashFields) -> Result {
        let bit = flow_bit(flow).ok_or(EOPNOTSUPP)?;
        let before = self.addresses_only.load(Relaxed);
        let after = match fields {
            HashFields::AddressesAndPorts => before & !bit,
            HashFields::Addresses => before | bit,
            HashFields::Nothing => return Err(EOPNOTSUPP),
        };

        self.addresses_only.store(after, Relaxed);
        Ok(())
    }

    /// Chooses the queue of a frame.
    #[inline]
    pub(crate) fn select(&self, dev: &Device<Nic>, skb: &FrameToSend<'_>) -> u16 {
        if dev.tx_queues() <= 1 {
            return 0;
        }
        let addresses_only = self.addresses_only.load(Relaxed);
        // Azure's hosts do not hash the ports of fragments, so users may want not to, either.
        let hash = if addresses_only != 0
            && flow_bit(skb.flow()).is_some_and(|bit| addresses_only & bit != 0)
        {
            skb.address_hash()
        } else {
            skb.flow_hash()
        };
        let hash = hash as usize % SEND_TABLE;

        // CAST: Less than the number of queues.
        self.queues
            .get(hash)
            .map_or(0, |queue| queue.load(Relaxed) as u16)
    }
}

/// Uses the queues that are open. Process context, sleeps.
pub(crate) fn changed(dev: &Device<Nic>, rtnl: &mut Rtnl) {
    let Some(attached) = dev.attached.get() else {
        return;
    };
    let opened = attached.opened();

    dev.send_table.translate(&attached);
    if opened == 0 || !dev.is_registered() {
        return;
    }
    let used = Queues {
        tx: opened,
        rx: opened,
    };
    if dev.set_queues(rtnl, used).is_err() {
        dev_err!(dev.hv(), "cannot use {} queues\n", opened);
        return;
    }
    for (index, open) in (0..).zip(attached.open_queues()) {
        // Users are not told then, and that is all.
        let _ = dev.set_poller(rtnl, index, Some(open.napi_ref()));
    }
    // With all of them: a host that is told twice forgets what it had in between.
    if opened != attached.promised() {
        return;
    }
    dev.config.get_mut(rtnl).rss.spread_over(opened);
    if opened > 1 {
        if let Err(error) = rss::apply(dev, rtnl, &attached) {
            dev_err!(dev.hv(), "Fail to set RSS parameters: {:?}\n", error);
        }
    }
}
