// SPDX-License-Identifier: GPL-2.0

//! Received frames: from the buffer that the host writes to, into socket buffers.
//!
//! The host can change the buffer at any time. What is looked at is copied first, once, and checked
//! then; the data of a frame are copied straight into its socket buffer, and looked at there.

use crate::{
    attached::{
        Attached,
        OpenQueue, //
    },
    buffers::ReceiveBuffer,
    bytes::u32_at,
    info::Received,
    link,
    nic::Nic,
    nvsp,
    queue::Pending,
    rndis,
    trace::{
        self,
        Aligned, //
    },
    transmit, //
};
use kernel::{
    alloc::KVec,
    io::{
        Io,
        SysMem, //
    },
    net::{
        napi::Budget,
        skb::{
            RxSkb,
            ETH_HLEN, //
        },
        xdp::{
            Program,
            RxQueue,
            Verdict, //
        },
        Device,
        Feature, //
    },
    prelude::*,
    sync::aref::ARef,
    vmbus::{
        Owed,
        Ranges,
        Writer, //
    },
};

use crate::buffers::part;
use zerocopy::IntoBytes;

/// Bytes of all per-packet information of a frame, at most.
const MAX_INFO: usize = 1024;

/// Bytes of a coalesced frame, at most: what IP can carry, and the header before it.
const MAX_FRAME: usize = (u16::MAX as usize) + ETH_HLEN + 4;

/// Packets whose completion found the ring full, at most; then nothing more is received.
const MAX_LATE: usize = 256;

/// What the poll function of a queue keeps.
pub(crate) struct Receiver {
    /// Completions that found the ring full, and their status. Has room for all.
    late: KVec<(Owed, u32)>,
    /// The fragments of a coalesced frame that is not complete: place and length of each. Has room
    /// for all.
    fragments: KVec<(u32, u32)>,
    /// Bytes of all fragments.
    total: usize,
    /// What the first one said about the frame.
    info: Received,
    /// Where per-packet information is read.
    scratch: KVec<u8>,
    /// Where programs look at frames.
    xdp: RxQueue<Nic>,
}

/// What a poll function is polling.
pub(crate) struct Polled<'a> {
    pub(crate) dev: &'a Device<Nic>,
    pub(crate) attached: &'a Attached,
    pub(crate) open: &'a OpenQueue,
    pub(crate) queue: u16,
    /// What looks at frames before the stack does.
    pub(crate) program: Option<&'a Program>,
}

impl Receiver {
    pub(crate) fn new(dev: ARef<Device<Nic>>, queue: u16) -> Result<Self> {
        Ok(Self {
            late: KVec::with_capacity(MAX_LATE, GFP_KERNEL)?,
            fragments: KVec::with_capacity(nvsp::MAX_RANGES, GFP_KERNEL)?,
            total: 0,
            info: Received::default(),
            scratch: KVec::from_elem(0, MAX_INFO, GFP_KERNEL)?,
            xdp: RxQueue::new(dev, queue)?,
        })
    }

    /// Completes what could not be completed before. `false`: there is still no room.
    pub(crate) fn complete_late(&mut self, dev: &Device<Nic>, writer: &Writer<Pending>) -> bool {
        while let Some((owed, status)) = self.late.pop() {
            if let Err((error, owed)) = owed.complete(writer, &nvsp::rndis_complete(status), true) {
                // There was room for it before. If the session is closed nobody waits for it.
                if error == EAGAIN && self.late.push_within_capacity((owed, status)).is_ok() {
                    dev.counters.rx_comp_busy.inc();
                    return self.late.len() < MAX_LATE;
                }
            }
        }
        true
    }

    /// Completes a packet, now or later. `false`: no more of them can be kept for later.
    pub(crate) fn complete(
        &mut self,
        dev: &Device<Nic>,
        writer: &Writer<Pending>,
        owed: Owed,
        status: u32,
    ) -> bool {
        if let Err((error, owed)) = owed.complete(writer, &nvsp::rndis_complete(status), true) {
            if error == EAGAIN {
                dev.counters.rx_comp_busy.inc();
                // Nothing is received as long as this is full.
                let _ = self.late.push_within_capacity((owed, status));
            }
        }
        self.late.len() < MAX_LATE
    }

    /// Receives the messages of a packet. Returns the status that the host is told.
    pub(crate) fn receive(
        &mut self,
        on: &Polled<'_>,
        ranges: Ranges<'_>,
        budget: &mut Budget,
    ) -> u32 {
        let Some(buffer) = on.attached.receive.as_ref() else {
            return nvsp::FAIL;
        };
        let mut status = nvsp::SUCCESS;

        for (at, len) in ranges.iter() {
            budget.count();
            let received = match buffer.get(at, len) {
                Some(message) => self.message(on, at, message, budget),
                None => Err(ERANGE),
            };
            if received.is_err() {
                self.fragments.clear();
                on.dev.rx_errors.inc();
                status = nvsp::FAIL;
            }
        }
        // The sections of a packet are the host's again when it is completed.
        if !self.fragments.is_empty() {
            self.fragments.clear();
            status = nvsp::FAIL;
        }
        status
    }

    /// Receives a message, which begins at `at` of the receive buffer.
    #[inline]
    fn message(
        &mut self,
        on: &Polled<'_>,
        at: u32,
        message: SysMem<'_, [u8]>,
        budget: &mut Budget,
    ) -> Result {
        // Type and length, and for the trace event what is an id in some. None is shorter.
        let mut start = Aligned([0; trace::RNDIS]);
        part(message, 0, trace::RNDIS)?.copy_to_slice(&mut start.0);
        let kind = u32_at(&start.0, 0).ok_or(EINVAL)?;
        let len = u32_at(&start.0, 4).ok_or(EINVAL)? as usize;

        trace::rndis_recv(on.dev, on.queue, &start);

        if len < rndis::HEADER || len > message.len() {
            return Err(EINVAL);
        }
        match kind {
            rndis::MSG_PACKET => self.packet(on, at, message, budget),
            rndis::MSG_INIT_C | rndis::MSG_QUERY_C | rndis::MSG_SET_C => {
                on.attached.answers.answered(kind, part(message, 0, len)?)?;
                on.attached.notify();
                Ok(())
            }
            rndis::MSG_INDICATE => link::indicated(
                on.dev,
                part(message, rndis::HEADER, message.len() - rndis::HEADER)?,
            ),
            _ => Err(EOPNOTSUPP),
        }
    }

    /// Receives a message with a frame, or a part of one.
    #[inline]
    fn packet(
        &mut self,
        on: &Polled<'_>,
        at: u32,
        message: SysMem<'_, [u8]>,
        budget: &mut Budget,
    ) -> Result {
        let body_len = message.len().checked_sub(rndis::HEADER).ok_or(EINVAL)?;
        let body = part(message, rndis::HEADER, body_len)?;
        let mut fields = [0u32; rndis::PACKET / 4];
        part(body, 0, rndis::PACKET)?.copy_to_slice(fields.as_mut_bytes());
        let [data_at, data_len, _, _, _, info_at, info_len, ..] = fields;
        let (data_at, data_len) = (u32::from_le(data_at), u32::from_le(data_len));
        let (info_at, info_len) = (u32::from_le(info_at), u32::from_le(info_len));

        // Checked, and taken as it is: the data are copied once, later.
        part(body, data_at as usize, data_len as usize)?;
        let info = self.info_of(body, info_at as usize, info_len as usize)?;
        // All of these are inside of the buffer, which is smaller than 4 GiB.
        let start = at + rndis::HEADER as u32 + data_at;

        let Some(fragment) = info.fragment() else {
            self.fragments.clear();
            self.add(start, data_len, info)?;
            return self.deliver(on, budget);
        };
        if fragment.first {
            self.fragments.clear();
        } else if self.fragments.is_empty() {
            return Err(EINVAL);
        }
        self.add(start, data_len, info)?;
        if fragment.last {
            self.deliver(on, budget)?;
        }
        Ok(())
    }

    /// Reads the per-packet information.
    #[inline]
    fn info_of(&mut self, body: SysMem<'_, [u8]>, at: usize, len: usize) -> Result<Received> {
        if at == 0 || len == 0 {
            return Ok(Received::default());
        }
        if at < rndis::PACKET {
            return Err(EINVAL);
        }
        let list = part(body, at, len)?;
        let scratch = self.scratch.get_mut(..len).ok_or(EMSGSIZE)?;

        list.copy_to_slice(scratch);
        Received::read(scratch).ok_or(EINVAL)
    }

    /// Adds a part of a frame.
    #[inline]
    fn add(&mut self, start: u32, len: u32, info: Received) -> Result {
        if self.fragments.is_empty() {
            self.total = 0;
            self.info = info;
        }
        self.total = self.total.saturating_add(len as usize);
        if self.total > MAX_FRAME {
            return Err(EMSGSIZE);
        }
        self.fragments
            .push_within_capacity((start, len))
            .map_err(|_| EMSGSIZE)
    }

    /// Hands a complete frame to the stack, or to the program that wants to see it before.
    #[inline]
    fn deliver(&mut self, on: &Polled<'_>, budget: &mut Budget) -> Result {
        let buffer = on.attached.receive.as_ref().ok_or(EINVAL)?;

        if self.total < ETH_HLEN || !on.dev.is_registered() {
            self.fragments.clear();
            return Err(EINVAL);
        }
        if let Some(program) = on.program {
            return self.look(on, program, buffer, budget);
        }
        let Some(mut skb) = budget.alloc_skb(self.total) else {
            on.dev.counters.rx_no_memory.inc();
            return Err(ENOMEM);
        };
        for (at, len) in self.fragments.drain_all() {
            skb.put_copy(buffer.get(at, len).ok_or(ERANGE)?)?;
        }
        self.hand(on, skb, budget)
    }

    /// Hands a frame to the stack.
    #[inline]
    fn hand(&self, on: &Polled<'_>, mut skb: RxSkb, budget: &mut Budget) -> Result {
        let info = &self.info;
        let features = on.dev.features();

        if info.needs_ip_checksum() {
            skb.fix_ip_checksum()?;
        }
        if info.checksum_is_right() && features.contains(Feature::RxCsum) {
            skb.checksum_unnecessary();
        }
        if let Some(hash) = info.hash.filter(|_| features.contains(Feature::RxHash)) {
            skb.set_hash_l4(hash);
        }
        if let Some(tci) = info.vlan_tci() {
            skb.set_vlan_tci(tci);
        }
        skb.set_queue(on.queue);
        if let Some(stats) = on.dev.queue_stats(on.queue) {
            stats.rx_packets.inc();
            stats.rx_bytes.add(skb.len() as u64);
            if skb.is_multicast() {
                stats.rx_multicast.inc();
            }
        }
        budget.gro_receive(skb);
        Ok(())
    }

    /// Has a program look at a frame, and does what it says.
    #[inline(never)]
    fn look(
        &mut self,
        on: &Polled<'_>,
        program: &Program,
        buffer: &ReceiveBuffer,
        budget: &mut Budget,
    ) -> Result {
        let stats = on.dev.queue_stats(on.queue).ok_or(EINVAL)?;
        let total = self.total;
        let mut fragments = self.fragments.drain_all();
        let (Some((at, len)), None) = (fragments.next(), fragments.next()) else {
            // Coalescing is off, as long as there is a program, or will be in a moment.
            stats.xdp_drop.inc();
            return Ok(());
        };
        drop(fragments);
        if total > on.dev.mtu() as usize + ETH_HLEN {
            stats.xdp_drop.inc();
            return Ok(());
        }

        let frame = buffer.get(at, len).ok_or(ERANGE)?;
        let count = || {
            stats.rx_packets.inc();
            stats.rx_bytes.add(total as u64);
        };
        match self.xdp.run(budget, program, frame) {
            Verdict::Pass(skb) => self.hand(on, skb, budget)?,
            Verdict::Send(skb) => {
                count();
                stats.xdp_tx.inc();
                transmit::send_now(on.dev, on.attached, on.open, skb);
            }
            Verdict::Redirected => {
                count();
                stats.xdp_redirect.inc();
            }
            Verdict::Dropped => stats.xdp_drop.inc(),
            Verdict::NoMemory => {
                on.dev.counters.rx_no_memory.inc();
                return Err(ENOMEM);
            }
        }
        Ok(())
    }
}
