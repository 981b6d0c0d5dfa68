// SPDX-License-Identifier: GPL-2.0

//! The two hypercalls of the bus: one posts a message to the host, the other one tells it that a
//! channel has something for it.

use super::percpu::Context;
use crate::message::MAX_SIZE;
use kernel::{
    bindings,
    cpu::CpuId,
    prelude::*,
    sync::rcu, //
};

const POST_MESSAGE: u64 = bindings::HVCALL_POST_MESSAGE as u64;
const SIGNAL_EVENT: u64 = bindings::HVCALL_SIGNAL_EVENT as u64;

/// The parameters are in registers.
const FAST: u64 = 1 << 16;
/// The call is for the hypervisor below the one that runs us.
const NESTED: u64 = 1 << 31;

/// The type of message that the host expects from the bus.
const MESSAGE_TYPE: u32 = 1;

/// Why the hypervisor has refused a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    /// There is no such connection; or too many messages were sent.
    InvalidConnection,
    /// It has no room for the message now.
    Busy,
    /// Any other status.
    Other(u16),
}

/// The status of a hypercall, if it was refused.
fn status(code: u16) -> Result<(), Status> {
    match u32::from(code) {
        bindings::HV_STATUS_SUCCESS => Ok(()),
        bindings::HV_STATUS_INVALID_CONNECTION_ID => Err(Status::InvalidConnection),
        bindings::HV_STATUS_INSUFFICIENT_MEMORY | bindings::HV_STATUS_INSUFFICIENT_BUFFERS => {
            Err(Status::Busy)
        }
        _ => Err(Status::Other(code)),
    }
}

/// Posts a message of the bus, once. Any context.
///
/// It has [`MAX_SIZE`] bytes at most.
pub(crate) fn post_message(connection: u32, payload: &[u8]) -> Result<(), Status> {
    status(post(connection, MESSAGE_TYPE, payload))
}

/// Posts a message of any type and returns the hypervisor's status; 0 is success. Any context.
pub(crate) fn post(connection: u32, message_type: u32, payload: &[u8]) -> u16 {
    if payload.len() > MAX_SIZE {
        return bindings::HV_STATUS_INVALID_PARAMETER as u16;
    }
    let irq = IrqOff::new();
    let Some(input) = Input::of(&irq) else {
        return bindings::HV_STATUS_INSUFFICIENT_MEMORY as u16;
    };

    input.fill(connection, message_type, payload);
    // The lower 16 bits are the status, the others say how far a list was processed.
    input.post() as u16
}

/// Interrupts are off on this processor while this exists; also in an NMI, where the kernel's own
/// type must not be used.
struct IrqOff(usize);

impl IrqOff {
    fn new() -> Self {
        // SAFETY: It can be called in any context.
        Self(unsafe { bindings::local_irq_save() })
    }
}

impl Drop for IrqOff {
    fn drop(&mut self) {
        // SAFETY: These are the flags from before.
        unsafe { bindings::local_irq_restore(self.0) };
    }
}

/// The page with the parameters of a message.
///
/// # Invariants
///
/// Nobody else uses the page during the lifetime. It is aligned, and large enough.
struct Input<'a> {
    page: *mut bindings::hv_input_post_message,
    _irq: &'a IrqOff,
}

impl<'a> Input<'a> {
    /// This processor's page, if it has one already.
    fn of(irq: &'a IrqOff) -> Option<Self> {
        let cpu = CpuId::current();

        // The hypervisor cannot read the usual page of a TDX guest with a paravisor.
        // SAFETY: It can be called in any context.
        let page = if super::has_paravisor() && unsafe { bindings::hv_isolation_type_tdx() } {
            Context::of(cpu, &rcu::read_lock())?.post_message_page()
        } else {
            // SAFETY: Early boot sets it, and nothing changes it later.
            let pages = unsafe { bindings::hyperv_pcpu_input_arg };

            // SAFETY: It is per-CPU memory, and the processor is there.
            let page = unsafe { bindings::per_cpu_ptr(pages.cast(), cpu.as_u32()) };
            // SAFETY: Each processor has a pointer to its page there.
            unsafe { *page.cast::<*mut c_void>() }.cast()
        };

        // INVARIANT: It belongs to this processor, who uses it only with interrupts off, which
        // they are for the lifetime; it is a page.
        (!page.is_null()).then_some(Self {
            page: page.cast(),
            _irq: irq,
        })
    }

    fn fill(&self, connection: u32, message_type: u32, payload: &[u8]) {
        let header = bindings::hv_input_post_message {
            connectionid: bindings::hv_connection_id { asu32: connection },
            message_type,
            // 240 at most.
            payload_size: payload.len() as u32,
            ..pin_init::zeroed()
        };

        // The whole page may be visible to the host, so nothing old is left in there.
        // SAFETY: By the type invariants the page can be written.
        unsafe { self.page.write(header) };
        // SAFETY: By the type invariants.
        let to = unsafe { &raw mut (*self.page).payload }.cast::<u8>();
        // SAFETY: The payload is not longer than this field; it is no part of the page, which
        // nobody has a reference to.
        unsafe { to.copy_from_nonoverlapping(payload.as_ptr(), payload.len()) };
    }

    fn post(&self) -> u64 {
        let input = self.page.cast::<c_void>();

        // A bus that the paravisor provides is reached by an ordinary hypercall, which traps to it.
        if !super::has_paravisor() || super::is_confidential() {
            // SAFETY: By the type invariants the page is our own; there is no output.
            return unsafe {
                bindings::hv_do_hypercall(POST_MESSAGE | nested(), input, core::ptr::null_mut())
            };
        }
        // SAFETY: It can be called in any context.
        if unsafe { bindings::hv_isolation_type_tdx() } {
            // SAFETY: The page is our own, and the hypervisor only reads it.
            unsafe {
                bindings::hv_tdx_hypercall(POST_MESSAGE, super::page::physical(input.cast()), 0)
            }
        } else {
            // Where this is not SEV-SNP either, it refuses.
            // SAFETY: The page is our own; there is no output.
            unsafe {
                bindings::hv_ghcb_hypercall(
                    POST_MESSAGE,
                    input,
                    core::ptr::null_mut(),
                    size_of::<bindings::hv_input_post_message>() as u32,
                )
            }
        }
    }
}

fn nested() -> u64 {
    // SAFETY: Early boot sets it, and nothing changes it later.
    if unsafe { bindings::hv_nested } {
        NESTED
    } else {
        0
    }
}

/// Tells the host that there is something for it on a connection. Any context.
///
/// The hypervisor's status is of no use: that connections vanish is normal.
#[inline]
pub(crate) fn signal_event(connection: u32) {
    let mut input = u64::from(connection);

    if !super::has_paravisor() {
        // SAFETY: It reads and writes no memory.
        unsafe { bindings::hv_fast_hypercall8(SIGNAL_EVENT | nested(), input) };
        return;
    }
    // SAFETY: It can be called in any context.
    if unsafe { bindings::hv_isolation_type_tdx() } {
        // SAFETY: It reads and writes no memory.
        unsafe { bindings::hv_tdx_hypercall(SIGNAL_EVENT | FAST, input, 0) };
    } else {
        // SAFETY: The input is copied from here; there is no output.
        unsafe {
            bindings::hv_ghcb_hypercall(
                SIGNAL_EVENT,
                (&raw mut input).cast(),
                core::ptr::null_mut(),
                size_of::<u64>() as u32,
            )
        };
    }
}
