// SPDX-License-Identifier: GPL-2.0

//! Control messages between guest and host, as they are on the wire.
//!
//! All numbers are little-endian; so are all machines with VMBus. What comes from the host is a
//! private copy when it is parsed here, and is refused if it is shorter than its type demands.
//! Longer is fine: newer hosts may append fields.
//!
//! C header: [`include/linux/hyperv.h`](srctree/include/linux/hyperv.h)

use kernel::{
    bindings,
    prelude::*, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// Bytes of a message's payload at most.
pub(crate) const MAX_SIZE: usize = 240;

/// The types of messages that this driver sends or understands.
pub(crate) mod kind {
    use kernel::bindings::*;

    pub(crate) const OFFER: u32 = vmbus_channel_message_type_CHANNELMSG_OFFERCHANNEL;
    pub(crate) const RESCIND: u32 = vmbus_channel_message_type_CHANNELMSG_RESCIND_CHANNELOFFER;
    pub(crate) const REQUEST_OFFERS: u32 = vmbus_channel_message_type_CHANNELMSG_REQUESTOFFERS;
    pub(crate) const ALL_OFFERS_DELIVERED: u32 =
        vmbus_channel_message_type_CHANNELMSG_ALLOFFERS_DELIVERED;
    pub(crate) const OPEN: u32 = vmbus_channel_message_type_CHANNELMSG_OPENCHANNEL;
    pub(crate) const OPEN_RESULT: u32 = vmbus_channel_message_type_CHANNELMSG_OPENCHANNEL_RESULT;
    pub(crate) const CLOSE: u32 = vmbus_channel_message_type_CHANNELMSG_CLOSECHANNEL;
    pub(crate) const GPADL_HEADER: u32 = vmbus_channel_message_type_CHANNELMSG_GPADL_HEADER;
    pub(crate) const GPADL_BODY: u32 = vmbus_channel_message_type_CHANNELMSG_GPADL_BODY;
    pub(crate) const GPADL_CREATED: u32 = vmbus_channel_message_type_CHANNELMSG_GPADL_CREATED;
    pub(crate) const GPADL_TEARDOWN: u32 = vmbus_channel_message_type_CHANNELMSG_GPADL_TEARDOWN;
    pub(crate) const GPADL_TORNDOWN: u32 = vmbus_channel_message_type_CHANNELMSG_GPADL_TORNDOWN;
    pub(crate) const RELID_RELEASED: u32 = vmbus_channel_message_type_CHANNELMSG_RELID_RELEASED;
    pub(crate) const INITIATE_CONTACT: u32 = vmbus_channel_message_type_CHANNELMSG_INITIATE_CONTACT;
    pub(crate) const VERSION_RESPONSE: u32 = vmbus_channel_message_type_CHANNELMSG_VERSION_RESPONSE;
    pub(crate) const UNLOAD: u32 = vmbus_channel_message_type_CHANNELMSG_UNLOAD;
    pub(crate) const UNLOAD_RESPONSE: u32 = vmbus_channel_message_type_CHANNELMSG_UNLOAD_RESPONSE;
    pub(crate) const TL_CONNECT: u32 = vmbus_channel_message_type_CHANNELMSG_TL_CONNECT_REQUEST;
    pub(crate) const MODIFY: u32 = vmbus_channel_message_type_CHANNELMSG_MODIFYCHANNEL;
    pub(crate) const MODIFY_RESPONSE: u32 =
        vmbus_channel_message_type_CHANNELMSG_MODIFYCHANNEL_RESPONSE;
    /// One more than the last type that has a meaning.
    pub(crate) const COUNT: u32 = vmbus_channel_message_type_CHANNELMSG_COUNT;
}

/// What every message begins with.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) kind: u32,
    padding: u32,
}

impl Header {
    pub(crate) const fn new(kind: u32) -> Self {
        Self { kind, padding: 0 }
    }
}

/// A message, or the beginning of one, that goes to the host or comes from it.
macro_rules! messages {
    ($($(#[$doc:meta])* struct $name:ident as $c:ident { $($field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
        #[repr(C)]
        pub(crate) struct $name {
            pub(crate) header: Header,
            $(pub(crate) $field: $ty,)*
        }

        static_assert!(size_of::<$name>() == size_of::<bindings::$c>());
    )*};
}

messages! {
    /// The host has a channel for the guest.
    struct Offer as vmbus_channel_offer_channel {
        class: [u8; 16],
        instance: [u8; 16],
        reserved1: [u8; 16],
        flags: u16,
        mmio_megabytes: u16,
        user_defined: [u8; 120],
        sub_channel_index: u16,
        reserved2: u16,
        relid: u32,
        monitor_id: u8,
        monitor_allocated: u8,
        is_dedicated_interrupt: u16,
        connection_id: u32,
    }

    /// The host takes a channel back.
    struct Rescind as vmbus_channel_rescind_offer {
        relid: u32,
    }

    /// Asks the host to connect a channel's rings.
    struct Open as vmbus_channel_open_channel {
        relid: u32,
        open_id: u32,
        ring_gpadl: u32,
        target_vp: u32,
        receive_page: u32,
        user_data: [u8; 120],
    }

    /// How that went.
    struct OpenResult as vmbus_channel_open_result {
        relid: u32,
        open_id: u32,
        status: u32,
    }

    /// The guest does not use the channel any more.
    struct Close as vmbus_channel_close_channel {
        relid: u32,
    }

    /// The host knows the pages of a GPADL, or refuses them.
    struct GpadlCreated as vmbus_channel_gpadl_created {
        relid: u32,
        gpadl: u32,
        status: u32,
    }

    /// The guest wants its pages back.
    struct GpadlTeardown as vmbus_channel_gpadl_teardown {
        relid: u32,
        gpadl: u32,
    }

    /// The host does not touch them any more.
    struct GpadlTorndown as vmbus_channel_gpadl_torndown {
        gpadl: u32,
    }

    /// The guest has forgotten a rescinded channel.
    struct RelidReleased as vmbus_channel_relid_released {
        relid: u32,
    }

    /// Asks the host to speak a version of the protocol.
    ///
    /// Since 5.0 `sint_vtl` says where messages go; before it, it was the address of the
    /// interrupt page.
    struct InitiateContact as vmbus_channel_initiate_contact {
        version: u32,
        target_vp: u32,
        sint_vtl: u64,
        monitor_page1: u64,
        monitor_page2: u64,
    }

    /// Whether it does.
    ///
    /// Hosts before 5.0 say nothing about `connection_id`, but the message has room for it.
    struct VersionResponse as vmbus_channel_version_response {
        supported: u8,
        state: u8,
        reserved: u16,
        connection_id: u32,
    }

    /// Asks a service of the host for a channel (Hyper-V sockets).
    struct TlConnect as vmbus_channel_tl_connect_request {
        guest_endpoint: [u8; 16],
        host_service: [u8; 16],
    }

    /// Asks for a channel's interrupts on another processor.
    struct Modify as vmbus_channel_modifychannel {
        relid: u32,
        target_vp: u32,
    }

    /// How that went; since 5.3.
    struct ModifyResponse as vmbus_channel_modifychannel_response {
        relid: u32,
        status: u32,
    }
}

/// The first message of a GPADL: a range of one piece, and its first page numbers.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct GpadlHeader {
    pub(crate) header: Header,
    pub(crate) relid: u32,
    pub(crate) gpadl: u32,
    /// Bytes of the range with all its page numbers.
    pub(crate) range_length: u16,
    pub(crate) range_count: u16,
    pub(crate) byte_count: u32,
    pub(crate) byte_offset: u32,
    /// Page numbers, which are not aligned here.
    pub(crate) pfns: [[u8; 8]; Self::PFNS],
}

impl GpadlHeader {
    /// Page numbers that fit.
    pub(crate) const PFNS: usize = (MAX_SIZE - 28) / 8;
    /// Bytes before the page numbers.
    pub(crate) const FIXED: usize = 28;
}

/// A further message of a GPADL.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct GpadlBody {
    pub(crate) header: Header,
    pub(crate) number: u32,
    pub(crate) gpadl: u32,
    /// Page numbers, which are not aligned here.
    pub(crate) pfns: [[u8; 8]; Self::PFNS],
}

impl GpadlBody {
    /// Page numbers that fit.
    pub(crate) const PFNS: usize = (MAX_SIZE - 16) / 8;
    /// Bytes before the page numbers.
    pub(crate) const FIXED: usize = 16;
}

static_assert!(GpadlHeader::PFNS == 26);
static_assert!(GpadlBody::PFNS == 28);
static_assert!(size_of::<GpadlHeader>() <= MAX_SIZE);
static_assert!(size_of::<GpadlBody>() <= MAX_SIZE);

/// Parses the beginning of what the host sent.
///
/// Returns [`EPROTO`] if it is too short.
pub(crate) fn parse<T: zerocopy::FromBytes>(payload: &[u8]) -> Result<T> {
    T::read_from_prefix(payload)
        .map(|(message, _)| message)
        .map_err(|_| EPROTO)
}
