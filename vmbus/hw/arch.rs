// SPDX-License-Identifier: GPL-2.0

//! What differs between architectures: the numbers of the SynIC's registers, and the way that an
//! interrupt of the hypervisor takes.

#[cfg(CONFIG_ARM64)]
pub(super) use arm64::*;
#[cfg(CONFIG_X86_64)]
pub(super) use x86::*;

/// The interrupt is a vector of its own, whose handler is in the kernel and calls ours.
#[cfg(CONFIG_X86_64)]
mod x86 {
    use crate::abi::hw::vmbus_isr;
    use kernel::{
        bindings,
        prelude::*,
        sync::rcu, //
    };

    /// Registers of the SynIC.
    pub(in crate::hw) mod register {
        use kernel::bindings;

        pub(in crate::hw) const CONTROL: u32 = bindings::HV_X64_MSR_SCONTROL;
        pub(in crate::hw) const EVENT_PAGE: u32 = bindings::HV_X64_MSR_SIEFP;
        pub(in crate::hw) const MESSAGE_PAGE: u32 = bindings::HV_X64_MSR_SIMP;
        pub(in crate::hw) const END_OF_MESSAGE: u32 = bindings::HV_X64_MSR_EOM;
        pub(in crate::hw) const INTERRUPT0: u32 = bindings::HV_X64_MSR_SINT0;
    }

    /// What the SynIC raises.
    pub(in crate::hw) fn vector() -> u32 {
        bindings::HYPERVISOR_CALLBACK_VECTOR
    }

    /// The handler is called while this exists.
    pub(in crate::hw) struct Handler(());

    impl Handler {
        /// Installs the handler; there must not be two of them.
        pub(in crate::hw) fn new() -> Result<Self> {
            // SAFETY: The handler can be called at any time; it is removed before the module goes.
            unsafe { bindings::hv_setup_vmbus_handler(Some(vmbus_isr)) };
            Ok(Self(()))
        }
    }

    impl Drop for Handler {
        fn drop(&mut self) {
            // SAFETY: The handler is ours.
            unsafe { bindings::hv_remove_vmbus_handler() };
            // It may still run elsewhere, with interrupts off, for which this waits.
            rcu::synchronize_rcu();
        }
    }

    /// Lets interrupts through to this processor.
    pub(in crate::hw) fn unmask() {}

    /// Lets none through.
    pub(in crate::hw) fn mask() {}
}

/// The interrupt is one of those that each processor has for itself.
#[cfg(CONFIG_ARM64)]
mod arm64 {
    use crate::hw::interrupt;
    use kernel::{
        bindings,
        error::to_result,
        prelude::*, //
    };

    /// Registers of the SynIC.
    pub(in crate::hw) mod register {
        use kernel::bindings::*;

        pub(in crate::hw) const CONTROL: u32 = hv_register_name_HV_REGISTER_SCONTROL;
        pub(in crate::hw) const EVENT_PAGE: u32 = hv_register_name_HV_REGISTER_SIEFP;
        pub(in crate::hw) const MESSAGE_PAGE: u32 = hv_register_name_HV_REGISTER_SIMP;
        pub(in crate::hw) const END_OF_MESSAGE: u32 = hv_register_name_HV_REGISTER_EOM;
        pub(in crate::hw) const INTERRUPT0: u32 = hv_register_name_HV_REGISTER_SINT0;
    }

    /// What the SynIC raises.
    pub(in crate::hw) fn vector() -> u32 {
        crate::platform::interrupt().hwirq
    }

    fn irq() -> u32 {
        crate::platform::interrupt().irq
    }

    /// The handler is called while this exists.
    ///
    /// # Invariants
    ///
    /// The interrupt was requested with `cookie`, which is per-CPU memory of our own.
    pub(in crate::hw) struct Handler {
        cookie: *mut c_void,
    }

    // SAFETY: The cookie is only an address.
    unsafe impl Send for Handler {}

    // SAFETY: A reference can do nothing.
    unsafe impl Sync for Handler {}

    impl Handler {
        /// Installs the handler.
        pub(in crate::hw) fn new() -> Result<Self> {
            if irq() == 0 {
                return Err(ENODEV);
            }
            // SAFETY: It can be called whenever sleeping is allowed.
            let cookie =
                unsafe { bindings::alloc_percpu(size_of::<c_long>(), align_of::<c_long>()) };
            if cookie.is_null() {
                return Err(ENOMEM);
            }

            // SAFETY: The handler can be called at any time; it is removed before the module goes.
            let result = to_result(unsafe {
                bindings::request_percpu_irq_affinity(
                    irq(),
                    Some(handle),
                    c"Hyper-V VMbus".as_char_ptr(),
                    core::ptr::null(),
                    cookie,
                )
            });

            if let Err(error) = result {
                pr_err!(
                    "Can't request Hyper-V VMbus IRQ {}, Err {}\n",
                    irq(),
                    error.to_errno()
                );
                // SAFETY: It was just allocated, and nobody else has it.
                unsafe { bindings::free_percpu(cookie) };
                return Err(error);
            }
            // INVARIANT: The interrupt was requested with it.
            Ok(Self { cookie })
        }
    }

    impl Drop for Handler {
        fn drop(&mut self) {
            // SAFETY: By the type invariants this is how it was requested. The SynIC, which enables
            // it on each processor, is dropped before.
            unsafe { bindings::free_percpu_irq(irq(), self.cookie) };
            // SAFETY: By the type invariants it is our own, and nobody uses it any more.
            unsafe { bindings::free_percpu(self.cookie) };
        }
    }

    /// # Safety
    ///
    /// To be called in hard interrupt context.
    unsafe extern "C" fn handle(_irq: c_int, _cookie: *mut c_void) -> bindings::irqreturn_t {
        interrupt::handle();
        bindings::irqreturn::IRQ_HANDLED
    }

    /// Lets interrupts through to this processor.
    pub(in crate::hw) fn unmask() {
        // SAFETY: The interrupt was requested.
        unsafe { bindings::enable_percpu_irq(irq(), 0) };
    }

    /// Lets none through.
    pub(in crate::hw) fn mask() {
        // SAFETY: The interrupt was requested.
        unsafe { bindings::disable_percpu_irq(irq()) };
    }
}
