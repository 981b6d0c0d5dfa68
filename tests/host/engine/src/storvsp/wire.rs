// SPDX-License-Identifier: GPL-2.0

//! What the protocol of SCSI controllers looks like on the ring: numbers and structures.

use zerocopy::big_endian::U64;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::disk::Address;

/// Protocol versions, the major one in the high byte.
pub mod version {
    /// Windows Server 2008.
    pub const V2_0: u16 = 0x0200;
    /// Windows Server 2008 R2.
    pub const V4_2: u16 = 0x0402;
    /// Windows Server 2012: longer SRBs and sub-channels.
    pub const V5_1: u16 = 0x0501;
    /// Windows Server 2012 R2.
    pub const V6_0: u16 = 0x0600;
    /// Windows Server 2016.
    pub const V6_2: u16 = 0x0602;
}

pub(super) const DEFAULT_VERSIONS: [u16; 4] =
    [version::V2_0, version::V4_2, version::V5_1, version::V6_0];
pub(super) const DEFAULT_MAX_TRANSFER: u32 = 256 << 10;

pub(super) mod operation {
    pub const COMPLETE_IO: u32 = 1;
    pub const REMOVE_DEVICE: u32 = 2;
    pub const EXECUTE_SRB: u32 = 3;
    pub const RESET_LUN: u32 = 4;
    pub const RESET_ADAPTER: u32 = 5;
    pub const RESET_BUS: u32 = 6;
    pub const BEGIN_INITIALIZATION: u32 = 7;
    pub const END_INITIALIZATION: u32 = 8;
    pub const QUERY_VERSION: u32 = 9;
    pub const QUERY_PROPERTIES: u32 = 10;
    pub const ENUMERATE_BUS: u32 = 11;
    pub const FCHBA_DATA: u32 = 12;
    pub const CREATE_SUB_CHANNELS: u32 = 13;
}

pub(super) mod status {
    pub const SUCCESS: u32 = 0;
    pub const UNSUCCESSFUL: u32 = 0xc000_0001;
    pub const INVALID_PARAMETER: u32 = 0xc000_000d;
    pub const REVISION_MISMATCH: u32 = 0xc000_0059;
    pub const INVALID_DEVICE_STATE: u32 = 0xc000_0184;
}

pub(super) mod srb_status {
    pub const SUCCESS: u8 = 0x01;
    pub const ERROR: u8 = 0x04;
    pub const INVALID_REQUEST: u8 = 0x06;
    pub const INVALID_LUN: u8 = 0x20;
    pub const AUTOSENSE_VALID: u8 = 0x80;
}

pub(super) const GOOD: u8 = 0;
pub(super) const CHECK_CONDITION: u8 = 2;
pub(super) const RESERVATION_CONFLICT: u8 = 0x18;

// Values of `Srb::data_in`.
pub(super) const DATA_OUT: u8 = 0;
pub(super) const DATA_IN: u8 = 1;

/// Peripheral qualifier and type of a logical unit that does not exist.
pub(super) const NO_UNIT: u8 = 0x7f;

pub(super) const MULTI_CHANNEL: u32 = 1;

pub(super) const PAYLOAD: usize = 0x34;
/// The part of an SRB before 5.1.
pub(super) const SHORT_SRB: usize = 0x24;
pub(super) const HEADER: usize = 12;

#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Message {
    pub(super) operation: U32,
    pub(super) flags: U32,
    pub(super) status: U32,
    pub(super) payload: [u8; PAYLOAD],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Srb {
    pub(super) length: U16,
    pub(super) srb_status: u8,
    pub(super) scsi_status: u8,
    pub(super) port: u8,
    pub(super) path: u8,
    pub(super) target: u8,
    pub(super) lun: u8,
    pub(super) cdb_length: u8,
    pub(super) sense_length: u8,
    pub(super) data_in: u8,
    pub(super) reserved: u8,
    pub(super) data_length: U32,
    /// The CDB; in the answer the sense data.
    pub(super) cdb: [u8; 20],
    pub(super) reserved2: U16,
    pub(super) queue_tag: u8,
    pub(super) queue_action: u8,
    pub(super) flags: U32,
    pub(super) timeout: U32,
    pub(super) sort_key: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Properties {
    pub(super) reserved: U32,
    pub(super) max_sub_channels: U16,
    pub(super) reserved2: U16,
    pub(super) flags: U32,
    pub(super) max_transfer: U32,
    pub(super) reserved3: [u8; 8],
}

/// World wide names of an adapter of Fibre Channel, which has two sets of them.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Wwns {
    pub(super) first_is_active: u8,
    pub(super) reserved: [u8; 3],
    pub(super) first_port: U64,
    pub(super) first_node: U64,
    pub(super) second_port: U64,
    pub(super) second_node: U64,
}

impl Srb {
    pub(super) fn address(&self) -> Address {
        Address { path: self.path, target: self.target, lun: self.lun }
    }
}

/// Bytes of an SRB in this version.
pub(super) fn srb_len(version: u16) -> usize {
    if version >= version::V5_1 {
        PAYLOAD
    } else {
        SHORT_SRB
    }
}
