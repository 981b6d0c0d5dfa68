// SPDX-License-Identifier: GPL-2.0

//! What other modules call of the hardware part: signals of channels for `uio_hv_generic`, and what
//! `mshv_vtl` needs, whose guest has a bus of its own.

use crate::{
    channel::Channel,
    hw, //
};
use core::ptr::slice_from_raw_parts;
use kernel::{
    bindings,
    prelude::*, //
};

/// C: `vmbus_isr()`. Hard interrupt context.
///
/// # Safety
///
/// There is nothing to be kept. It is unsafe as what C declares is, which old compilers want.
#[export]
pub(crate) unsafe extern "C" fn vmbus_isr() {
    hw::interrupt::handle();
}

/// C: `hv_post_message()`. Any context.
///
/// Returns a status of the hypervisor, or `-EMSGSIZE`.
///
/// # Safety
///
/// `payload` must point to `payload_size` bytes.
#[export]
pub(crate) unsafe extern "C" fn hv_post_message(
    connection_id: bindings::hv_connection_id,
    message_type: bindings::hv_message_type,
    payload: *mut c_void,
    payload_size: usize,
) -> c_int {
    if payload_size > crate::message::MAX_SIZE {
        return EMSGSIZE.to_errno();
    }
    // SAFETY: All bytes are a number.
    let connection = unsafe { connection_id.asu32 };
    let payload = if payload_size == 0 {
        &[]
    } else {
        // SAFETY: By the safety requirements; the caller does not change them meanwhile.
        unsafe { &*slice_from_raw_parts(payload.cast::<u8>(), payload_size) }
    };

    hw::hypercall::post(connection, message_type, payload).into()
}

/// C: `vmbus_set_event()`. Any context.
///
/// # Safety
///
/// `channel` must be a valid channel.
#[export]
pub(crate) unsafe extern "C" fn vmbus_set_event(channel: *mut bindings::vmbus_channel) {
    // SAFETY: By the safety requirements.
    hw::interrupt::signal_directly(unsafe { Channel::from_raw(channel) });
}

/// C: `vmbus_setevent()`. Any context.
///
/// # Safety
///
/// `channel` must be a valid channel.
#[export]
pub(crate) unsafe extern "C" fn vmbus_setevent(channel: *mut bindings::vmbus_channel) {
    // SAFETY: By the safety requirements.
    hw::interrupt::signal_inline(unsafe { Channel::from_raw(channel) });
}

/// C: `vmbus_is_confidential()`. Any context.
///
/// # Safety
///
/// There is nothing to be kept. It is unsafe as what C declares is, which old compilers want.
#[export]
pub(crate) unsafe extern "C" fn vmbus_is_confidential() -> bool {
    hw::is_confidential()
}
