// SPDX-License-Identifier: GPL-2.0

//! Interrupts in both directions.
//!
//! From the host: a bit for each channel that has something, and messages. With PREEMPT_RT a thread
//! of each processor does what the interrupt handler does otherwise.
//!
//! To the host: a bit for the channel, and either a hypercall or a bit in the monitor page, at
//! which the hypervisor looks now and then.
//!
//! C source: [`drivers/hv/vmbus_drv.c`](srctree/drivers/hv/vmbus_drv.c),
//! [`drivers/hv/connection.c`](srctree/drivers/hv/connection.c)

use super::{
    arch,
    crash,
    hypercall,
    percpu::{
        Context,
        Events, //
    },
    synic::Side, //
};
use crate::{
    abi::fields::atomic,
    channel::{
        Channel,
        Monitor, //
    },
    connection,
    debugfs::{
        self,
        Delay, //
    },
    relid,
    trace, //
};
use kernel::{
    bindings,
    cpu::CpuId,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        SpinLock, //
    },
};

const BATCHED: u32 = bindings::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED;
const ISR: u32 = bindings::vmbus_channel_hv_callback_mode_HV_CALL_ISR;

/// The interrupt handler is installed.
pub(crate) struct Registration {
    // Dropped first.
    _handler: arch::Handler,
    #[cfg(CONFIG_PREEMPT_RT)]
    _threads: threads::Threads,
}

impl Registration {
    /// Installs the handler, on all processors. May sleep. There must be one at a time.
    pub(crate) fn new() -> Result<Self> {
        #[cfg(CONFIG_PREEMPT_RT)]
        let threads = threads::Threads::new()?;

        Ok(Self {
            _handler: arch::Handler::new()?,
            #[cfg(CONFIG_PREEMPT_RT)]
            _threads: threads,
        })
    }
}

/// The interrupt of the bus. Hard interrupt context.
#[cfg(not(CONFIG_PREEMPT_RT))]
#[inline]
pub(crate) fn handle() {
    // Spinlocks may be taken here: with PREEMPT_RT, where they sleep, this is not called.
    #[cfg(CONFIG_LOCKDEP)]
    // SAFETY: This is undone below.
    unsafe {
        bindings::hv_interrupt_enter()
    };
    dispatch();
    #[cfg(CONFIG_LOCKDEP)]
    // SAFETY: This undoes it.
    unsafe {
        bindings::hv_interrupt_exit()
    };
}

/// The interrupt of the bus. Hard interrupt context.
#[cfg(CONFIG_PREEMPT_RT)]
#[inline]
pub(crate) fn handle() {
    threads::wake();
}

/// Looks at all that the host may have left for this processor, which must not change.
#[inline]
fn dispatch() {
    let guard = rcu::read_lock();
    let Some(context) = Context::of(CpuId::current(), &guard) else {
        return;
    };

    // Written twice, not as a loop: this runs for each interrupt.
    if let Some(events) = context.events(Side::Hypervisor) {
        scan(events, &guard);
    }
    if let Some(events) = context.events(Side::Paravisor) {
        scan(events, &guard);
    }
    let is_full = |side| context.slot(side).is_some_and(|slot| slot.is_full());
    if is_full(Side::Hypervisor) || is_full(Side::Paravisor) {
        context.schedule();
    }
}

/// Takes the bits of channels and tells who they are for.
///
/// A bit without a channel is dropped: before a channel is open its host has no reason to set one.
#[inline(never)]
fn scan(events: Events<'_>, guard: &rcu::Guard) {
    let words = relid::highest() / u64::BITS + 1;

    for index in 0..words {
        let mut bits = events.take(index as usize);

        while bits != 0 {
            let relid = index * u64::BITS + bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);

            // Messages have one as well, which says nothing.
            if relid == 0 {
                continue;
            }
            if let Some(channel) = relid::lookup(relid, guard) {
                notify(channel);
            }
        }
    }
}

/// Tells the driver of a channel. Hard interrupt context, or a thread with PREEMPT_RT.
#[inline]
fn notify(channel: &Channel) {
    if channel.is_rescinded() {
        return;
    }
    let raw = channel.as_raw();
    // SAFETY: The reference shows that the channel is valid.
    let lock = unsafe { &raw mut (*raw).sched_lock };

    // Drivers disable interrupts for it, who would otherwise wait for us on their own processor.
    // SAFETY: The lock is initialised and lives as long as the channel.
    let _guard = unsafe { SpinLock::<()>::from_raw(lock) }.lock();

    // Whoever closes the channel, or cannot open it, takes the callback away before the ring.
    // SAFETY: The lock is held.
    let Some(callback) = (unsafe { (*raw).onchannel_callback }) else {
        return;
    };
    trace::chan_sched(channel);
    count(atomic!(channel, interrupts));

    let mode = atomic!(channel, callback_mode).load(Relaxed);
    if mode == ISR {
        // SAFETY: The lock is held.
        let context = unsafe { (*raw).channel_callback_context };
        // SAFETY: The driver has asked for this call, and has not taken it back.
        unsafe { callback(context) };
        return;
    }
    if mode == BATCHED {
        // SAFETY: There is a callback, and therefore a ring as long as the lock is held.
        unsafe { channel.begin_read() };
    }
    // SAFETY: The tasklet was initialised with the channel.
    unsafe { bindings::tasklet_schedule(&raw mut (*raw).callback_event) };
}

/// Counts one more of something that user space may be reading. Two at once may count as one.
#[inline]
fn count(counter: &Atomic<u64>) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

/// The tasklet of a channel whose callback is not called by the interrupt handler
/// (`vmbus_on_event()` in C). The ring is read with interrupts masked if that was asked for, until
/// it is empty.
///
/// A driver may leave packets, all of them even, when it has had the processor for long enough: it
/// gets another turn. The host cannot make us believe that there are packets where there are none,
/// since how far we have read is our own index.
///
/// # Safety
///
/// `data` must be the address of a channel, whose tasklet was not killed. Softirq context.
pub(crate) unsafe extern "C" fn channel_tasklet(data: c_ulong) {
    // SAFETY: By the safety requirements it is a channel.
    let channel = unsafe { Channel::from_raw(data as *mut bindings::vmbus_channel) };
    let raw = channel.as_raw();

    trace::on_event(channel);

    // It changes only while the tasklet is disabled, which means that it is not running.
    // SAFETY: The channel is valid.
    let Some(callback) = (unsafe { (&raw const (*raw).onchannel_callback).read_volatile() }) else {
        return;
    };
    // SAFETY: As above.
    let context = unsafe { (*raw).channel_callback_context };

    debugfs::delay(channel, Delay::Interrupt);
    // SAFETY: The driver has asked for this call, and has not taken it back.
    unsafe { callback(context) };

    // SAFETY: The channel is valid.
    let mode = unsafe { Atomic::from_ptr(&raw mut (*raw).callback_mode) }.load(Relaxed);
    if mode != BATCHED {
        return;
    }

    // SAFETY: There is a callback, and therefore a ring until we return.
    if !unsafe { channel.end_read() } {
        return;
    }
    // SAFETY: As above.
    unsafe { channel.begin_read() };
    // SAFETY: The tasklet was initialised with the channel.
    unsafe { bindings::tasklet_schedule(&raw mut (*raw).callback_event) };
}

/// The tasklet of a processor that looks at its messages (`vmbus_on_msg_dpc()` in C).
///
/// # Safety
///
/// To be called in softirq context.
pub(super) unsafe extern "C" fn message_tasklet(_data: c_ulong) {
    let guard = rcu::read_lock();
    let cpu = CpuId::current();
    let Some(context) = Context::of(cpu, &guard) else {
        return;
    };

    for slot in Side::ALL.into_iter().filter_map(|side| context.slot(side)) {
        slot.receive(|payload| {
            trace::on_msg_dpc(payload);
            crash::saw_message(payload);
            connection::on_message(cpu.as_u32(), payload)
        });
    }
}

/// Looks once more at the message that had to stay in its slot. Not with interrupts off.
pub(crate) fn rescan(cpu: u32) {
    let Ok(cpu) = cpu.try_into() else {
        return;
    };

    // A processor that is offline has no messages.
    // SAFETY: The function can be called in any context.
    unsafe { bindings::smp_call_function_single(cpu, Some(look), core::ptr::null_mut(), false) };
}

/// # Safety
///
/// None; this is what the type of the function wants.
unsafe extern "C" fn look(_info: *mut c_void) {
    let guard = rcu::read_lock();

    if let Some(context) = Context::of(CpuId::current(), &guard) {
        context.schedule();
    }
}

/// Tells the host that there is something in a channel's ring (`vmbus_setevent()` in C). Any
/// context.
///
/// If the host has given the channel a bit of the monitor page and the driver is not in a hurry,
/// the hypervisor looks at it by itself.
#[inline(never)]
pub(crate) fn signal(channel: &Channel) {
    signal_inline(channel);
}

/// As [`signal`], where there is nothing else to do.
#[inline(always)]
pub(crate) fn signal_inline(channel: &Channel) {
    trace::setevent(channel);

    let hurry = atomic!(channel, low_latency).load(Relaxed);
    let monitored = channel
        .monitor()
        .filter(|_| !hurry)
        .is_some_and(|monitor| set_monitor_bit(channel, monitor));

    if !monitored {
        signal_directly(channel);
    }
}

/// As [`signal`], but by a hypercall in any case (`vmbus_set_event()` in C). Any context.
#[inline]
pub(crate) fn signal_directly(channel: &Channel) {
    if !channel.is_dedicated_interrupt() {
        set_channel_bit(channel);
    }
    count(atomic!(channel, sig_events));
    hypercall::signal_event(channel.connection_id());
}

fn bus() -> *mut bindings::vmbus_connection {
    &raw mut bindings::vmbus_connection
}

/// Sets the bit of a channel in the page that the host scans.
#[inline]
fn set_channel_bit(channel: &Channel) {
    // SAFETY: The pages are there as long as there are channels.
    let page = unsafe { (*bus()).send_int_page }.cast::<c_ulong>();
    let relid = channel.relid();

    // A channel that has lost its number has none.
    if page.is_null() || relid as usize >= relid::COUNT {
        return;
    }
    // SAFETY: The bits of all relative ids are in the page.
    unsafe { bindings::sync_set_bit(relid as c_long, page) };
}

/// Sets the bits of a channel in both pages. Returns false if there is no monitor page.
#[inline]
fn set_monitor_bit(channel: &Channel, monitor: Monitor) -> bool {
    // SAFETY: The pages are there as long as there are channels. The second one is for the host.
    let [_, page] = unsafe { (*bus()).monitor_pages };
    let group = usize::from(monitor.group);

    if page.is_null() || group >= GROUPS || monitor.bit >= 32 {
        return false;
    }
    set_channel_bit(channel);

    // SAFETY: The page is mapped.
    let groups = unsafe { &raw mut (*page).trigger_group };
    let group = groups.cast::<u64>().wrapping_add(group);

    // SAFETY: This is one of the groups, which begins with the 32 bits.
    unsafe { bindings::sync_set_bit(c_long::from(monitor.bit), group.cast()) };
    true
}

/// Groups of bits in a monitor page.
const GROUPS: usize = 4;
static_assert!(size_of::<bindings::hv_monitor_trigger_group>() == size_of::<u64>());

/// Threads that do what the interrupt handler must not do, as it would have to sleep for locks.
#[cfg(CONFIG_PREEMPT_RT)]
mod threads {
    use super::dispatch;
    use core::ptr::null_mut;
    use kernel::{
        bindings,
        cpu::CpuId,
        error::to_result,
        prelude::*,
        sync::{
            atomic::{
                Acquire,
                Atomic,
                Relaxed,
                Release, //
            },
            rcu, //
        },
        types::Opaque, //
    };

    /// What each processor has.
    #[repr(C)]
    struct PerCpu {
        /// The thread, which `smpboot.c` puts here.
        thread: *mut bindings::task_struct,
        /// An interrupt has come.
        pending: Atomic<bool>,
    }

    /// The per-CPU memory; null if there are no threads.
    static PER_CPU: Atomic<*mut c_void> = Atomic::new(null_mut());

    /// That of a processor.
    fn of(cpu: CpuId) -> Option<*mut PerCpu> {
        let all = PER_CPU.load(Acquire);
        if all.is_null() {
            return None;
        }
        // SAFETY: It is per-CPU memory, and this the number of a processor.
        Some(unsafe { bindings::per_cpu_ptr(all, cpu.as_u32()) }.cast())
    }

    fn pending<'a>(cpu: c_uint) -> Option<&'a Atomic<bool>> {
        let this = of(CpuId::from_u32(cpu)?)?;

        // SAFETY: Only the handler and the threads come here, both of which end before the memory
        // is freed.
        Some(unsafe { &(*this).pending })
    }

    /// Lets the thread of this processor run. Hard interrupt context.
    pub(super) fn wake() {
        let cpu = CpuId::current();
        let (Some(this), Some(pending)) = (of(cpu), pending(cpu.as_u32())) else {
            return;
        };
        pending.store(true, Relaxed);

        // SAFETY: `smpboot.c` writes it before the threads run, and leaves it there until the end.
        let thread = unsafe { (*this).thread };
        if !thread.is_null() {
            // SAFETY: It is the thread of this processor.
            unsafe { bindings::wake_up_process(thread) };
        }
    }

    /// # Safety
    ///
    /// To be called by a thread of [`Threads`], as are those below.
    unsafe extern "C" fn setup(_cpu: c_uint) {
        // SAFETY: It is for the thread that runs.
        unsafe { bindings::sched_set_fifo(bindings::get_current()) };
    }

    /// # Safety
    ///
    /// See [`setup`].
    unsafe extern "C" fn should_run(cpu: c_uint) -> c_int {
        pending(cpu)
            .is_some_and(|pending| pending.load(Relaxed))
            .into()
    }

    /// # Safety
    ///
    /// See [`setup`].
    unsafe extern "C" fn run(cpu: c_uint) {
        if let Some(pending) = pending(cpu) {
            pending.store(false, Relaxed);
        }
        dispatch();
    }

    /// The threads.
    ///
    /// # Invariants
    ///
    /// `description` is registered, and its `store` is [`PER_CPU`], which belongs to this value.
    pub(super) struct Threads {
        description: KBox<Opaque<bindings::smp_hotplug_thread>>,
    }

    // SAFETY: It can be dropped by any thread.
    unsafe impl Send for Threads {}

    // SAFETY: A reference can do nothing.
    unsafe impl Sync for Threads {}

    impl Threads {
        /// Starts a thread on each processor. May sleep. There must be one such value at a time.
        pub(super) fn new() -> Result<Self> {
            let description =
                KBox::new(Opaque::<bindings::smp_hotplug_thread>::zeroed(), GFP_KERNEL)?;
            // SAFETY: It can be called whenever sleeping is allowed.
            let all = unsafe { bindings::alloc_percpu(size_of::<PerCpu>(), align_of::<PerCpu>()) };
            if all.is_null() {
                return Err(ENOMEM);
            }
            PER_CPU.store(all, Release);

            let threads = bindings::smp_hotplug_thread {
                store: all.cast(),
                thread_should_run: Some(should_run),
                thread_fn: Some(run),
                setup: Some(setup),
                thread_comm: c"vmbus_irq/%u".as_char_ptr(),
                ..pin_init::zeroed()
            };
            // SAFETY: The box is ours.
            unsafe { description.get().write(threads) };

            // SAFETY: The description is complete, and stays in its place until the threads end.
            let result =
                to_result(unsafe { bindings::smpboot_register_percpu_thread(description.get()) });
            if let Err(error) = result {
                free();
                return Err(error);
            }
            // INVARIANT: It is registered.
            Ok(Self { description })
        }
    }

    impl Drop for Threads {
        fn drop(&mut self) {
            // SAFETY: By the type invariants it is registered.
            unsafe { bindings::smpboot_unregister_percpu_thread(self.description.get()) };
            free();
        }
    }

    /// Frees the per-CPU memory, when there are no threads.
    fn free() {
        let all = PER_CPU.xchg(null_mut(), Relaxed);

        // The interrupt handler may be looking at it.
        rcu::synchronize_rcu();
        // SAFETY: It was allocated by `Threads::new()`, and nobody finds it any more.
        unsafe { bindings::free_percpu(all) };
    }
}
