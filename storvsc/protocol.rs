// SPDX-License-Identifier: GPL-2.0

//! What storvsc and the host say to each other.
//!
//! All numbers are little-endian, as the processor's. Facts from `drivers/scsi/storvsc_drv.c`.

use kernel::prelude::*;
use zerocopy::{
    FromBytes,
    FromZeros,
    Immutable,
    IntoBytes, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// Operations of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Operation {
    /// The host's answer to all of the others.
    CompleteIo = 1,
    /// The host's: a disk is gone.
    RemoveDevice = 2,
    ExecuteSrb = 3,
    ResetBus = 6,
    BeginInitialization = 7,
    EndInitialization = 8,
    QueryProtocolVersion = 9,
    QueryProperties = 10,
    /// The host's: look for disks.
    EnumerateBus = 11,
    /// World wide names of a Fibre Channel adapter.
    FchbaData = 12,
    CreateSubChannels = 13,
}

/// A version of the protocol, as it is on the wire: the major number in the upper byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u16);

impl Version {
    pub(crate) const V6_0: Self = Self(0x0600);
    pub(crate) const V6_2: Self = Self(0x0602);

    /// What is asked for, in this order.
    pub(crate) const ALL: [Self; 2] = [Self::V6_2, Self::V6_0];
}

/// The host is to answer. Flag of a packet.
const REQUEST_COMPLETION: u32 = 1;

/// The disk may have more than one channel. Flag of [`Properties`].
const SUPPORTS_MULTI_CHANNEL: u32 = 1;

/// Bytes of what a packet carries.
const BODY: usize = 52;

/// Bytes of sense data in an [`Srb`].
pub(crate) const SENSE: usize = 20;

/// A SCSI request: the request block of Windows.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Srb {
    length: u16,
    pub(crate) srb_status: u8,
    pub(crate) scsi_status: u8,
    pub(crate) port: u8,
    pub(crate) path: u8,
    pub(crate) target: u8,
    pub(crate) lun: u8,
    pub(crate) cdb_length: u8,
    pub(crate) sense_length: u8,
    pub(crate) data_in: u8,
    reserved: u8,
    pub(crate) transfer_length: u32,
    /// The command descriptor block, of up to 16 bytes; in an answer, sense data.
    pub(crate) cdb_or_sense: [u8; SENSE],
    reserved2: u16,
    pub(crate) queue_tag: u8,
    pub(crate) queue_action: u8,
    pub(crate) flags: u32,
    /// Seconds.
    pub(crate) timeout: u32,
    queue_sort_key: u32,
}
static_assert!(size_of::<Srb>() == BODY);

impl Srb {
    /// The longest command descriptor block.
    pub(crate) const MAX_CDB: usize = 16;

    pub(crate) const WRITE: u8 = 0;
    pub(crate) const READ: u8 = 1;
    pub(crate) const NO_DATA: u8 = 2;

    pub(crate) const QUEUE_ACTION_ENABLE: u32 = 0x2;
    pub(crate) const DISABLE_SYNCH_TRANSFER: u32 = 0x8;
    pub(crate) const DATA_IN: u32 = 0x40;
    pub(crate) const DATA_OUT: u32 = 0x80;
    pub(crate) const NO_QUEUE_FREEZE: u32 = 0x100;

    pub(crate) const UNTAGGED: u8 = 0xff;
    pub(crate) const SIMPLE_TAG: u8 = 0x20;

    /// A request of which the parts are set that are always the same.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            // CAST: 52.
            length: BODY as u16,
            sense_length: SENSE as u8,
            flags: Self::DISABLE_SYNCH_TRANSFER,
            timeout: 60,
            ..Self::new_zeroed()
        }
    }
}

/// What the host says about a channel.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C, packed)]
pub(crate) struct Properties {
    reserved: u32,
    /// Most sub-channels.
    pub(crate) max_channels: u16,
    reserved1: u16,
    flags: u32,
    /// Bytes of the largest command's data.
    pub(crate) max_transfer: u32,
    reserved2: u64,
}
static_assert!(size_of::<Properties>() == 24);

impl Properties {
    pub(crate) fn multi_channel(&self) -> bool {
        self.flags & SUPPORTS_MULTI_CHANNEL != 0
    }
}

/// World wide names of a Fibre Channel adapter, which has two sets of them.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Wwns {
    primary_active: u8,
    reserved: [u8; 3],
    primary_port: [u8; 8],
    primary_node: [u8; 8],
    secondary_port: [u8; 8],
    secondary_node: [u8; 8],
}
static_assert!(size_of::<Wwns>() == 36);

impl Wwns {
    /// Node and port name of the active set.
    pub(crate) fn active(&self) -> (u64, u64) {
        let (node, port) = if self.primary_active != 0 {
            (self.primary_node, self.primary_port)
        } else {
            (self.secondary_node, self.secondary_port)
        };

        (u64::from_be_bytes(node), u64::from_be_bytes(port))
    }
}

/// A packet, in both directions.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Packet {
    pub(crate) operation: u32,
    flags: u32,
    pub(crate) status: u32,
    body: [u8; BODY],
}
static_assert!(size_of::<Packet>() == Packet::SIZE);

impl Packet {
    /// Bytes.
    pub(crate) const SIZE: usize = 64;

    /// A packet without a body, that the host is to answer.
    #[inline(never)]
    pub(crate) fn new(operation: Operation) -> Self {
        Self {
            operation: operation as u32,
            flags: REQUEST_COMPLETION,
            status: 0,
            body: [0; BODY],
        }
    }

    /// A packet whose body begins with this.
    pub(crate) fn with<T: IntoBytes + Immutable>(operation: Operation, body: &T) -> Self {
        let mut packet = Self::new(operation);

        for (to, from) in packet.body.iter_mut().zip(body.as_bytes()) {
            *to = *from;
        }
        packet
    }

    /// The beginning of the body.
    pub(crate) fn get<T: FromBytes>(&self) -> Result<T> {
        T::read_from_prefix(&self.body)
            .map(|(body, _)| body)
            .map_err(|_| EINVAL)
    }

    /// Whether this answers what was asked, and says yes.
    pub(crate) fn is_success(&self) -> bool {
        self.operation == Operation::CompleteIo as u32 && self.status == 0
    }
}

/// A packet with a SCSI request, or the answer to one.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Execute {
    pub(crate) operation: u32,
    flags: u32,
    pub(crate) status: u32,
    pub(crate) srb: Srb,
}
static_assert!(size_of::<Execute>() == Packet::SIZE);

impl Execute {
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            operation: Operation::ExecuteSrb as u32,
            flags: REQUEST_COMPLETION,
            status: 0,
            srb: Srb::new(),
        }
    }
}

/// The operation of a packet that the host sends by itself, which may be short.
pub(crate) fn operation_of(payload: &[u8]) -> Option<u32> {
    u32::read_from_prefix(payload)
        .ok()
        .map(|(operation, _)| operation)
}
