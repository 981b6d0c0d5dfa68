// SPDX-License-Identifier: GPL-2.0

//! VMBus control messages as they lie on the wire (`include/linux/hyperv.h` of Linux).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::guid::Guid;

/// The largest payload of a SynIC message.
pub const MAX_PAYLOAD: usize = 240;
/// Bytes of the user-defined part of offers and opens.
pub const USER_BYTES: usize = 120;

/// Message numbers.
#[allow(missing_docs)] // The names are the specification's.
pub mod kind {
    pub const OFFER_CHANNEL: u32 = 1;
    pub const RESCIND_CHANNEL_OFFER: u32 = 2;
    pub const REQUEST_OFFERS: u32 = 3;
    pub const ALL_OFFERS_DELIVERED: u32 = 4;
    pub const OPEN_CHANNEL: u32 = 5;
    pub const OPEN_RESULT: u32 = 6;
    pub const CLOSE_CHANNEL: u32 = 7;
    pub const GPADL_HEADER: u32 = 8;
    pub const GPADL_BODY: u32 = 9;
    pub const GPADL_CREATED: u32 = 10;
    pub const GPADL_TEARDOWN: u32 = 11;
    pub const GPADL_TORNDOWN: u32 = 12;
    pub const RELID_RELEASED: u32 = 13;
    pub const INITIATE_CONTACT: u32 = 14;
    pub const VERSION_RESPONSE: u32 = 15;
    pub const UNLOAD: u32 = 16;
    pub const UNLOAD_COMPLETE: u32 = 17;
    pub const TL_CONNECT_REQUEST: u32 = 21;
    pub const MODIFY_CHANNEL: u32 = 22;
    pub const TL_CONNECT_RESULT: u32 = 23;
    pub const MODIFY_CHANNEL_RESPONSE: u32 = 24;
}

const NAMES: [&str; 25] = [
    "INVALID",
    "OFFER_CHANNEL",
    "RESCIND_CHANNEL_OFFER",
    "REQUEST_OFFERS",
    "ALL_OFFERS_DELIVERED",
    "OPEN_CHANNEL",
    "OPEN_RESULT",
    "CLOSE_CHANNEL",
    "GPADL_HEADER",
    "GPADL_BODY",
    "GPADL_CREATED",
    "GPADL_TEARDOWN",
    "GPADL_TORNDOWN",
    "RELID_RELEASED",
    "INITIATE_CONTACT",
    "VERSION_RESPONSE",
    "UNLOAD",
    "UNLOAD_COMPLETE",
    "OPEN_RESERVED_CHANNEL",
    "CLOSE_RESERVED_CHANNEL",
    "CLOSE_RESERVED_RESPONSE",
    "TL_CONNECT_REQUEST",
    "MODIFY_CHANNEL",
    "TL_CONNECT_RESULT",
    "MODIFY_CHANNEL_RESPONSE",
];

/// A message's name, for the trace.
pub fn name(kind: u32) -> &'static str {
    NAMES.get(kind as usize).copied().unwrap_or("UNKNOWN")
}

/// The number of the message with this name.
pub fn number(name: &str) -> Option<u32> {
    NAMES.iter().position(|known| *known == name).map(|number| number as u32)
}

/// A message's number and padding, in front of every body below.
const HEADER: usize = 8;

/// Splits a message into its number and its body.
pub fn parse(message: &[u8]) -> Option<(u32, &[u8])> {
    let (header, body) = message.split_at_checked(HEADER)?;
    let (kind, _) = u32::read_from_prefix(header).ok()?;
    Some((kind, body))
}

/// Puts a number in front of a body.
pub fn build(kind: u32, body: &(impl IntoBytes + Immutable)) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + size_of_val(body));
    out.extend(u64::from(kind).to_le_bytes());
    out.extend(body.as_bytes());
    out
}

macro_rules! wire {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
        #[repr(C, packed)]
        #[allow(missing_docs)] // The fields are the specification's.
        pub struct $name { $(pub $field: $type,)* }
    )* };
}

wire! {
    /// OFFER_CHANNEL.
    OfferChannel {
        interface: Guid,
        instance: Guid,
        reserved: [u64; 2],
        flags: u16,
        mmio_megabytes: u16,
        user: [u8; USER_BYTES],
        sub_channel: u16,
        reserved2: u16,
        relid: u32,
        monitor_id: u8,
        monitor_allocated: u8,
        dedicated_interrupt: u16,
        connection: u32,
    }
    /// RESCIND_CHANNEL_OFFER, CLOSE_CHANNEL, RELID_RELEASED: one channel's number.
    Relid {
        relid: u32,
    }
    /// OPEN_CHANNEL.
    OpenChannel {
        relid: u32,
        open_id: u32,
        gpadl: u32,
        target_vp: u32,
        second_ring_page: u32,
        user: [u8; USER_BYTES],
    }
    /// OPEN_RESULT.
    OpenResult {
        relid: u32,
        open_id: u32,
        status: u32,
    }
    /// GPADL_HEADER, without the ranges that follow.
    GpadlHeader {
        relid: u32,
        gpadl: u32,
        range_bytes: u16,
        range_count: u16,
    }
    /// GPADL_BODY, without the page numbers that follow.
    GpadlBody {
        number: u32,
        gpadl: u32,
    }
    /// GPADL_CREATED.
    GpadlCreated {
        relid: u32,
        gpadl: u32,
        status: u32,
    }
    /// GPADL_TEARDOWN.
    GpadlTeardown {
        relid: u32,
        gpadl: u32,
    }
    /// GPADL_TORNDOWN.
    GpadlTorndown {
        gpadl: u32,
    }
    /// INITIATE_CONTACT; `target` is the interrupt page's address up to 4.1, and then the
    /// message SINT, the VTL and (6.0) the feature flags.
    InitiateContact {
        version: u32,
        target_vp: u32,
        target: [u8; 8],
        monitor_pages: [u64; 2],
    }
    /// VERSION_RESPONSE; the feature flags are there from 6.0 on.
    VersionResponse {
        supported: u8,
        state: u8,
        padding: u16,
        connection: u32,
        features: u32,
    }
    /// TL_CONNECT_REQUEST: the guest's end, and what it connects to.
    TlConnectRequest {
        endpoint: Guid,
        service: Guid,
    }
    /// TL_CONNECT_RESULT; only a refusal needs one, an offer says the rest.
    TlConnectResult {
        endpoint: Guid,
        service: Guid,
        status: u32,
    }
    /// MODIFY_CHANNEL.
    ModifyChannel {
        relid: u32,
        target_vp: u32,
    }
    /// MODIFY_CHANNEL_RESPONSE.
    ModifyChannelResponse {
        relid: u32,
        status: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_linux() {
        assert_eq!(HEADER + size_of::<OfferChannel>(), 196);
        assert_eq!(HEADER + size_of::<OpenChannel>(), 148);
        assert_eq!(HEADER + size_of::<GpadlHeader>(), 20);
        assert_eq!(HEADER + size_of::<InitiateContact>(), 40);
    }
}
