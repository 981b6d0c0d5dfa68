// SPDX-License-Identifier: GPL-2.0

//! Exported functions that send and receive packets.
//!
//! Callers hand in channels that they got from this driver and that live as long as the call. Who
//! reads from a channel is its only reader, and has stopped before the channel is closed. That is
//! what the C interface demands, and what "as callers must" means below.
//!
//! C header: [`include/linux/hyperv.h`](srctree/include/linux/hyperv.h)

use super::ring::Info;
use crate::{
    channel::Channel,
    debugfs::{
        self,
        Delay, //
    },
    requestor,
    ring::{
        self,
        Packet,
        Reader,
        DESCRIPTOR, //
    },
    service::{
        self,
        Version, //
    }, //
};
use kernel::{
    bindings,
    error::from_result,
    prelude::*, //
};

/// The bytes of a caller, none if there is no address.
///
/// # Safety
///
/// `start` must be NULL, or `len` bytes that nobody changes during `'a`.
#[inline]
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> &'a [u8] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: By the safety requirements.
    unsafe { core::slice::from_raw_parts(start.cast(), len) }
}

/// Sends a packet, and tells what id the host has got.
///
/// # Safety
///
/// `channel`, and `buffer` for `len` bytes, must be valid, as callers must ensure.
#[inline]
unsafe fn send_inband(
    channel: *mut bindings::vmbus_channel,
    buffer: *const c_void,
    len: u32,
    request: u64,
    kind: bindings::vmbus_packet_type,
    flags: u32,
) -> Result<u64> {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };
    // SAFETY: By the safety requirements.
    let payload = unsafe { bytes(buffer, len as usize) };
    let packet = Packet {
        kind: u16::try_from(kind)?,
        flags: u16::try_from(flags)?,
        header: [&[], &[]],
        payload,
    };

    ring::send(channel, &packet, request)
}

/// Sends a packet, and tells what id the host has got. Any context but NMI.
///
/// Returns the errors of [`ring::send`].
///
/// # Safety
///
/// `channel`, and `buffer` for `bufferlen` bytes, must be valid, as callers must ensure;
/// `trans_id` is NULL or valid.
#[export]
pub(crate) unsafe extern "C" fn vmbus_sendpacket_getid(
    channel: *mut bindings::vmbus_channel,
    buffer: *mut c_void,
    bufferlen: u32,
    requestid: u64,
    trans_id: *mut u64,
    type_: bindings::vmbus_packet_type,
    flags: u32,
) -> c_int {
    from_result(|| {
        // SAFETY: By the safety requirements.
        let id = unsafe { send_inband(channel, buffer, bufferlen, requestid, type_, flags) }?;

        if !trans_id.is_null() {
            // SAFETY: By the safety requirements.
            unsafe { trans_id.write(id) };
        }
        Ok(0)
    })
}

/// Sends a packet. Any context but NMI.
///
/// Returns the errors of [`ring::send`].
///
/// # Safety
///
/// `channel`, and `buffer` for `bufferlen` bytes, must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn vmbus_sendpacket(
    channel: *mut bindings::vmbus_channel,
    buffer: *mut c_void,
    bufferlen: u32,
    requestid: u64,
    type_: bindings::vmbus_packet_type,
    flags: u32,
) -> c_int {
    // SAFETY: By the safety requirements.
    let sent = unsafe { send_inband(channel, buffer, bufferlen, requestid, type_, flags) };

    from_result(|| sent.map(|_| 0))
}

/// Sends a packet with pages of memory that the host may access until it answers. Any context but
/// NMI.
///
/// The caller describes the pages behind what every packet begins with, which is not read.
///
/// Returns the errors of [`ring::send`].
///
/// # Safety
///
/// `channel`, `desc` for `desc_size` bytes and `buffer` for `bufferlen` bytes must be valid, as
/// callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn vmbus_sendpacket_mpb_desc(
    channel: *mut bindings::vmbus_channel,
    desc: *mut bindings::vmbus_packet_mpb_array,
    desc_size: u32,
    buffer: *mut c_void,
    bufferlen: u32,
    requestid: u64,
) -> c_int {
    /// Where the caller's part begins: `rangecount`, behind a reserved word.
    const RANGES: u32 = DESCRIPTOR + 4;

    from_result(|| {
        let len = desc_size.checked_sub(RANGES).ok_or(EINVAL)?;
        // SAFETY: By the safety requirements there are so many bytes.
        let ranges = unsafe { bytes(desc.wrapping_byte_add(RANGES as usize).cast(), len as usize) };
        // SAFETY: By the safety requirements.
        let payload = unsafe { bytes(buffer, bufferlen as usize) };
        let packet = Packet {
            kind: bindings::vmbus_packet_type_VM_PKT_DATA_USING_GPA_DIRECT as u16,
            flags: bindings::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED as u16,
            header: [&[0; 4], ranges],
            payload,
        };
        // SAFETY: By the safety requirements.
        let channel = unsafe { Channel::from_raw(channel) };

        ring::send(channel, &packet, requestid).map(|_| 0)
    })
}

/// Receives a packet.
///
/// # Safety
///
/// `channel` and the other pointers must be valid, as callers must ensure; the caller must be the
/// channel's only reader.
#[inline]
unsafe fn receive(
    channel: *mut bindings::vmbus_channel,
    buffer: *mut c_void,
    len: u32,
    actual: *mut u32,
    id: *mut u64,
    raw: bool,
) -> c_int {
    from_result(|| {
        if len == 0 || buffer.is_null() {
            return Err(EINVAL);
        }
        // SAFETY: By the safety requirements.
        let channel = unsafe { Channel::from_raw(channel) };
        // SAFETY: By the safety requirements.
        let buffer = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), len as usize) };

        debugfs::delay(channel, Delay::Message);
        // SAFETY: By the safety requirements.
        let received = unsafe { channel.read(|reader| reader.receive(buffer, raw)) };
        let received = received.unwrap_or(Ok(ring::Received::NOTHING))?;
        // SAFETY: By the safety requirements.
        unsafe { actual.write(received.len) };
        // SAFETY: By the safety requirements.
        unsafe { id.write(received.id) };

        if received.too_large {
            // A driver that has no larger buffer gets what follows at its next call.
            channel.call_again();
            Err(ENOBUFS)
        } else {
            Ok(0)
        }
    })
}

/// Receives the payload of a packet, of 0 bytes if there is none. Any context.
///
/// Returns [`EINVAL`] without a buffer, and [`ENOBUFS`] if it is too small: it is told how large
/// it has to be. A packet for which that does not happen is dropped at the next call.
///
/// # Safety
///
/// `channel` and the other pointers must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn vmbus_recvpacket(
    channel: *mut bindings::vmbus_channel,
    buffer: *mut c_void,
    bufferlen: u32,
    buffer_actual_len: *mut u32,
    requestid: *mut u64,
) -> c_int {
    // SAFETY: By the safety requirements.
    unsafe {
        receive(
            channel,
            buffer,
            bufferlen,
            buffer_actual_len,
            requestid,
            false,
        )
    }
}

/// As [`vmbus_recvpacket`], with what a packet begins with. Any context.
///
/// # Safety
///
/// `channel` and the other pointers must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn vmbus_recvpacket_raw(
    channel: *mut bindings::vmbus_channel,
    buffer: *mut c_void,
    bufferlen: u32,
    buffer_actual_len: *mut u32,
    requestid: *mut u64,
) -> c_int {
    // SAFETY: By the safety requirements.
    unsafe {
        receive(
            channel,
            buffer,
            bufferlen,
            buffer_actual_len,
            requestid,
            true,
        )
    }
}

/// Copies a packet into the channel's buffer, and returns it, or NULL.
///
/// # Safety
///
/// `channel` must be valid, and the caller its only reader, who does not use the buffer any more.
#[inline]
unsafe fn iterate(
    channel: *mut bindings::vmbus_channel,
    find: impl FnOnce(&mut Reader<'_>, &mut [u8]) -> bool,
) -> *mut bindings::vmpacket_descriptor {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };
    // SAFETY: The buffer is there as long as the ring is, and is its reader's.
    let (start, buffer) = unsafe { channel.packet_buffer() };

    debugfs::delay(channel, Delay::Message);
    // SAFETY: By the safety requirements.
    match unsafe { channel.read(|reader| find(reader, buffer)) } {
        Some(true) => start.cast(),
        _ => core::ptr::null_mut(),
    }
}

/// The next packet, copied out of the ring and checked; NULL if there is none. Any context.
///
/// It is there until the channel is read again.
///
/// # Safety
///
/// `channel` must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn hv_pkt_iter_first(
    channel: *mut bindings::vmbus_channel,
) -> *mut bindings::vmpacket_descriptor {
    // SAFETY: By the safety requirements.
    unsafe { iterate(channel, |reader, buffer| reader.first(buffer)) }
}

/// The packet after the one that was got last; NULL if there is none. Any context.
///
/// `_desc` is that last one. Where it ends was noted when it was checked.
///
/// # Safety
///
/// `channel` must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn __hv_pkt_iter_next(
    channel: *mut bindings::vmbus_channel,
    _desc: *const bindings::vmpacket_descriptor,
) -> *mut bindings::vmpacket_descriptor {
    // SAFETY: By the safety requirements.
    unsafe { iterate(channel, |reader, buffer| reader.next(buffer)) }
}

/// Gives the room of the packets that were got back to the host. Any context.
///
/// # Safety
///
/// `channel` must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn hv_pkt_iter_close(channel: *mut bindings::vmbus_channel) {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };

    // SAFETY: By the safety requirements. Without a ring there is no host to tell.
    let _ = unsafe { channel.read(|reader| reader.publish()) };
}

/// A look at a ring. May sleep.
///
/// Returns [`EINVAL`] if there is none.
///
/// # Safety
///
/// `ring_info` must be a ring of a channel, as callers must ensure; `debug_info` must be valid.
#[export]
pub(crate) unsafe extern "C" fn hv_ringbuffer_get_debuginfo(
    ring_info: *mut bindings::hv_ring_buffer_info,
    debug_info: *mut bindings::hv_ring_buffer_debug_info,
) -> c_int {
    from_result(|| {
        // SAFETY: By the safety requirements.
        let figures = unsafe { Info::from_raw(ring_info) }.inspect()?;
        let info = bindings::hv_ring_buffer_debug_info {
            current_interrupt_mask: figures.interrupt_mask,
            current_read_index: figures.read_index,
            current_write_index: figures.write_index,
            bytes_avail_toread: figures.readable,
            bytes_avail_towrite: figures.writable,
        };

        // SAFETY: By the safety requirements.
        unsafe { debug_info.write(info) };
        Ok(0)
    })
}

/// Whether somebody is sending: for those who could not wait for it, as in a panic. Any context.
///
/// # Safety
///
/// `channel` must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn hv_ringbuffer_spinlock_busy(
    channel: *mut bindings::vmbus_channel,
) -> bool {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };

    channel.outbound().is_locked()
}

/// Makes a number for a request. Any context but NMI.
///
/// Returns `VMBUS_NO_RQSTOR` if the channel has no table of requests, and `VMBUS_RQST_ERROR` if it
/// is full.
///
/// # Safety
///
/// `channel` must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn vmbus_next_request_id(
    channel: *mut bindings::vmbus_channel,
    rqst_addr: u64,
) -> u64 {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };

    match requestor::insert(channel, rqst_addr) {
        Ok(Some(number)) => number,
        Ok(None) => requestor::NONE,
        Err(_) => requestor::ERROR,
    }
}

/// What a caller means by `rqst_addr`.
#[inline]
fn wanted(rqst_addr: u64) -> Option<u64> {
    (rqst_addr != requestor::ANY).then_some(rqst_addr)
}

/// As [`vmbus_request_addr_match`], for those who hold the lock of the requests.
///
/// # Safety
///
/// `channel` must be valid, as callers must ensure, and its `requestor.req_lock` held.
#[export]
pub(crate) unsafe extern "C" fn __vmbus_request_addr_match(
    channel: *mut bindings::vmbus_channel,
    trans_id: u64,
    rqst_addr: u64,
) -> u64 {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };
    if channel.request_limit() == 0 {
        return requestor::NONE;
    }

    // SAFETY: By the safety requirements the lock is held.
    unsafe { channel.with_requests(|table| table.take(trans_id, wanted(rqst_addr))) }
        .flatten()
        .unwrap_or(requestor::ERROR)
}

/// Finds a request by its number, and takes it out if it is `rqst_addr`, or if that is
/// `VMBUS_RQST_ADDR_ANY`. Any context but NMI.
///
/// Returns the request, `VMBUS_NO_RQSTOR` if the channel has no table of them, and
/// `VMBUS_RQST_ERROR` if there is no such number.
///
/// # Safety
///
/// `channel` must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn vmbus_request_addr_match(
    channel: *mut bindings::vmbus_channel,
    trans_id: u64,
    rqst_addr: u64,
) -> u64 {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };
    if channel.request_limit() == 0 {
        return requestor::NONE;
    }

    requestor::take(channel, trans_id, wanted(rqst_addr)).unwrap_or(requestor::ERROR)
}

/// Takes a request out by its number. Any context but NMI.
///
/// Returns what [`vmbus_request_addr_match`] does.
///
/// # Safety
///
/// `channel` must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn vmbus_request_addr(
    channel: *mut bindings::vmbus_channel,
    trans_id: u64,
) -> u64 {
    // SAFETY: By the safety requirements.
    unsafe { vmbus_request_addr_match(channel, trans_id, requestor::ANY) }
}

/// The versions that a driver speaks.
///
/// # Safety
///
/// `start` must be `count` numbers, or `count` not above 0.
unsafe fn versions<'a>(start: *const c_int, count: c_int) -> &'a [Version] {
    match usize::try_from(count) {
        // CAST: A version is the number that it is made of.
        // SAFETY: By the safety requirements.
        Ok(count) if count > 0 => unsafe { core::slice::from_raw_parts(start.cast(), count) },
        _ => &[],
    }
}

/// Turns the host's question for versions into the answer. Any context.
///
/// Returns whether there are versions that both sides speak.
///
/// # Safety
///
/// `icmsghdrp`, `buf` for `buflen` bytes, `fw_version` for `fw_vercnt` and `srv_version` for
/// `srv_vercnt` numbers must be valid, as callers must ensure; the last two are NULL or valid.
#[export]
pub(crate) unsafe extern "C" fn vmbus_prep_negotiate_resp(
    icmsghdrp: *mut bindings::icmsg_hdr,
    buf: *mut u8,
    buflen: u32,
    fw_version: *const c_int,
    fw_vercnt: c_int,
    srv_version: *const c_int,
    srv_vercnt: c_int,
    nego_fw_version: *mut c_int,
    nego_srv_version: *mut c_int,
) -> bool {
    // SAFETY: By the safety requirements.
    let framework = unsafe { versions(fw_version, fw_vercnt) };
    // SAFETY: By the safety requirements.
    let service = unsafe { versions(srv_version, srv_vercnt) };
    // SAFETY: By the safety requirements, and nobody else uses it.
    let buffer = unsafe { core::slice::from_raw_parts_mut(buf, buflen as usize) };

    let answer = match service::negotiate(buffer, framework, service) {
        Ok(answer) => answer,
        // There is no room for an answer.
        Err(_) => return false,
    };
    // SAFETY: By the safety requirements. It is a part of the buffer, which is not used any more.
    unsafe { (&raw mut (*icmsghdrp).icmsgsize).write_unaligned(service::ANSWER_SIZE) };

    let agreed = answer.unwrap_or_default();
    if !nego_fw_version.is_null() {
        // SAFETY: By the safety requirements.
        unsafe { nego_fw_version.write(agreed.framework.number()) };
    }
    if !nego_srv_version.is_null() {
        // SAFETY: By the safety requirements.
        unsafe { nego_srv_version.write(agreed.service.number()) };
    }
    answer.is_some()
}
