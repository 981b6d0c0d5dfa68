// SPDX-License-Identifier: GPL-2.0

//! How the bus ends with the kernel: another one is started, this one dies, or it sleeps.
//!
//! A kernel that dies posts one message, and polls the slots for the answer: only what was
//! allocated before is used, no lock is taken that somebody may hold for ever, and it ends. What
//! cannot be done is to take the pages from the controllers of other processors, whose registers
//! only they can write; a host that signals a channel after it has confirmed the end of the
//! connection would still write there.
//!
//! C source: [`drivers/hv/vmbus_drv.c`](srctree/drivers/hv/vmbus_drv.c),
//! [`drivers/hv/channel_mgmt.c`](srctree/drivers/hv/channel_mgmt.c)

use super::{
    percpu::poll_messages,
    synic, //
};
use crate::{
    abi::plat::skip_unload,
    connection::{
        self,
        Unload, //
    },
    message::{
        self,
        kind,
        Header, //
    },
};
use kernel::{
    bindings,
    cpu::CpuId,
    panic_notifier,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    syscore,
    time::{
        delay::udelay,
        Delta, //
    },
};

/// The bus is told when the kernel ends or sleeps.
pub(crate) struct Registration {
    // Dropped in this order.
    _syscore: Pin<KBox<syscore::Registration<Sleep>>>,
    _handlers: Handlers,
    _panic: Pin<KBox<panic_notifier::Registration<Panic>>>,
}

impl Registration {
    /// Registers for all of it. May sleep. There must be one such value at a time.
    pub(crate) fn new() -> Result<Self> {
        let panic = KBox::pin_init(panic_notifier::Registration::new(Ok(Panic)), GFP_KERNEL)?;
        let handlers = Handlers::new();
        let syscore = KBox::pin_init(syscore::Registration::new(Ok(Sleep)), GFP_KERNEL)?;

        Ok(Self {
            _syscore: syscore,
            _handlers: handlers,
            _panic: panic,
        })
    }
}

/// Ends the connection in a panic, unless a driver of a frame buffer wants to do so when it has
/// shown the last lines.
struct Panic;

impl panic_notifier::Callback for Panic {
    /// Almost the last: what others say to the host comes before.
    const PRIORITY: i32 = i32::MIN + 1;

    fn panic(&self) {
        if !skip_unload() {
            connection::unload(Unload::Poll);
        }
    }
}

/// Keeps the controller of the boot processor from writing to memory while an image of it is made,
/// and sets it up again in the kernel that comes out of the image. Other processors are offline.
struct Sleep;

impl syscore::Operations for Sleep {
    fn suspend(&self) -> Result {
        synic::disable(CpuId::current());
        Ok(())
    }

    fn resume(&self) {
        synic::enable_again(CpuId::current());
    }
}

/// Functions that the kernel calls when another one is to follow.
struct Handlers(());

impl Handlers {
    fn new() -> Self {
        // SAFETY: The function can be called until it is removed.
        unsafe { bindings::hv_setup_kexec_handler(Some(kexec)) };
        // SAFETY: As above.
        unsafe { bindings::hv_setup_crash_handler(Some(crash)) };
        Self(())
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        // SAFETY: The handlers are ours.
        unsafe { bindings::hv_remove_kexec_handler() };
        // SAFETY: As above.
        unsafe { bindings::hv_remove_crash_handler() };
    }
}

/// Another kernel is started by this one, which is well.
///
/// # Safety
///
/// To be called in process context.
unsafe extern "C" fn kexec() {
    connection::unload(Unload::Sleep);
    synic::shut_down();
}

/// Another kernel is started by this one, which is not well.
///
/// # Safety
///
/// To be called with interrupts off.
unsafe extern "C" fn crash(_regs: *mut bindings::pt_regs) {
    let cpu = CpuId::current();

    if !skip_unload() {
        connection::unload(Unload::Poll);
    }
    // SAFETY: This is the processor that runs, and interrupts are off.
    unsafe { bindings::hv_stimer_cleanup(cpu.as_u32()) };
    synic::disable(cpu);
}

/// Whether the last message of the host was that it has forgotten the connection.
static UNLOADED: Atomic<bool> = Atomic::new(false);

fn is_unload_response(payload: &[u8]) -> bool {
    message::parse::<Header>(payload).is_ok_and(|header| header.kind == kind::UNLOAD_RESPONSE)
}

/// Remembers whether a message of the host ends the connection: with other processors alive one of
/// them may see it before us. Any context.
pub(super) fn saw_message(payload: &[u8]) {
    UNLOADED.store(is_unload_response(payload), Relaxed);
}

/// How long the host may take: it writes back what its disks have cached first.
const LIMIT_MS: u32 = 100_000;
/// How often to look.
const STEP_MS: u32 = 10;
/// How often to tell those who are watching that nothing hangs.
const NOTICE_MS: u32 = 5_000;

/// Waits until the host has forgotten the connection, which it was asked to. Any context.
pub(crate) fn wait_for_unload() {
    for step in 1..=LIMIT_MS / STEP_MS {
        poll_messages(&mut |payload| {
            if is_unload_response(payload) {
                UNLOADED.store(true, Relaxed);
            }
        });
        if UNLOADED.load(Relaxed) {
            // Who comes next should not find old messages.
            poll_messages(&mut |_| {});
            return;
        }
        if step % (NOTICE_MS / STEP_MS) == 0 {
            pr_notice!("Waiting for VMBus UNLOAD to complete\n");
        }
        for _ in 0..STEP_MS {
            udelay(Delta::from_millis(1));
        }
    }
    pr_err!("Continuing even though VMBus UNLOAD did not complete\n");
}
