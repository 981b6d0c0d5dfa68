// SPDX-License-Identifier: GPL-2.0

//! The host side of Hyper-V's guest protocols: VMBus, SCSI, network, integration services.
//!
//! The engine is a state machine without threads, clocks or file descriptors. What it
//! needs from the world comes through three traits: [`GuestMemory`] (the guest's pages),
//! [`Transport`] (the SynIC: messages, event flags and signals) and the backends of the
//! devices (a disk's bytes, a network's frames). The VMM plugs KVM in; tests plug in
//! vectors and drive both ends in one process.
//!
//! The guest is not trusted any more than a guest trusts us: what it writes is copied,
//! checked and refused with a [`Violation`] that ends up in the trace and in the counters,
//! never in a panic.

pub mod balloon;
pub mod bus;
pub mod check;
pub mod device;
pub mod disk;
pub mod echo;
pub mod fault;
pub mod guid;
pub mod heartbeat;
pub mod hvsock;
pub mod ic;
pub mod keyboard;
pub mod kvp;
pub mod memory;
pub mod message;
pub mod mouse;
pub mod netvsp;
pub mod null;
pub mod ring;
pub mod rndis;
pub mod services;
pub mod shutdown;
pub mod storvsp;
pub mod timesync;
pub mod trace;
pub mod video;
pub mod vss;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
pub(crate) mod mock;

pub use bus::{Host, Transport, Version};
pub use device::{Device, Io, Offer, Violation};
pub use guid::Guid;
pub use memory::{BadAddress, GuestMemory, PageRange};
pub use ring::{Packet, PacketKind};
pub use trace::{Level, Trace};
