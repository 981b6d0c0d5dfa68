// SPDX-License-Identifier: GPL-2.0

//! The channels of a device, and how they are opened.
//!
//! C source: [`drivers/hv/channel.c`](srctree/drivers/hv/channel.c)

use super::{
    core::{
        Core,
        Subs, //
    },
    raw::Raw,
    ring::{
        MAX_PACKET,
        MAX_RING, //
    },
    session::{
        Handler,
        Session, //
    },
    Device, //
};
use crate::{
    cpu::CpuId,
    device,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// The sizes of a channel's rings, and of the largest packet that the host may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub(super) send: u32,
    pub(super) receive: u32,
    pub(super) payload: usize,
}

impl Sizes {
    /// Rings of `send` bytes to the host and `receive` bytes from it, with their control pages, for
    /// packets of the host that have up to `payload` bytes behind their descriptor: the payload
    /// itself and, for transfer-page packets, 8 bytes and 8 for each range.
    ///
    /// [`None`] if a ring has not a whole number of pages, or less than two, or is too large; or if
    /// the ring could not hold such a packet.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{page::PAGE_SIZE, vmbus::Sizes};
    ///
    /// assert!(Sizes::new(16 * PAGE_SIZE, 16 * PAGE_SIZE, 4096).is_some());
    /// assert!(Sizes::new(PAGE_SIZE + 512, 16 * PAGE_SIZE, 4096).is_none());
    /// assert!(Sizes::new(PAGE_SIZE, 16 * PAGE_SIZE, 4096).is_none());
    /// assert!(Sizes::new(2 * PAGE_SIZE, 2 * PAGE_SIZE, PAGE_SIZE).is_none());
    /// ```
    pub const fn new(send: usize, receive: usize, payload: usize) -> Option<Self> {
        const fn is_ring(size: usize) -> bool {
            size % PAGE_SIZE == 0 && size / PAGE_SIZE >= 2 && size <= MAX_RING
        }

        if !is_ring(send)
            || !is_ring(receive)
            || payload >= receive - PAGE_SIZE
            || payload > MAX_PACKET as usize
        {
            return None;
        }
        // CAST: `MAX_RING` fits.
        Some(Self {
            send: send as u32,
            receive: receive as u32,
            payload: payload.next_multiple_of(8),
        })
    }
}

/// The primary channel of a device that is bound to a driver, open or not.
#[derive(Clone, Copy)]
pub struct Channel<'bound> {
    dev: &'bound Device<device::Bound>,
}

impl<'bound> Channel<'bound> {
    #[inline]
    pub(super) fn new(dev: &'bound Device<device::Bound>) -> Self {
        Self { dev }
    }

    /// Opens the channel, with room for so many `requests` in flight at once.
    ///
    /// Process context; sleeps until the host has answered, or takes the device back.
    ///
    /// Returns [`EBUSY`] if the channel is open already, [`EAGAIN`] if the host does not want it to
    /// be opened, [`ENODEV`] if it has taken the device back, [`ENOMEM`], and what `handler`
    /// returns.
    #[inline]
    pub fn open<H, E>(
        &self,
        sizes: Sizes,
        requests: usize,
        handler: impl PinInit<H, E>,
    ) -> Result<Arc<Session<H>>>
    where
        H: Handler,
        Error: From<E>,
    {
        let dev: &Device = self.dev;
        let core = Core::new(dev.into(), self.dev.raw_channel(), 0, requests, handler)?;

        // SAFETY: The channel is valid as long as its device, which is bound.
        unsafe { Core::open(&core, sizes) }?;
        Session::new(core)
    }

    /// The processor that the host interrupts for this channel.
    #[inline]
    pub fn target_cpu(&self) -> CpuId {
        // SAFETY: The channel is valid as long as its device.
        unsafe { self.dev.raw_channel().target_cpu() }
    }

    /// Which of the device's channels this is: 0.
    #[inline]
    pub fn sub_index(&self) -> u16 {
        0
    }

    /// The number by which host and guest name the channel.
    #[inline]
    pub fn relid(&self) -> u32 {
        // SAFETY: The channel is valid as long as its device.
        unsafe { self.dev.raw_channel().relid() }
    }
}

/// A sub-channel that the host has just offered.
///
/// If it is not opened, or cannot be, it stays closed.
pub struct SubChannel<'a> {
    channel: Raw,
    dev: &'a ARef<Device>,
    subs: &'a Subs,
}

impl<'a> SubChannel<'a> {
    /// # Safety
    ///
    /// The channel must be valid for `'a`, and be a sub-channel of the device's channel, whose
    /// session has `subs`.
    #[inline]
    pub(super) unsafe fn new(channel: Raw, dev: &'a ARef<Device>, subs: &'a Subs) -> Self {
        Self { channel, dev, subs }
    }

    /// Which of the device's channels this is, as the host says: 1 or more. Two of them can say the
    /// same.
    #[inline]
    pub fn index(&self) -> u16 {
        // SAFETY: The channel is valid as long as this value.
        unsafe { self.channel.sub_index() }
    }

    /// The processor that the host interrupts for this channel.
    #[inline]
    pub fn target_cpu(&self) -> CpuId {
        // SAFETY: The channel is valid as long as this value.
        unsafe { self.channel.target_cpu() }
    }

    /// The number by which host and guest name the channel.
    #[inline]
    pub fn relid(&self) -> u32 {
        // SAFETY: The channel is valid as long as this value.
        unsafe { self.channel.relid() }
    }

    /// Opens the sub-channel. The session of the primary channel closes it before itself.
    ///
    /// Process context; sleeps. Errors are those of [`Channel::open`]; [`ENODEV`] also if the
    /// primary is being closed, and [`EINVAL`] if the host's index is none.
    #[inline]
    pub fn open<H, E>(
        self,
        sizes: Sizes,
        requests: usize,
        handler: impl PinInit<H, E>,
    ) -> Result<Arc<Session<H>>>
    where
        H: Handler,
        Error: From<E>,
    {
        let index = self.index();
        if index == 0 {
            return Err(EINVAL);
        }
        let core = Core::new(self.dev.clone(), self.channel, index, requests, handler)?;

        // Whoever closes the primary waits for this.
        let mut subs = self.subs.lock();
        let list = (*subs).as_mut().ok_or(ENODEV)?;
        list.reserve(1, GFP_KERNEL)?;
        // SAFETY: The channel is valid as long as this value, and if it is opened until the primary
        // is closed, which does that to all of the list before.
        unsafe { Core::open(&core, sizes) }?;
        // There is room for it.
        list.push(core.clone(), GFP_KERNEL)?;
        drop(subs);
        Session::new(core)
    }
}
