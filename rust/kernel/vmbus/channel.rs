// SPDX-License-Identifier: GPL-2.0

//! A device's channel, how it is opened, and what sends packets on an open one.
//!
//! C source: [`drivers/hv/channel.c`](srctree/drivers/hv/channel.c)

use super::{
    ring::{
        Ring,
        DESCRIPTOR,
        TRAILER, //
    },
    session::{
        Handler,
        Session, //
    },
    Device, //
};
use crate::{
    bindings,
    device,
    error::to_result,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::ptr::NonNull;

/// The sizes of a channel's rings, and of the largest packet that the host may send.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub(super) send: u32,
    pub(super) receive: u32,
    pub(super) payload: usize,
}

impl Sizes {
    /// Rings of `SEND` bytes to the host and `RECEIVE` bytes from it, with their control pages,
    /// for payloads of up to `PAYLOAD` bytes from the host.
    ///
    /// A ring has a whole number of pages, and at least two: whatever else does not compile.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::vmbus::Sizes;
    ///
    /// const SIZES: Sizes = Sizes::new::<0x10000, 0x10000, 0x1000>();
    /// ```
    pub const fn new<const SEND: usize, const RECEIVE: usize, const PAYLOAD: usize>() -> Self {
        const {
            assert!(
                SEND.is_multiple_of(PAGE_SIZE) && SEND / PAGE_SIZE >= 2 && SEND <= 1 << 30,
                "a ring has a whole number of pages, and at least two"
            );
            assert!(
                RECEIVE.is_multiple_of(PAGE_SIZE) && RECEIVE / PAGE_SIZE >= 2 && RECEIVE <= 1 << 30,
                "a ring has a whole number of pages, and at least two"
            );
            assert!(
                PAYLOAD < RECEIVE - PAGE_SIZE,
                "no larger payload than the ring can hold"
            );
        }
        // CAST: At most 2^30, as was just checked.
        Self {
            send: SEND as u32,
            receive: RECEIVE as u32,
            payload: PAYLOAD.next_multiple_of(8),
        }
    }
}

/// A channel of a device that is bound to a driver, open or not.
#[derive(Clone, Copy)]
pub struct Channel<'bound> {
    dev: &'bound Device<device::Bound>,
}

impl<'bound> Channel<'bound> {
    #[inline]
    pub(super) fn new(dev: &'bound Device<device::Bound>) -> Self {
        Self { dev }
    }

    #[inline]
    pub(super) fn device(&self) -> &'bound Device<device::Bound> {
        self.dev
    }

    #[inline]
    pub(super) fn as_raw(&self) -> NonNull<bindings::vmbus_channel> {
        // SAFETY: By the type invariant of `Device` its channel is valid, and never NULL.
        unsafe { NonNull::new_unchecked((*self.dev.as_raw()).channel) }
    }

    /// Opens the channel.
    ///
    /// Packets of the host go to `handler` from now on, until the returned session is dropped.
    /// The first call of the handler can come before this returns to the caller.
    ///
    /// Process context; sleeps until the host has answered, or takes the device back.
    ///
    /// Returns [`EBUSY`] if the channel is open already, [`EAGAIN`] if the host does not want it
    /// to be opened, [`ENODEV`] if it has taken the device back, and [`ENOMEM`].
    #[inline]
    pub fn open<H, E>(
        self,
        sizes: Sizes,
        handler: impl PinInit<H, E> + 'bound,
    ) -> impl PinInit<Session<'bound, H>, Error> + 'bound
    where
        H: Handler + 'bound,
        E: 'bound,
        Error: From<E>,
    {
        Session::new(self, sizes, handler)
    }
}

/// Sends packets on an open channel.
///
/// All methods may be called in any context but NMI, and concurrently: packets are written one
/// after another, under a lock of the channel, with interrupts off.
///
/// # Invariants
///
/// The channel is open as long as there is a reference to the sender, apart from its session while
/// it is opened and closed.
pub struct Sender {
    channel: NonNull<bindings::vmbus_channel>,
}

// SAFETY: The bus driver's functions that send may be called by any thread.
unsafe impl Send for Sender {}

// SAFETY: The bus driver's functions that send may be called concurrently.
unsafe impl Sync for Sender {}

impl Sender {
    #[inline]
    pub(super) fn new(channel: NonNull<bindings::vmbus_channel>) -> Self {
        Self { channel }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::vmbus_channel {
        self.channel.as_ptr()
    }

    /// Whether the host has taken the channel back. Nothing that was sent is answered then.
    #[inline]
    pub fn is_rescinded(&self) -> bool {
        // SAFETY: The channel is valid. The bus driver sets this field concurrently, once, and a
        // byte is read as a whole.
        unsafe { (&raw const (*self.as_raw()).rescind).read_volatile() }
    }

    /// Sends data for which no answer is wanted. The host sees `id`.
    ///
    /// Returns [`EAGAIN`] if the ring is full: [`Handler::idle`] is called when there is room
    /// again. [`EMSGSIZE`] if the packet is larger than the ring or than a packet can be,
    /// [`ENODEV`] if the host has taken the channel back, and [`EIO`] if it has spoilt the ring.
    #[inline]
    pub fn send(&self, data: &[u8], id: u64) -> Result {
        self.post(data, id, bindings::vmbus_packet_type_VM_PKT_DATA_INBAND, 0)
    }

    /// Sends data that the host has to answer. The answer is a [`Packet::Completion`] with `id`.
    ///
    /// Errors are those of [`Sender::send`].
    ///
    /// [`Packet::Completion`]: super::Packet::Completion
    #[inline]
    pub fn request(&self, data: &[u8], id: u64) -> Result {
        self.post(
            data,
            id,
            bindings::vmbus_packet_type_VM_PKT_DATA_INBAND,
            bindings::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED,
        )
    }

    /// Takes back what senders have asked the host for by finding the ring full.
    ///
    /// To be called before [`Handler::idle`], whose senders ask again if they have to.
    #[inline]
    pub(super) fn room_was_made(&self) {
        // SAFETY: The channel is open, so its ring is mapped, and stays so during this call.
        if let Some(ring) = unsafe { Ring::new(&raw const (*self.as_raw()).outbound) } {
            ring.forget_room();
        }
    }

    #[inline]
    fn post(&self, data: &[u8], id: u64, kind: bindings::vmbus_packet_type, flags: u32) -> Result {
        // SAFETY: The channel is open, so its ring is mapped, and stays so during this call.
        let ring = unsafe { Ring::new(&raw const (*self.as_raw()).outbound) }.ok_or(ENODEV)?;

        // The length that the descriptor holds counts 8 bytes, in 16 bits.
        const MAX: usize = 8 * u16::MAX as usize - DESCRIPTOR as usize;
        if data.len() > MAX {
            return Err(EMSGSIZE);
        }
        // CAST: At most `MAX`, which fits.
        let len = data.len() as u32;
        let needed = len.next_multiple_of(8) + DESCRIPTOR + TRAILER;
        // A full ring cannot be told from an empty one, so it is never filled to the end.
        if needed >= ring.size() {
            return Err(EMSGSIZE);
        }

        match self.write(data, len, id, kind, flags) {
            Err(EAGAIN) => {
                ring.ask_for_room(needed);
                // There may be room since; then nobody would tell us.
                self.write(data, len, id, kind, flags)
            }
            result => result,
        }
    }

    #[inline]
    fn write(
        &self,
        data: &[u8],
        len: u32,
        id: u64,
        kind: bindings::vmbus_packet_type,
        flags: u32,
    ) -> Result {
        // SAFETY:
        // - By the type invariant the channel is open.
        // - `data` is valid for `len` bytes, and only read.
        to_result(unsafe {
            bindings::vmbus_sendpacket(
                self.as_raw(),
                data.as_ptr().cast_mut().cast(),
                len,
                id,
                kind,
                flags,
            )
        })
    }
}

/// The completion that the host waits for after a [`Packet::Request`](super::Packet::Request).
///
/// It can outlive the packet: the host waits.
#[must_use = "the host waits for its completion"]
pub struct Owed {
    id: u64,
}

impl Owed {
    pub(super) fn new(id: u64) -> Self {
        Self { id }
    }

    /// Completes the host's request.
    ///
    /// If it cannot be sent, the completion is still owed, and is given back with the error, which
    /// is one of [`Sender::send`].
    #[inline]
    pub fn complete(self, sender: &Sender, answer: &[u8]) -> Result<(), (Error, Self)> {
        sender
            .post(answer, self.id, bindings::vmbus_packet_type_VM_PKT_COMP, 0)
            .map_err(|error| (error, self))
    }
}
