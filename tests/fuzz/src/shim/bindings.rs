// SPDX-License-Identifier: GPL-2.0

//! Numbers of the interface, and sizes of the C structures, which the kernel's build takes from the
//! headers.

#![allow(non_camel_case_types, non_upper_case_globals)]

pub const HV_HYP_PAGE_SHIFT: u32 = 12;
pub const IC_VERSION_NEGOTIATION_MAX_VER_COUNT: u32 = 100;
pub const VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED: u32 = 1;

pub type vmbus_packet_type = u32;
pub const vmbus_packet_type_VM_PKT_DATA_INBAND: u32 = 6;
pub const vmbus_packet_type_VM_PKT_DATA_USING_XFER_PAGES: u32 = 7;
pub const vmbus_packet_type_VM_PKT_DATA_USING_GPA_DIRECT: u32 = 9;
pub const vmbus_packet_type_VM_PKT_COMP: u32 = 11;

macro_rules! numbers {
    ($($name:ident = $number:literal,)*) => { $(pub const $name: u32 = $number;)* };
}

numbers! {
    vmbus_channel_message_type_CHANNELMSG_OFFERCHANNEL = 1,
    vmbus_channel_message_type_CHANNELMSG_RESCIND_CHANNELOFFER = 2,
    vmbus_channel_message_type_CHANNELMSG_REQUESTOFFERS = 3,
    vmbus_channel_message_type_CHANNELMSG_ALLOFFERS_DELIVERED = 4,
    vmbus_channel_message_type_CHANNELMSG_OPENCHANNEL = 5,
    vmbus_channel_message_type_CHANNELMSG_OPENCHANNEL_RESULT = 6,
    vmbus_channel_message_type_CHANNELMSG_CLOSECHANNEL = 7,
    vmbus_channel_message_type_CHANNELMSG_GPADL_HEADER = 8,
    vmbus_channel_message_type_CHANNELMSG_GPADL_BODY = 9,
    vmbus_channel_message_type_CHANNELMSG_GPADL_CREATED = 10,
    vmbus_channel_message_type_CHANNELMSG_GPADL_TEARDOWN = 11,
    vmbus_channel_message_type_CHANNELMSG_GPADL_TORNDOWN = 12,
    vmbus_channel_message_type_CHANNELMSG_RELID_RELEASED = 13,
    vmbus_channel_message_type_CHANNELMSG_INITIATE_CONTACT = 14,
    vmbus_channel_message_type_CHANNELMSG_VERSION_RESPONSE = 15,
    vmbus_channel_message_type_CHANNELMSG_UNLOAD = 16,
    vmbus_channel_message_type_CHANNELMSG_UNLOAD_RESPONSE = 17,
    vmbus_channel_message_type_CHANNELMSG_TL_CONNECT_REQUEST = 21,
    vmbus_channel_message_type_CHANNELMSG_MODIFYCHANNEL = 22,
    vmbus_channel_message_type_CHANNELMSG_MODIFYCHANNEL_RESPONSE = 24,
    vmbus_channel_message_type_CHANNELMSG_COUNT = 25,
}

macro_rules! structures {
    ($($name:ident: $size:literal,)*) => { $(pub struct $name([u8; $size]);)* };
}

structures! {
    hv_ring_buffer: 4096,
    icmsg_hdr: 20,
    page: 64,
    vmbus_channel_close_channel: 12,
    vmbus_channel_gpadl_created: 20,
    vmbus_channel_gpadl_teardown: 16,
    vmbus_channel_gpadl_torndown: 12,
    vmbus_channel_initiate_contact: 40,
    vmbus_channel_modifychannel: 16,
    vmbus_channel_modifychannel_response: 16,
    vmbus_channel_offer_channel: 196,
    vmbus_channel_open_channel: 148,
    vmbus_channel_open_result: 20,
    vmbus_channel_relid_released: 12,
    vmbus_channel_rescind_offer: 12,
    vmbus_channel_tl_connect_request: 40,
    vmbus_channel_version_response: 16,
    vmbuspipe_hdr: 8,
    vmtransfer_page_range: 8,
}

pub struct hv_ring_buffer_info {
    pub ring_buffer: *mut hv_ring_buffer,
    pub ring_datasize: u32,
}
