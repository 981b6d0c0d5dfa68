// SPDX-License-Identifier: GPL-2.0

//! Sub-channels, and what of the traffic is told by channel: counts, and completions that are
//! held back.

use std::collections::VecDeque;
use std::ops::Range;

use super::lies::Of;
use super::{
    message, Netvsp, MAX_QUEUES, PRIMARY, SEND_INDIRECTION_TABLE, SEND_RNDIS_PACKET_COMPLETE,
    STATUS_FAIL, STATUS_SUCCESS, SUBCHANNEL,
};
use crate::device::{service, Io};

/// Entries of the table by which the guest spreads what it sends.
const SEND_TABLE: usize = 16;

/// The sub-channels of a session.
#[derive(Default)]
pub(super) struct SubChannels {
    /// How many the guest may open.
    granted: usize,
    /// All of them are open, and the guest was not told yet where to send what.
    table_due: bool,
}

/// How the next request for sub-channels is answered, if not as it should be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allocation {
    /// No more than these are granted.
    pub grant: Option<u32>,
    /// No more than these are offered, whatever was granted.
    pub offer: Option<u32>,
}

/// Packets that a channel carried.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Queue {
    pub sent: u64,
    pub received: u64,
}

/// Packets that the guest sent on a channel and that are not completed yet.
#[derive(Default)]
pub(super) struct Flow {
    held: VecDeque<(u64, u32)>,
    full: bool,
}

impl Flow {
    /// Whether the host takes more.
    pub fn is_open(&self) -> bool {
        !self.full
    }
}

impl Netvsp {
    /// The channels that the guest may have open.
    pub(super) fn channels(&self) -> Range<usize> {
        PRIMARY..self.session.sub_channels.granted + 1
    }

    pub(super) fn queue(&mut self, channel: usize) -> &mut Queue {
        if self.queues.len() <= channel {
            self.queues.resize_with(channel + 1, Queue::default);
        }
        &mut self.queues[channel]
    }

    /// Packets by channel, as text.
    pub(super) fn queues_text(&self) -> String {
        let pairs = self.queues.iter().enumerate();
        let words =
            pairs.map(|(n, queue)| format!("tx{n}={} rx{n}={}", queue.sent, queue.received));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Answers the request for `count` sub-channels.
    pub(super) fn allocate(&mut self, io: &mut Io<'_>, id: u64, count: u32) {
        let allocation = std::mem::take(&mut self.faults.allocation);
        // Once per session, and the primary channel is a queue too.
        let most = self.config.queues.clamp(1, MAX_QUEUES) - 1;
        let again = self.session.sub_channels.granted != 0;
        let granted = allocation.grant.map_or(count, |grant| grant.min(count));
        if again || count == 0 || count > most || granted == 0 {
            return self.reply(io, PRIMARY, id, &[SUBCHANNEL, STATUS_FAIL, 0]);
        }
        self.session.sub_channels.granted = granted as usize;
        self.reply(io, PRIMARY, id, &[SUBCHANNEL, STATUS_SUCCESS, granted]);
        let offered = allocation.offer.map_or(granted, |offer| offer.min(granted));
        io.offer_sub_channels(offered as usize);
    }

    pub(super) fn sub_channel_opened(&mut self, io: &mut Io<'_>) {
        let all = self.channels().all(|channel| io.is_open(channel));
        self.session.sub_channels.table_due = all;
    }

    pub(super) fn sub_channel_closed(&mut self, channel: usize) {
        self.reclaim(channel);
        if let Some(out) = self.session.outgoing.get_mut(channel) {
            *out = Default::default();
        }
        if let Some(flow) = self.session.flow.get_mut(channel) {
            *flow = Flow::default();
        }
    }

    /// Tells the guest where to send what, when it has opened all channels.
    pub(super) fn send_table_if_due(&mut self, io: &mut Io<'_>) {
        if std::mem::take(&mut self.session.sub_channels.table_due) {
            let count = self.channels().end as u32;
            let table = std::array::from_fn(|n| n as u32 % count);
            self.send_table(io, SEND_TABLE as u32, None, &table);
        }
    }

    /// Sends the table, with these fields.
    pub(super) fn send_table(
        &self,
        io: &mut Io<'_>,
        count: u32,
        offset: Option<u32>,
        table: &[u32; SEND_TABLE],
    ) {
        let size = self.session.message_size();
        let offset = offset.unwrap_or(size as u32);
        let mut data = message(&[SEND_INDIRECTION_TABLE, count, offset])[..size].to_vec();
        data.extend(table.iter().flat_map(|entry| entry.to_le_bytes()));
        io.send(PRIMARY, 0, false, &data);
        io.signal(PRIMARY);
    }

    /// A packet of the guest's is done: completes it, now or when the host stops holding.
    pub(super) fn sent(
        &mut self,
        io: &mut Io<'_>,
        channel: usize,
        id: u64,
        status: u32,
        control: bool,
    ) {
        if !self.holding || control {
            return self.complete_sent(io, channel, id, status, control);
        }
        if self.session.flow.len() <= channel {
            self.session.flow.resize_with(channel + 1, Flow::default);
        }
        let Some(flow) = self.session.flow.get_mut(channel) else { return };
        flow.held.push_back((id, status));
        flow.full = flow.held.len() >= self.config.tx_quota;
    }

    fn complete_sent(
        &mut self,
        io: &mut Io<'_>,
        channel: usize,
        id: u64,
        status: u32,
        control: bool,
    ) {
        let fields = [SEND_RNDIS_PACKET_COMPLETE, status];
        if self.complete_otherwise(io, channel, id, if control { Of::Control } else { Of::Frame }) {
            return;
        }
        self.complete(io, channel, id, &fields);
        if !control && self.faults.take_twice() {
            self.complete(io, channel, id, &fields);
            self.count_bad();
        }
    }

    /// Completes what was held back.
    pub(super) fn release(&mut self, io: &mut Io<'_>) {
        self.holding = false;
        for (channel, flow) in std::mem::take(&mut self.session.flow).into_iter().enumerate() {
            for (id, status) in flow.held {
                self.complete_sent(io, channel, id, status, false);
            }
        }
        self.start_reading(io);
    }

    /// Reads what has gathered while the host did not look.
    pub(super) fn start_reading(&mut self, io: &mut Io<'_>) {
        self.catching_up = true;
        self.catch_up(io);
    }

    /// Goes on with it: a guest that is as fast as we are must not keep the others waiting.
    pub(super) fn catch_up(&mut self, io: &mut Io<'_>) {
        const ROUNDS: usize = 256;
        if !self.catching_up {
            return;
        }
        for _ in 0..ROUNDS {
            let mut more = false;
            for channel in self.channels() {
                more |= service(self, io, channel);
            }
            if !more {
                self.catching_up = false;
                return;
            }
        }
    }
}
