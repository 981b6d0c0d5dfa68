// SPDX-License-Identifier: GPL-2.0

//! Driver of the disk controllers of Hyper-V: `hv_storvsc`.
//!
//! Data path: `queue.rs` builds a packet for each command of the mid layer in the ring of a channel
//! (`channels.rs` chooses which), and completes the command when the host has answered; `errors.rs`
//! says what an answer means.

mod channels;
mod controller;
mod driver;
mod errors;
mod events;
mod handshake;
mod log;
mod parameters;
mod protocol;
mod queue;

/// Kinds of controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scsi,
    /// Stands for an IDE disk of the first generation of virtual machines.
    Ide,
    FibreChannel,
}

kernel::module_vmbus_driver! {
    type: driver::Storvsc,
    name: "hv_storvsc",
    authors: ["The hvrust developers"],
    description: "Microsoft Hyper-V virtual storage driver",
    license: "GPL",
}
