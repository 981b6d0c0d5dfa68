// SPDX-License-Identifier: GPL-2.0

//! The synthetic interrupt controller of each processor.
//!
//! It has a page with a slot for a message, and one with a bit for each channel, for each of 16
//! sources of interrupts, of which the bus uses one. A paravisor has a second controller of its
//! own: if it provides the bus, messages and bits arrive there, and the hypervisor's is set up but
//! not enabled.
//!
//! C source: [`drivers/hv/hv.c`](srctree/drivers/hv/hv.c)

use super::{
    arch::{
        self,
        register, //
    },
    has_paravisor, is_confidential,
    page::{
        self,
        Page, //
    },
    percpu::{
        possible_cpus,
        published,
        Context,
        Events,
        PerCpu,
        SOURCE, //
    },
};
use crate::{
    connection::{
        self,
        V4_1, //
    },
    open, //
};
use core::ptr::null_mut;
use kernel::{
    bindings,
    cpu::CpuId,
    cpuhp::{
        self,
        Cause, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu,
        Arc,
        ArcBorrow, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// The processor that gets the messages of the host.
const CONNECT_CPU: u32 = bindings::VMBUS_CONNECT_CPU;

/// Page and control registers: something is there.
const ENABLED: u64 = 1;
/// Page registers: the address of the page.
const ADDRESS: u64 = !0xfff;
/// Size of a page of the hypervisor.
const PAGE_SIZE: usize = 4096;

/// Register of a source: which vector it raises.
const VECTOR: u64 = 0xff;
const MASKED: u64 = 1 << 16;
const AUTO_EOI: u64 = 1 << 17;

/// Whose controller.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Hypervisor,
    Paravisor,
}

impl Side {
    pub(super) const ALL: [Self; 2] = [Self::Hypervisor, Self::Paravisor];

    /// The controller that sends interrupts.
    fn in_charge() -> Self {
        if is_confidential() {
            Self::Paravisor
        } else {
            Self::Hypervisor
        }
    }

    /// Reads a register of this processor.
    fn read(self, register: u32) -> u64 {
        match self {
            // SAFETY: The register exists, and reading it has no effect.
            Self::Hypervisor => unsafe { bindings::hv_get_msr(register) },
            // SAFETY: As above.
            Self::Paravisor => unsafe { bindings::hv_para_get_synic_register(register) },
        }
    }

    /// Writes a register of this processor.
    ///
    /// # Safety
    ///
    /// What the register makes the hypervisor or the paravisor do must be fine: a page whose
    /// address it gets belongs to the controller until it has got another one.
    unsafe fn write(self, register: u32, value: u64) {
        match self {
            // SAFETY: By the safety requirements.
            Self::Hypervisor => unsafe { bindings::hv_set_msr(register, value) },
            // SAFETY: By the safety requirements.
            Self::Paravisor => unsafe { bindings::hv_para_set_synic_register(register, value) },
        }
    }

    /// Says that there is room in this processor's slot, for which another message waits.
    pub(super) fn end_message(self) {
        // SAFETY: It makes the host deliver that message.
        unsafe { self.write(register::END_OF_MESSAGE, 0) };
    }

    /// Switches the controller of this processor on or off.
    fn switch(self, on: bool) {
        let value = self.read(register::CONTROL);
        let value = if on {
            value | ENABLED
        } else {
            value & !ENABLED
        };

        // SAFETY: Without the pages nothing happens, and those it has belong to it.
        unsafe { self.write(register::CONTROL, value) };
    }
}

/// The two kinds of pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Event,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Message, Self::Event];

    fn register(self) -> u32 {
        match self {
            Self::Message => register::MESSAGE_PAGE,
            Self::Event => register::EVENT_PAGE,
        }
    }
}

/// Whether the hypervisor's pages were allocated by somebody else, and are found in its registers.
fn pages_are_given() -> bool {
    // SAFETY: It can be called at any time.
    unsafe { bindings::hv_synic_pages_given() }
}

/// The per-CPU memory, with the pages.
///
/// # Invariants
///
/// `all` is what [`published`] has, per-CPU memory with a [`PerCpu`] for each processor. Its pages
/// were allocated by [`Page`], but for those that are given.
struct Contexts {
    all: *mut c_void,
}

// SAFETY: It can be dropped by any thread.
unsafe impl Send for Contexts {}

// SAFETY: A reference can do nothing.
unsafe impl Sync for Contexts {}

impl Contexts {
    /// Allocates it, without pages. May sleep. There must be one at a time.
    fn new() -> Result<Self> {
        // SAFETY: It can be called whenever sleeping is allowed.
        let all = unsafe { bindings::alloc_percpu(size_of::<PerCpu>(), align_of::<PerCpu>()) };
        if all.is_null() {
            return Err(ENOMEM);
        }

        for cpu in possible_cpus() {
            // SAFETY: It is per-CPU memory, full of zeroes.
            let Some(context) = (unsafe { Context::in_memory(all, cpu) }) else {
                continue;
            };
            // SAFETY: It is valid, and nobody else knows it yet.
            let tasklet = unsafe { &raw mut (*context.raw()).msg_dpc };

            // SAFETY: As above. The function needs no argument.
            unsafe { bindings::tasklet_init(tasklet, Some(super::interrupt::message_tasklet), 0) };
        }

        // INVARIANT: This is published from here on.
        published().store(all.cast(), Release);
        Ok(Self { all })
    }
}

impl Drop for Contexts {
    fn drop(&mut self) {
        published().store(null_mut(), Relaxed);
        // The interrupt handler and others look at it under RCU.
        rcu::synchronize_rcu();

        for cpu in possible_cpus() {
            // SAFETY: By the type invariants; it is freed below.
            let Some(context) = (unsafe { Context::in_memory(self.all, cpu) }) else {
                continue;
            };

            // SAFETY: The tasklet was initialised, and nobody schedules it any more.
            unsafe { bindings::tasklet_kill(&raw mut (*context.raw()).msg_dpc) };
            Cpus::free_pages(context);
        }
        // SAFETY: By the type invariants it is ours, and nobody uses it any more.
        unsafe { bindings::free_percpu(self.all) };
    }
}

/// What is done when a processor comes or goes.
struct Cpus;

impl Cpus {
    /// Allocates the pages that a processor does not have yet. May sleep.
    fn allocate_pages(context: Context<'_>) -> Result {
        // What the host must see is decrypted; the paravisor is inside the wall.
        let for_host = !is_confidential();

        // SAFETY: It can be called at any time.
        if has_paravisor() && unsafe { bindings::hv_isolation_type_tdx() } {
            Self::allocate(context.post_page(), for_host, "post message")?;
        }
        for kind in Kind::ALL {
            if !pages_are_given() {
                Self::allocate(
                    context.page(Side::Hypervisor, kind),
                    for_host,
                    "hypervisor SynIC",
                )?;
            }
            if is_confidential() {
                Self::allocate(
                    context.page(Side::Paravisor, kind),
                    false,
                    "paravisor SynIC",
                )?;
            }
        }
        Ok(())
    }

    fn allocate(field: &Atomic<*mut c_void>, decrypted: bool, what: &str) -> Result {
        if field.load(Relaxed).is_null() {
            let page = Page::new(decrypted, what)?;

            field.store(page.into_raw().cast(), Release);
        }
        Ok(())
    }

    /// Frees what [`Cpus::allocate_pages`] has allocated. The controllers must not use it any more.
    fn free_pages(context: Context<'_>) {
        let for_host = !is_confidential();

        Self::free(context.post_page(), for_host);
        for kind in Kind::ALL {
            if !pages_are_given() {
                Self::free(context.page(Side::Hypervisor, kind), for_host);
            }
            Self::free(context.page(Side::Paravisor, kind), false);
        }
    }

    fn free(field: &Atomic<*mut c_void>, decrypted: bool) {
        let page = field.xchg(null_mut(), Full).cast();

        // SAFETY: The field has what `allocate()` has put there with the same argument, and not any
        // more.
        drop(unsafe { Page::from_raw(page, decrypted) });
    }

    /// Maps the hypervisor's pages, if it has brought its own. May sleep.
    ///
    /// To be called on the processor that they belong to.
    fn map_given(context: Context<'_>) -> Result {
        if !pages_are_given() {
            return Ok(());
        }
        for kind in Kind::ALL {
            let address = given_address(kind);
            // SAFETY: The paravisor or the hypervisor has provided a page at this address.
            let page = unsafe {
                bindings::memremap(
                    address,
                    PAGE_SIZE,
                    (bindings::MEMREMAP_WB | bindings::MEMREMAP_DEC) as c_ulong,
                )
            };
            if page.is_null() {
                pr_err!("the page of the SynIC at {:#x} cannot be mapped\n", address);
                Self::unmap_given(context);
                return Err(ENOMEM);
            }
            context.set_given(kind, address);
            context.page(Side::Hypervisor, kind).store(page, Release);
        }
        Ok(())
    }

    /// Undoes [`Cpus::map_given`]. The controller must be off. May sleep.
    fn unmap_given(context: Context<'_>) {
        if !pages_are_given() {
            return;
        }
        let pages =
            Kind::ALL.map(|kind| context.page(Side::Hypervisor, kind).xchg(null_mut(), Full));

        // A thread may look at it, where threads handle interrupts.
        rcu::synchronize_rcu();
        for page in pages.into_iter().filter(|page| !page.is_null()) {
            // SAFETY: It was mapped by `memremap()`, and nobody uses it any more.
            unsafe { bindings::memunmap(page) };
        }
    }
}

/// Where a given page of the hypervisor is, without the bit that says that it is decrypted.
fn given_address(kind: Kind) -> u64 {
    Side::Hypervisor.read(kind.register()) & ADDRESS & !super::shared_boundary()
}

impl Context<'_> {
    /// Remembers where a page is. See [`PerCpu::given`].
    fn set_given(self, kind: Kind, address: u64) {
        // SAFETY: It is valid, and used by nobody else.
        unsafe { self.given(kind).write(address) };
    }

    /// Tells the controllers of this processor about their pages, and lets interrupts come.
    ///
    /// The pages are there. Nothing here sleeps.
    fn enable(self, cpu: CpuId) {
        if is_confidential() {
            for kind in Kind::ALL {
                self.point(Side::Paravisor, kind);
            }
        }
        for kind in Kind::ALL {
            self.point(Side::Hypervisor, kind);
        }
        // SAFETY: The handler for the vector is there.
        unsafe { bindings::hv_enable_coco_interrupt(cpu.as_u32(), arch::vector(), true) };

        let source = register::INTERRUPT0 + SOURCE as u32;
        let mut value = Side::Hypervisor.read(source) & !(VECTOR | MASKED | AUTO_EOI);
        value |= u64::from(arch::vector()) & VECTOR;
        // SAFETY: It can be called at any time.
        if unsafe { bindings::hv_recommend_using_aeoi() } {
            value |= AUTO_EOI;
        }
        // SAFETY: The handler for the vector is there. This register of the paravisor is written
        // along with the hypervisor's.
        unsafe { Side::Hypervisor.write(source, value) };

        Side::in_charge().switch(true);
    }

    /// Tells a controller about a page.
    fn point(self, side: Side, kind: Kind) {
        let value = side.read(kind.register());
        let field = self.page(side, kind);
        let value = if side == Side::Hypervisor && pages_are_given() {
            // SAFETY: It is valid, and changed by nobody else.
            let mapped = unsafe { self.given(kind).read() };

            if given_address(kind) != mapped {
                // Only after a hibernation, where it cannot be mapped. Without a page there are no
                // interrupts, but nobody looks at the wrong memory either.
                pr_err!(
                    "a page of the SynIC has moved to {:#x}\n",
                    given_address(kind)
                );
                field.store(null_mut(), Relaxed);
            }
            value | ENABLED
        } else {
            let page = page::physical(field.load(Relaxed).cast());

            value & !ADDRESS | page & ADDRESS | ENABLED
        };

        // SAFETY: The page belongs to the controller as long as it is enabled.
        unsafe { side.write(kind.register(), value) };
    }
}

/// Lets no more interrupts of the bus come to this processor, and takes the pages from its
/// controllers, of which the paravisor's is one.
///
/// The switch of the controllers is left alone: timers may use them. Any context.
pub(super) fn disable(cpu: CpuId) {
    let source = register::INTERRUPT0 + SOURCE as u32;
    let value = Side::Hypervisor.read(source) | MASKED;

    // SAFETY: Nothing is raised any more.
    unsafe { Side::Hypervisor.write(source, value) };
    // SAFETY: As above.
    unsafe { bindings::hv_enable_coco_interrupt(cpu.as_u32(), arch::vector(), false) };

    for kind in Kind::ALL {
        let mut value = Side::Hypervisor.read(kind.register()) & !ENABLED;

        // A given page is found by whoever comes next, such as the kernel of kdump.
        if !pages_are_given() {
            value &= !ADDRESS;
        }
        // SAFETY: The controller has no page any more.
        unsafe { Side::Hypervisor.write(kind.register(), value) };
    }

    if is_confidential() {
        for kind in Kind::ALL {
            let value = Side::Paravisor.read(kind.register()) & !(ENABLED | ADDRESS);

            // SAFETY: The controller has no page any more.
            unsafe { Side::Paravisor.write(kind.register(), value) };
        }
    }
}

/// Lets this processor take part again after [`disable`]. Any context.
///
/// A processor that has not been online does not come to this.
pub(super) fn enable_again(cpu: CpuId) {
    let guard = rcu::read_lock();

    if let Some(context) = Context::of(cpu, &guard) {
        context.enable(cpu);
    }
}

/// Whether there is a connection, whose host may send interrupts.
fn is_connected() -> bool {
    let connection = &raw mut bindings::vmbus_connection;

    // SAFETY: The object lives as long as this module.
    let state = unsafe { &raw mut (*connection).conn_state };
    // SAFETY: The field is aligned, lives as long as this module, and is accessed as a whole.
    let state = unsafe { Atomic::from_ptr(state) }.load(Acquire);

    state == bindings::vmbus_connect_state_CONNECTED
}

/// How often the bits of a processor that goes offline are looked at.
const LOOKS: u32 = 3;
/// How long to wait after that.
const PAUSE: Delta = Delta::from_millis(10);

/// Whether bits of channels stay set on this processor, which handles interrupts meanwhile.
fn has_leftovers(context: Context<'_>) -> bool {
    let any = || {
        Side::ALL
            .into_iter()
            .filter_map(|side| context.events(side))
            .any(Events::any)
    };

    for _ in 0..LOOKS {
        if !any() {
            return false;
        }
        fsleep(PAUSE);
    }
    any()
}

/// The context of a processor, for the CPU hotplug code.
///
/// # Safety
///
/// [`Contexts`] must exist for the lifetime.
unsafe fn context_of<'a>(cpu: CpuId) -> Option<Context<'a>> {
    let guard = rcu::read_lock();

    // SAFETY: By the safety requirements it is valid for the lifetime.
    Context::of(cpu, &guard).map(|context| unsafe { context.extend() })
}

impl cpuhp::Callbacks for Cpus {
    fn online(&self, cpu: CpuId) -> Result {
        // SAFETY: `Synic` drops the callbacks before the memory.
        let context = unsafe { context_of(cpu) }.ok_or(ENODEV)?;

        Self::allocate_pages(context)?;
        Self::map_given(context)?;
        arch::unmask();
        context.enable(cpu);
        Ok(())
    }

    fn offline(&self, cpu: CpuId, cause: Cause) -> Result {
        // SAFETY: As above.
        let context = unsafe { context_of(cpu) }.ok_or(ENODEV)?;

        if cause == Cause::Cpu && is_connected() {
            // The host cannot be told that its messages should go elsewhere.
            if cpu.as_u32() == CONNECT_CPU {
                return Err(EBUSY);
            }
            open::leave_cpu(cpu.as_u32())?;

            let version = connection::current().map_or(0, |connection| connection.version());
            if version >= V4_1 && has_leftovers(context) {
                return Err(EBUSY);
            }
        }

        disable(cpu);
        Side::in_charge().switch(false);
        arch::mask();
        Self::unmap_given(context);
        Ok(())
    }
}

/// The callbacks that are registered now, if there are any.
///
/// # Invariants
///
/// If it is not null it owns a reference of an [`Arc`]; when that is taken away, a grace period
/// passes before it is dropped.
static CPUS: Atomic<*mut cpuhp::Registration<Cpus>> = Atomic::new(null_mut());

/// The controllers of all processors, ready for use.
pub(crate) struct Synic {
    // Dropped first.
    _cpus: Published,
    _contexts: Contexts,
}

impl Synic {
    /// Sets up all processors that are online, and from then on those that come. May sleep.
    ///
    /// A handler must be there before; there must be one such value at a time. From then on
    /// processor 0 stays online as long as there is a connection.
    pub(crate) fn new() -> Result<Self> {
        let contexts = Contexts::new()?;
        let cpus = Arc::pin_init(
            cpuhp::Registration::new(c"hyperv/vmbus:online", Ok(Cpus)),
            GFP_KERNEL,
        )?;

        Ok(Self {
            _cpus: Published::new(cpus),
            _contexts: contexts,
        })
    }
}

/// The callbacks, where [`shut_down`] finds them.
struct Published(Arc<cpuhp::Registration<Cpus>>);

impl Published {
    fn new(cpus: Arc<cpuhp::Registration<Cpus>>) -> Self {
        // INVARIANT: The pointer owns the reference.
        CPUS.store(Arc::into_raw(cpus.clone()).cast_mut(), Release);
        Self(cpus)
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let cpus = CPUS.xchg(null_mut(), Full);

        rcu::synchronize_rcu();
        // SAFETY: It is what `new()` has made of a reference; nobody finds it any more.
        drop(unsafe { Arc::from_raw(cpus) });
        // Now, even if somebody else still has a reference: the memory goes next.
        self.0.remove();
    }
}

/// Takes the controllers of all processors out of use for good: another kernel is about to run.
///
/// The connection must have ended. May sleep.
pub(super) fn shut_down() {
    let guard = rcu::read_lock();
    let cpus = CPUS.load(Acquire);
    if cpus.is_null() {
        return;
    }
    // SAFETY: By the invariant of `CPUS` there is a reference, which is not dropped before a grace
    // period has passed.
    let cpus = Arc::from(unsafe { ArcBorrow::from_raw(cpus) });

    guard.unlock();
    cpus.remove();
}
