// SPDX-License-Identifier: GPL-2.0

//! The memory of a channel's rings.
//!
//! The host gets a list of pages, and the guest a mapping of its own for each ring, so the pages
//! need not lie together. Only what user space maps does, through `vmbus_alloc_ring()`.

use super::{
    Ring,
    MAX_SIZE, //
};
use crate::{
    abi::ring::Mappings,
    channel::Channel, //
};
use core::ops::Range;
use kernel::{
    bindings,
    cpu::CpuId,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc,
    vmap::{
        Pages,
        VMap, //
    }, //
};

/// A page of the host.
const HV_PAGE: usize = 1 << bindings::HV_HYP_PAGE_SHIFT;

/// Where rings begin and end: a control page and data, twice, in pages of the guest.
#[derive(Clone, Copy)]
struct Plan {
    send: usize,
    receive: usize,
}

impl Plan {
    fn new(send: usize, receive: usize) -> Result<Self> {
        let pages = |size: usize| {
            let ok = size % PAGE_SIZE == 0 && size / PAGE_SIZE >= 2 && size - PAGE_SIZE <= MAX_SIZE;

            ok.then_some(size / PAGE_SIZE).ok_or(EINVAL)
        };
        Ok(Self {
            send: pages(send)?,
            receive: pages(receive)?,
        })
    }

    fn pages(&self) -> usize {
        self.send + self.receive
    }

    /// The order in which the pages of a ring are mapped: the data a second time at the end.
    fn order(first: usize, pages: usize) -> [Range<usize>; 2] {
        [first..first + pages, first + 1..first + pages]
    }

    /// The host's pages of a ring, of which the control page is one, however large ours are.
    fn host_pages(pages: usize) -> usize {
        1 + (pages - 1) * (PAGE_SIZE / HV_PAGE)
    }
}

/// The rings of a channel: pages and their mappings.
///
/// Must not be dropped while the host may access it: the GPADL is torn down before, or it is
/// forgotten. Dropping it while the channel's C structure still points to it leaks it.
pub(crate) struct Memory {
    mappings: Mappings,
    pages: Arc<Pages>,
    plan: Plan,
}

impl Memory {
    /// Allocates rings of so many bytes with their control pages, near the processor that the
    /// channel interrupts, and shows the C structure where, as far as user space may map it.
    ///
    /// The host may see the memory, unless the channel's rings are confidential. May sleep.
    ///
    /// Returns [`EINVAL`] if a size is not a whole number of pages and at least two, or too large,
    /// [`ENOMEM`], and what makes memory visible to the host may return.
    pub(crate) fn new(
        channel: &Channel,
        send: usize,
        receive: usize,
        contiguous: bool,
    ) -> Result<Self> {
        let cpu = CpuId::from_u32(channel.target_cpu()).ok_or(EINVAL)?;
        let share = !channel.has_confidential_ring();
        let this = Self::allocate(cpu, send, receive, contiguous, share)?;

        channel.show_ring(this.pages.block(), this.plan.pages(), this.plan.send);
        Ok(this)
    }

    fn allocate(
        cpu: CpuId,
        send: usize,
        receive: usize,
        contiguous: bool,
        share: bool,
    ) -> Result<Self> {
        let plan = Plan::new(send, receive)?;
        let mut pages = if contiguous {
            Pages::contiguous(plan.pages(), cpu, GFP_KERNEL | __GFP_ZERO)?
        } else {
            Pages::new(plan.pages(), cpu, GFP_KERNEL | __GFP_ZERO)?
        };

        if share {
            pages.share()?;
        }
        let pages = Arc::new(pages, GFP_KERNEL)?;
        let send = VMap::new(&pages, &Plan::order(0, plan.send))?;
        let receive = VMap::new(&pages, &Plan::order(plan.send, plan.receive))?;
        if share {
            // The zeroes that they held cannot be read any more.
            Ring::new(send.view())?.clear()?;
            Ring::new(receive.view())?.clear()?;
        }

        Ok(Self {
            mappings: Mappings::new(send, receive),
            pages,
            plan,
        })
    }

    /// Lets the channel's C structure, and so its driver, have empty rings, and a buffer for
    /// packets of the size that the driver wants.
    ///
    /// May be repeated when the channel is opened again: mappings and buffer stay. May sleep.
    ///
    /// Returns [`EBUSY`] if the channel has other rings, and [`ENOMEM`].
    pub(crate) fn attach(&mut self, channel: &Channel) -> Result {
        self.mappings.attach(channel)
    }

    /// Takes the rings away from the channel's C structure. Senders get [`ENODEV`] from now on.
    ///
    /// The channel's reader has ended: its callback is silenced. May sleep.
    pub(crate) fn detach(&mut self, channel: &Channel) {
        self.mappings.detach(channel);
        channel.show_ring(None, 0, 0);
    }

    /// Whether user space can map the rings: they lie in one piece.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.pages.block().is_some()
    }

    /// What the host gets, in the order of its GPADL: page frame numbers of the host's size, of the
    /// ring to the host and then of the other one.
    pub(crate) fn pfns(&self) -> impl Iterator<Item = u64> + '_ {
        const PER_PAGE: usize = PAGE_SIZE / HV_PAGE;
        let Plan { send, receive } = self.plan;
        let sent = Plan::host_pages(send);

        (0..sent + Plan::host_pages(receive)).filter_map(move |index| {
            let (ring, index) = if index < sent {
                (0, index)
            } else {
                (send, index - sent)
            };
            // Of a control page the host has the first of its pages only.
            let index = if index == 0 { 0 } else { index - 1 + PER_PAGE };
            let page = index / PER_PAGE;
            let part = index - page * PER_PAGE;
            let pfn = self.pages.pfn(ring + page)?;

            Some(pfn * PER_PAGE as u64 + part as u64)
        })
    }

    /// Bytes that the host gets.
    pub(crate) fn size(&self) -> usize {
        self.receive_offset() + Plan::host_pages(self.plan.receive) * HV_PAGE
    }

    /// Where the ring from the host begins in what the host gets, in bytes.
    pub(crate) fn receive_offset(&self) -> usize {
        Plan::host_pages(self.plan.send) * HV_PAGE
    }
}

#[cfg(CONFIG_KUNIT = "y")]
impl Memory {
    /// Rings that no host sees.
    pub(super) fn private(send: usize, receive: usize, contiguous: bool) -> Result<Self> {
        Self::allocate(CpuId::current(), send, receive, contiguous, false)
    }

    /// The ring to the host, with whatever is in it.
    pub(super) fn outbound_as_is(&self) -> Result<Ring<'_>> {
        Ring::new(self.mappings.send())
    }

    /// The ring to the host, empty.
    pub(super) fn outbound(&self) -> Result<Ring<'_>> {
        let ring = self.outbound_as_is()?;

        ring.reset()?;
        Ok(ring)
    }
}
