// SPDX-License-Identifier: GPL-2.0

//! What other drivers see: the C structures, and the functions of `include/linux/hyperv.h`.
//!
//! Callers are C drivers, or `kernel::vmbus` for those in Rust; the functions here turn their
//! pointers into references and call the safe code that does the work.

mod buffer;
pub(crate) mod channel;
pub(crate) mod data;
pub(crate) mod fields;
pub(crate) mod hw;
pub(crate) mod pages;
pub(crate) mod plat;
pub(crate) mod ring;
pub(crate) mod sys;

use kernel::{
    bindings,
    sync::atomic::{
        Atomic,
        Release, //
    }, //
};

/// The table of device types, as other drivers see it.
pub(crate) fn devices() -> &'static [bindings::vmbus_device] {
    let devices = &raw const bindings::vmbus_devs;

    // SAFETY: exports/channel_mgmt.c has an entry for each type below the unknown one, and none ever changes.
    unsafe {
        core::slice::from_raw_parts(
            devices.cast(),
            bindings::vmbus_device_type_HV_UNKNOWN as usize,
        )
    }
}

/// Lets other drivers see the version of the protocol.
pub(crate) fn set_version(version: u32) {
    // SAFETY: The variable is aligned and lives as long as this module; others only read it.
    unsafe { Atomic::from_ptr(&raw mut bindings::vmbus_proto_version) }.store(version, Release);
}

/// Lets other drivers see the state of the connection (`enum vmbus_connect_state`).
pub(crate) fn set_state(state: u32) {
    let connection = &raw mut bindings::vmbus_connection;

    // SAFETY: As above.
    unsafe { Atomic::from_ptr(&raw mut (*connection).conn_state) }.store(state, Release);
}

/// What the module parameter `max_version` says.
pub(crate) fn max_version() -> u32 {
    extern "C" {
        static hv_vmbus_max_version: c_uint;
    }
    use kernel::prelude::*;

    // SAFETY: It is set when the module is loaded, and never changes.
    unsafe { hv_vmbus_max_version }
}
