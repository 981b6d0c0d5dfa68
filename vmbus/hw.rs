// SPDX-License-Identifier: GPL-2.0

//! What the hypervisor offers to the bus: hypercalls, the synthetic interrupt controller (SynIC)
//! of each processor, and how to part with it when the kernel dies.
//!
//! Memory that the host can write is not referred to by Rust references: it is read by volatile
//! accesses, and changed by the atomic operations that also hold against another machine.
//!
//! C source: [`drivers/hv/hv.c`](srctree/drivers/hv/hv.c)

mod arch;
pub(crate) mod crash;
pub(crate) mod hypercall;
pub(crate) mod interrupt;
mod page;
mod percpu;
pub(crate) mod synic;

use kernel::{
    bindings,
    cpu::CpuId,
    prelude::*,
    types::NotThreadSafe, //
};

/// Prepares this machine for a connection; to be called before anything else here.
pub(crate) fn init() -> Result {
    // A paravisor that provides the bus raises its own interrupts.
    // SAFETY: Nothing of the SynIC is set up yet.
    unsafe { bindings::hv_para_set_sint_proxy(!is_confidential()) };
    if is_confidential() {
        pr_info!("Establishing connection to the confidential VMBus\n");
    }
    Ok(())
}

/// Whether the guest does not trust the host. Any context.
pub(crate) fn is_isolated() -> bool {
    // SAFETY: It can be called at any time.
    unsafe { bindings::hv_is_isolation_supported() }
}

/// Whether the bus is provided by a paravisor, which keeps its contents from the host. Any
/// context.
#[inline]
pub(crate) fn is_confidential() -> bool {
    // SAFETY: Early boot sets it, and nothing changes it later.
    unsafe { bindings::ms_hyperv.confidential_vmbus_available }
}

/// Whether there is a paravisor. Any context.
#[inline]
fn has_paravisor() -> bool {
    // SAFETY: It can be called at any time.
    unsafe { bindings::hv_paravisor_present() }
}

/// The virtual trust level in which this kernel runs. Any context.
pub(crate) fn vtl() -> u8 {
    // SAFETY: Early boot sets it, and nothing changes it later.
    unsafe { bindings::ms_hyperv.vtl }
}

/// The number by which the hypervisor knows a processor; [`u32::MAX`] if there is none such. Any
/// context.
pub(crate) fn vp_number(cpu: u32) -> u32 {
    CpuId::from_u32(cpu).map_or(u32::MAX, |cpu| {
        // SAFETY: There is an entry for each number of a processor.
        unsafe { bindings::hv_cpu_number_to_vp_number(cpu.as_u32() as c_int) }
    })
}

/// What is set in the address of a decrypted page, where there is such a bit. Any context.
pub(crate) fn shared_boundary() -> u64 {
    // SAFETY: Early boot sets it, and nothing changes it later.
    unsafe { bindings::ms_hyperv.shared_gpa_boundary }
}

/// The physical address of memory that was not allocated by `vmalloc()`. Any context.
pub(crate) fn physical_address(address: *const c_void) -> u64 {
    page::physical(address.cast())
}

/// Which of the hypervisor's pages, of 4 KiB, an address is in.
///
/// It must be one of this kernel's memory; otherwise the result is of no use. Any context.
pub(crate) fn page_frame(address: *const c_void) -> u64 {
    // SAFETY: It looks the address up in the kernel's page tables.
    unsafe { bindings::virt_to_hvpfn(address.cast_mut()) as u64 }
}

/// As long as this exists, no processor comes or goes.
pub(crate) struct CpusReadLock(NotThreadSafe);

/// Keeps processors from coming and going. May sleep.
pub(crate) fn cpus_read_lock() -> CpusReadLock {
    // SAFETY: It can be called whenever sleeping is allowed.
    unsafe { bindings::cpus_read_lock() };
    CpusReadLock(NotThreadSafe)
}

impl Drop for CpusReadLock {
    fn drop(&mut self) {
        // SAFETY: `cpus_read_lock()` has taken the lock, for this task.
        unsafe { bindings::cpus_read_unlock() };
    }
}
