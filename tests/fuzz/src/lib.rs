// SPDX-License-Identifier: GPL-2.0

//! The files of the kernel crate and of `hv_vmbus` that need no kernel, compiled as they are, with
//! as much of a kernel around them as they use. They meet a host that means no good: as `cargo
//! test`, in a million rounds with SOAK=1, and under Miri.
//!
//! Their unit tests, which KUnit runs in the kernel, are tests here too.

// The kernel's files are what they are; the kernel's own build judges them.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    private_interfaces,
    clippy::all
)]

// What they call the kernel's crate, and their own.
extern crate self as kernel;

#[macro_use]
mod shim;
#[cfg(test)]
mod random;

use shim::{abi, channel, hw, log};
use shim::{alloc, bindings, cpu, io, page, prelude, sync, types, vmap};

/// `kernel::vmbus`, as far as it needs no bus.
#[rustfmt::skip]
#[path = "../../../rust/kernel/vmbus"]
mod vmbus {
    pub(crate) mod ends;
    pub(crate) mod inflight;
    pub(crate) use crate::shim::link;
    pub(crate) use crate::shim::raw;
    pub(crate) mod owed;
    pub(crate) mod reader;
    pub(crate) mod ring;
    mod tests;
    pub(crate) mod writer;

    #[cfg(test)]
    #[path = "../../../tests/fuzz/src/channel.rs"]
    mod fuzz;
}

/// `hv_vmbus`, as far as it needs no hypervisor.
#[rustfmt::skip]
#[path = "../../../vmbus"]
mod bus {
    pub(crate) mod message;
    pub(crate) mod requestor;
    pub(crate) mod ring;
    pub(crate) mod service;

    #[cfg(test)]
    #[path = "../tests/fuzz/src/bus.rs"]
    mod fuzz;
}
use bus::{message, requestor, ring, service};
