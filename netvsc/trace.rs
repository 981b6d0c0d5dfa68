// SPDX-License-Identifier: GPL-2.0

//! The trace events of the system `netvsc`, whose fields `netvsc_trace.h` defines.
//!
//! They look at the begin of a message only, which those who call them have in a copy.

use crate::{
    bytes::u32_at,
    nic::Nic,
    nvsp::Message,
    queue::{
        Pending,
        Session, //
    }, //
};
use kernel::{
    net::Device,
    vmbus::Packet, //
};

mod raw {
    use kernel::bindings::*;

    kernel::declare_trace! {
        /// # Safety
        ///
        /// The device must be valid, and so must be the first 12 bytes of the message, which is
        /// aligned to 4 bytes.
        pub(super) unsafe fn rndis_send(
            dev: *const net_device,
            queue: u16,
            message: *const rndis_message,
        );
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn rndis_recv(
            dev: *const net_device,
            queue: u16,
            message: *const rndis_message,
        );
        /// # Safety
        ///
        /// The device must be valid, and the first 4 bytes of the message, which is packed.
        pub(super) unsafe fn nvsp_send(dev: *const net_device, message: *const nvsp_message);
        /// # Safety
        ///
        /// The device, the channel and the message must be valid.
        pub(super) unsafe fn nvsp_send_pkt(
            dev: *const net_device,
            channel: *const vmbus_channel,
            message: *const nvsp_1_message_send_rndis_packet,
        );
        /// # Safety
        ///
        /// The device and the channel must be valid, and the first 4 bytes of the message.
        pub(super) unsafe fn nvsp_recv(
            dev: *const net_device,
            channel: *const vmbus_channel,
            message: *const nvsp_message,
        );
    }
}

/// Bytes of an RNDIS message that are looked at: type, length, and the id of a question.
pub(crate) const RNDIS: usize = 12;

/// An RNDIS message of the control kind is sent.
#[inline]
pub(crate) fn rndis_send(dev: &Device<Nic>, message: &[u8]) {
    let Some(start) = message.first_chunk::<RNDIS>() else {
        return;
    };
    let start = Aligned(*start);

    // SAFETY: The device is valid, and so many bytes are there.
    unsafe { raw::rndis_send(dev.as_raw(), 0, (&raw const start).cast()) }
}

/// An RNDIS message was received, which begins with `start`.
#[inline]
pub(crate) fn rndis_recv(dev: &Device<Nic>, queue: u16, start: &Aligned<RNDIS>) {
    // SAFETY: As above.
    unsafe { raw::rndis_recv(dev.as_raw(), queue, core::ptr::from_ref(start).cast()) }
}

/// An NVSP message is sent.
#[inline]
pub(crate) fn nvsp_send(session: &Session, message: &Message) {
    let dev = session.handler().0.device();

    // SAFETY: The device is valid, and the message has the length of the longest.
    unsafe { raw::nvsp_send(dev.as_raw(), message.bytes().as_ptr().cast()) }
}

/// An RNDIS message is sent in a packet, which is reserved on this session.
#[inline]
pub(crate) fn nvsp_send_pkt(session: &Session, _reserved: &Packet<'_, Pending>, message: &Message) {
    let dev = session.handler().0.device();
    // What is behind the type.
    let body = message.bytes().as_ptr().wrapping_add(4);

    // SAFETY: The device is valid, the session is open as long as a packet is reserved, which the
    // caller shows, and so is its channel; the message has the length of the longest.
    unsafe { raw::nvsp_send_pkt(dev.as_raw(), session.as_raw_channel(), body.cast()) }
}

/// A packet with `payload` was received. There is a reader of the session.
#[inline]
pub(crate) fn nvsp_recv(dev: &Device<Nic>, session: &Session, payload: &[u8]) {
    let Some(kind) = u32_at(payload, 0) else {
        return;
    };

    // SAFETY: The device is valid, and the session open as long as it has a reader; `kind` is the
    // begin of the message.
    unsafe {
        raw::nvsp_recv(
            dev.as_raw(),
            session.as_raw_channel(),
            (&raw const kind).cast(),
        )
    }
}

/// Bytes that words can be read from.
#[repr(C, align(4))]
pub(crate) struct Aligned<const N: usize>(pub(crate) [u8; N]);
