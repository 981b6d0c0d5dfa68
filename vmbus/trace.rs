// SPDX-License-Identifier: GPL-2.0

//! The trace events of the system `hyperv`, whose fields `hv_trace.h` defines.
//!
//! All of them may be called in any context.

use crate::{
    channel::Channel,
    message, //
};
use kernel::{
    bindings,
    prelude::*, //
};

mod raw {
    use kernel::{
        bindings::*,
        prelude::*, //
    };

    kernel::declare_trace! {
        /// # Safety
        ///
        /// The pointer must point to a valid message. This goes for all events below.
        pub(super) unsafe fn vmbus_on_msg_dpc(hdr: *const vmbus_channel_message_header);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_on_message(hdr: *const vmbus_channel_message_header);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_onoffer(offer: *const vmbus_channel_offer_channel);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_onoffer_rescind(offer: *const vmbus_channel_rescind_offer);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_onopen_result(result: *const vmbus_channel_open_result);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_ongpadl_created(msg: *const vmbus_channel_gpadl_created);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_onmodifychannel_response(
            msg: *const vmbus_channel_modifychannel_response,
        );
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_ongpadl_torndown(msg: *const vmbus_channel_gpadl_torndown);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_onversion_response(msg: *const vmbus_channel_version_response);
        /// # Safety
        ///
        /// None.
        pub(super) unsafe fn vmbus_request_offers(ret: c_int);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_open(msg: *const vmbus_channel_open_channel, ret: c_int);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_close_internal(
            msg: *const vmbus_channel_close_channel,
            ret: c_int,
        );
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_establish_gpadl_header(
            msg: *const vmbus_channel_gpadl_header,
            ret: c_int,
        );
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_establish_gpadl_body(
            msg: *const vmbus_channel_gpadl_body,
            ret: c_int,
        );
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_teardown_gpadl(
            msg: *const vmbus_channel_gpadl_teardown,
            ret: c_int,
        );
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_negotiate_version(
            msg: *const vmbus_channel_initiate_contact,
            ret: c_int,
        );
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_release_relid(
            msg: *const vmbus_channel_relid_released,
            ret: c_int,
        );
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_send_tl_connect_request(
            msg: *const vmbus_channel_tl_connect_request,
            ret: c_int,
        );
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_send_modifychannel(
            msg: *const vmbus_channel_modifychannel,
            ret: c_int,
        );
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_chan_sched(channel: *const vmbus_channel);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_setevent(channel: *const vmbus_channel);
        /// # Safety
        ///
        /// As above.
        pub(super) unsafe fn vmbus_on_event(channel: *const vmbus_channel);
    }
}

/// Safe wrappers of events about a channel.
macro_rules! of_channel {
    ($($name:ident => $event:ident;)*) => {$(
        #[inline]
        pub(crate) fn $name(channel: &Channel) {
            // SAFETY: The reference shows that the channel is valid.
            unsafe { raw::$event(channel.as_raw()) }
        }
    )*};
}

/// Safe wrappers of events about a message that is on its way to the host, with the result.
macro_rules! of_request {
    ($($name:ident($message:ident) => $event:ident($c:ident);)*) => {$(
        pub(crate) fn $name(message: &message::$message, result: &Result) {
            let code = result.as_ref().map_or_else(|error| error.to_errno(), |()| 0);

            // SAFETY: The message is valid, and has the layout of the C structure.
            unsafe { raw::$event(core::ptr::from_ref(message).cast::<bindings::$c>(), code) }
        }
    )*};
}

/// Safe wrappers of events about a message of the host.
macro_rules! of_answer {
    ($($name:ident($message:ident) => $event:ident($c:ident);)*) => {$(
        pub(crate) fn $name(message: &message::$message) {
            // SAFETY: The message is valid, and has the layout of the C structure.
            unsafe { raw::$event(core::ptr::from_ref(message).cast::<bindings::$c>()) }
        }
    )*};
}

of_channel! {
    chan_sched => vmbus_chan_sched;
    setevent => vmbus_setevent;
    on_event => vmbus_on_event;
}

of_request! {
    open(Open) => vmbus_open(vmbus_channel_open_channel);
    close(Close) => vmbus_close_internal(vmbus_channel_close_channel);
    gpadl_header(GpadlHeader) => vmbus_establish_gpadl_header(vmbus_channel_gpadl_header);
    gpadl_body(GpadlBody) => vmbus_establish_gpadl_body(vmbus_channel_gpadl_body);
    gpadl_teardown(GpadlTeardown) => vmbus_teardown_gpadl(vmbus_channel_gpadl_teardown);
    negotiate(InitiateContact) => vmbus_negotiate_version(vmbus_channel_initiate_contact);
    release_relid(RelidReleased) => vmbus_release_relid(vmbus_channel_relid_released);
    tl_connect(TlConnect) => vmbus_send_tl_connect_request(vmbus_channel_tl_connect_request);
    modify(Modify) => vmbus_send_modifychannel(vmbus_channel_modifychannel);
}

of_answer! {
    on_message(Header) => vmbus_on_message(vmbus_channel_message_header);
    msg_dpc(Header) => vmbus_on_msg_dpc(vmbus_channel_message_header);
    on_offer(Offer) => vmbus_onoffer(vmbus_channel_offer_channel);
    on_rescind(Rescind) => vmbus_onoffer_rescind(vmbus_channel_rescind_offer);
    on_open_result(OpenResult) => vmbus_onopen_result(vmbus_channel_open_result);
    on_gpadl_created(GpadlCreated) => vmbus_ongpadl_created(vmbus_channel_gpadl_created);
    on_modify_response(ModifyResponse)
        => vmbus_onmodifychannel_response(vmbus_channel_modifychannel_response);
    on_gpadl_torndown(GpadlTorndown) => vmbus_ongpadl_torndown(vmbus_channel_gpadl_torndown);
    on_version_response(VersionResponse)
        => vmbus_onversion_response(vmbus_channel_version_response);
}

/// A message was found in a SynIC slot.
pub(crate) fn on_msg_dpc(payload: &[u8]) {
    if let Ok(header) = message::parse::<message::Header>(payload) {
        msg_dpc(&header);
    }
}

/// The host was asked for its offers.
pub(crate) fn request_offers(result: &Result) {
    let code = result
        .as_ref()
        .map_or_else(|error| error.to_errno(), |()| 0);

    // SAFETY: The event takes a number.
    unsafe { raw::vmbus_request_offers(code) }
}
