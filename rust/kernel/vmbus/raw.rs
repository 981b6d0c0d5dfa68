// SPDX-License-Identifier: GPL-2.0

//! What the C structure of a channel has for those who open it.
//!
//! C header: [`include/linux/hyperv.h`](srctree/include/linux/hyperv.h)

use crate::{
    bindings,
    cpu::CpuId,
    error::to_result,
    prelude::*,
    sync::{
        atomic::Atomic,
        SpinLockIrq, //
    },
    time::{
        delay::udelay,
        Delta, //
    }, //
};
use core::ptr::NonNull;

/// A channel's C structure, for those who know that it is valid.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Raw(NonNull<bindings::vmbus_channel>);

// SAFETY: This is an address; whoever uses it says why it is valid.
unsafe impl Send for Raw {}

// SAFETY: As above.
unsafe impl Sync for Raw {}

/// A function of ours that the bus calls when the host sends a channel's interrupt.
pub(super) type Callback = unsafe extern "C" fn(*mut c_void);
/// One that it calls when interrupts go to another processor.
pub(super) type CpuChanged = unsafe extern "C" fn(*mut bindings::vmbus_channel, u32, u32);
/// One that it calls when a sub-channel was offered.
pub(super) type Offered = unsafe extern "C" fn(*mut bindings::vmbus_channel);

/// From where the bus calls the [`Callback`] of an open channel. It masks nothing in either case.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    /// The interrupt handler, which holds a lock of the channel (`HV_CALL_ISR`).
    HardIrq,
    /// The channel's tasklet (`HV_CALL_DIRECT`).
    Softirq,
}

/// Adds 1 to a counter that user space sees.
///
/// # Safety
///
/// `counter` must be valid, and nobody else may write it at the same time.
#[inline]
unsafe fn count(counter: *mut u64) {
    // SAFETY: By the safety requirements.
    let value = unsafe { counter.read_volatile() };

    // SAFETY: By the safety requirements.
    unsafe { counter.write_volatile(value.wrapping_add(1)) };
}

impl Raw {
    #[inline]
    pub(super) fn new(channel: NonNull<bindings::vmbus_channel>) -> Self {
        Self(channel)
    }

    #[inline]
    pub(super) fn as_ptr(self) -> *mut bindings::vmbus_channel {
        self.0.as_ptr()
    }

    /// The host has taken the channel back.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    #[inline]
    pub(super) unsafe fn is_rescinded(self) -> bool {
        // SAFETY: By the safety requirements. The bus sets this byte once.
        unsafe {
            (&raw const (*self.as_ptr()).rescind)
                .cast::<u8>()
                .read_volatile()
                != 0
        }
    }

    /// The processor that the host interrupts.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    #[inline]
    pub(super) unsafe fn target_cpu(self) -> CpuId {
        // SAFETY: By the safety requirements. It is written as a whole.
        let cpu = unsafe { (&raw const (*self.as_ptr()).target_cpu).read_volatile() };

        // There is no other than the bus has found.
        CpuId::from_u32(cpu).unwrap_or_else(CpuId::current)
    }

    /// Which of the channels of its device it is; 0 for the primary.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    #[inline]
    pub(super) unsafe fn sub_index(self) -> u16 {
        // SAFETY: By the safety requirements. It need not be aligned.
        unsafe { (&raw const (*self.as_ptr()).offermsg.offer.sub_channel_index).read_unaligned() }
    }

    /// # Safety
    ///
    /// The channel must be valid.
    #[inline]
    pub(super) unsafe fn relid(self) -> u32 {
        // SAFETY: By the safety requirements. It need not be aligned.
        unsafe { (&raw const (*self.as_ptr()).offermsg.child_relid).read_unaligned() }
    }

    /// The primary channel of a sub-channel.
    ///
    /// # Safety
    ///
    /// The channel must be valid, and must have been offered before.
    #[inline]
    pub(super) unsafe fn primary(self) -> Option<Self> {
        // SAFETY: By the safety requirements. It does not change any more.
        NonNull::new(unsafe { (*self.as_ptr()).primary_channel }).map(Self)
    }

    /// Whose channel it is: nothing, an object of whoever has it open, or a mark of ours.
    ///
    /// # Safety
    ///
    /// The channel must be valid during `'a`, and its device bound to a driver that uses this
    /// abstraction, which nobody but this abstraction accesses this field of.
    #[inline]
    pub(super) unsafe fn owner<'a>(self) -> &'a Atomic<*mut c_void> {
        // SAFETY: By the safety requirements.
        unsafe { Atomic::from_ptr(&raw mut (*self.as_ptr()).per_channel_state) }
    }

    /// The mapped ring to the host, or from it.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    #[inline]
    pub(super) unsafe fn rings(self) -> [*const bindings::hv_ring_buffer_info; 2] {
        // SAFETY: By the safety requirements.
        unsafe {
            [
                &raw const (*self.as_ptr()).outbound,
                &raw const (*self.as_ptr()).inbound,
            ]
        }
    }

    /// A packet found no room, for the first time since there was some, or once more.
    ///
    /// # Safety
    ///
    /// The channel must be valid; the caller is its writer.
    pub(super) unsafe fn count_full(self, first: bool) {
        let raw = self.as_ptr();

        // SAFETY: By the safety requirements.
        unsafe { count(&raw mut (*raw).out_full_total) };
        if first {
            // SAFETY: By the safety requirements.
            unsafe { count(&raw mut (*raw).out_full_first) };
        }
    }

    /// Says whether the last packet found no room.
    ///
    /// # Safety
    ///
    /// The channel must be valid; the caller is its writer.
    #[inline]
    pub(super) unsafe fn show_full(self, full: bool) {
        // SAFETY: By the safety requirements.
        unsafe { (&raw mut (*self.as_ptr()).out_full_flag).write_volatile(full) };
    }

    /// The host has to be signalled since its ring was empty.
    ///
    /// # Safety
    ///
    /// The channel must be valid; the caller is its writer.
    #[inline]
    pub(super) unsafe fn count_empty(self) {
        // SAFETY: By the safety requirements.
        unsafe { count(&raw mut (*self.as_ptr()).intr_out_empty) };
    }

    /// The host has to be signalled since it waits for room.
    ///
    /// # Safety
    ///
    /// The channel must be valid; the caller is its reader.
    pub(super) unsafe fn count_in_full(self) {
        // SAFETY: By the safety requirements.
        unsafe { count(&raw mut (*self.as_ptr()).intr_in_full) };
    }

    /// Signals the host. Any context.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    #[inline]
    pub(super) unsafe fn signal(self) {
        // SAFETY: By the safety requirements.
        unsafe { bindings::vmbus_setevent(self.as_ptr()) };
    }

    /// Waits as long as a test wants, before packets are read (`interrupt`), or one of them.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    #[inline]
    pub(super) unsafe fn delay(self, interrupt: bool) {
        if cfg!(CONFIG_HYPERV_TESTING) {
            // SAFETY: By the safety requirements.
            unsafe { self.do_delay(interrupt) };
        }
    }

    /// See [`Raw::delay`].
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    #[cold]
    unsafe fn do_delay(self, interrupt: bool) {
        // SAFETY: By the safety requirements.
        let raw = unsafe { self.primary() }.unwrap_or(self).as_ptr();
        // SAFETY: A primary channel is valid as long as its sub-channels are. The files of debugfs
        // write this as a whole, and nothing but 0 and 1.
        let on = unsafe {
            (&raw const (*raw).fuzz_testing_state)
                .cast::<u8>()
                .read_volatile()
        };
        if on == 0 {
            return;
        }

        // SAFETY: As above.
        let micros = unsafe {
            if interrupt {
                (&raw const (*raw).fuzz_testing_interrupt_delay).read_volatile()
            } else {
                (&raw const (*raw).fuzz_testing_message_delay).read_volatile()
            }
        };
        udelay(Delta::from_micros(micros.into()));
    }

    /// Opens the channel: rings are made, and the host gets them. Sleeps.
    ///
    /// If this fails the callback may stay set.
    ///
    /// # Safety
    ///
    /// The channel must be valid and not open. `context` must be what `callback` wants until the
    /// channel is [silent](Raw::silence).
    #[inline]
    pub(super) unsafe fn open(
        self,
        send: u32,
        receive: u32,
        callback: Callback,
        context: *mut c_void,
    ) -> Result {
        // SAFETY: By the safety requirements.
        to_result(unsafe {
            bindings::vmbus_open(
                self.as_ptr(),
                send,
                receive,
                core::ptr::null_mut(),
                0,
                Some(callback),
                context,
            )
        })
    }

    /// Has the bus call the callback soon, in softirq context. Any context but NMI.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    #[inline]
    pub(super) unsafe fn schedule(self) {
        // SAFETY: By the safety requirements. The bus has initialized the tasklet, which calls
        // nothing once the callback was withdrawn, and kills it before it frees the channel.
        unsafe { bindings::tasklet_schedule(&raw mut (*self.as_ptr()).callback_event) };
    }

    /// Withdraws the callback: when this returns it does not run, and will not. May sleep.
    ///
    /// The callback is read and called under this lock, or, in the other mode, by the tasklet, and
    /// from nowhere else. The bus has a function for this, which it does not export.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    pub(super) unsafe fn silence(self) {
        let raw = self.as_ptr();
        // SAFETY: By the safety requirements; the lock is initialized with the channel.
        let lock = unsafe { SpinLockIrq::from_raw(&raw mut (*raw).sched_lock) };

        // SAFETY: By the safety requirements; the tasklet is initialized with the channel. This
        // waits until it does not run.
        unsafe { bindings::tasklet_disable(&raw mut (*raw).callback_event) };
        let guard = lock.lock();
        // SAFETY: By the safety requirements; the lock is held, and the tasklet is disabled.
        unsafe { (&raw mut (*raw).onchannel_callback).write_volatile(None) };
        drop(guard);
        // SAFETY: By the safety requirements. We have disabled it.
        unsafe { bindings::tasklet_enable(&raw mut (*raw).callback_event) };
    }

    /// Closes a primary channel and all its sub-channels. Returns whether the host has forgotten
    /// the rings of the primary; if it may not have, they are leaked.
    ///
    /// # Safety
    ///
    /// The channel must be valid, and nobody may use its rings any more, or those of sub-channels.
    #[inline]
    pub(super) unsafe fn close(self) -> bool {
        // SAFETY: By the safety requirements.
        if unsafe { bindings::vmbus_disconnect_ring(self.as_ptr()) } != 0 {
            // The bus has leaked the rings, or freed them because the channel was not open.
            return false;
        }
        // SAFETY: By the safety requirements.
        if !unsafe { self.is_forgotten() } {
            // It could not even ask the host.
            return false;
        }
        // SAFETY: By the safety requirements; the rings are still there.
        unsafe { bindings::vmbus_free_ring(self.as_ptr()) };
        true
    }

    /// Whether the host has no access to the rings of a channel that was closed.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    pub(super) unsafe fn is_forgotten(self) -> bool {
        // SAFETY: By the safety requirements. What has been torn down has no handle any more.
        let handle = unsafe { (*self.as_ptr()).ringbuffer_gpadlhandle.gpadl_handle };

        // SAFETY: By the safety requirements.
        handle == 0 || unsafe { self.is_rescinded() }
    }

    /// Brings all that drivers can set in a channel into the state that it had when it was offered,
    /// or, for one that is to be opened, into that which we want.
    ///
    /// The bus does not, and other drivers expect it, or have left something else.
    ///
    /// # Safety
    ///
    /// The channel must be valid and silent, and nobody else may open it.
    pub(super) unsafe fn reset(self, open: Option<Mode>) {
        let raw = self.as_ptr();
        let mode = match open {
            Some(Mode::HardIrq) => bindings::vmbus_channel_hv_callback_mode_HV_CALL_ISR,
            Some(Mode::Softirq) => bindings::vmbus_channel_hv_callback_mode_HV_CALL_DIRECT,
            None => bindings::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED,
        };

        // SAFETY: By the safety requirements nobody reads these fields.
        unsafe {
            (*raw).callback_mode = mode;
            (*raw).next_request_id_callback = None;
            (*raw).request_addr_callback = None;
            (*raw).low_latency = false;
            // The bus allocates a buffer of this size, which we do not use; 0 is its own choice.
            (*raw).max_pkt_size = if open.is_some() { 64 } else { 0 };
            (*raw).rqstor_size = 0;
            // Freed, if there was one, when the channel was closed; and freed again with the next
            // session's, if it were still there.
            (*raw).requestor.req_arr = core::ptr::null_mut();
            (*raw).requestor.req_bitmap = core::ptr::null_mut();
        }
    }

    /// Sets what the bus calls in process context; it looks at this at any time.
    ///
    /// # Safety
    ///
    /// The channel must be valid.
    pub(super) unsafe fn set_hooks(self, cpu: Option<CpuChanged>, sub: Option<Offered>) {
        let raw = self.as_ptr();

        // SAFETY: By the safety requirements. It is written as a whole.
        unsafe { (&raw mut (*raw).change_target_cpu_callback).write_volatile(cpu) };
        // SAFETY: As above.
        unsafe { (&raw mut (*raw).sc_creation_callback).write_volatile(sub) };
        // With this one the bus would leave it to the driver to unregister the device.
        //
        // SAFETY: As above.
        unsafe { (&raw mut (*raw).chn_rescind_callback).write_volatile(None) };
    }

    /// Takes a reference: the channel stays valid until [`Raw::put`].
    ///
    /// # Safety
    ///
    /// The channel must be valid, and have been shown in sysfs.
    pub(super) unsafe fn get(self) {
        // SAFETY: By the safety requirements.
        unsafe { bindings::kobject_get(&raw mut (*self.as_ptr()).kobj) };
    }

    /// Gives a reference back. May sleep.
    ///
    /// # Safety
    ///
    /// The caller must have [one](Raw::get), and does not use the channel any more.
    pub(super) unsafe fn put(self) {
        // SAFETY: By the safety requirements.
        unsafe { bindings::kobject_put(&raw mut (*self.as_ptr()).kobj) };
    }
}
