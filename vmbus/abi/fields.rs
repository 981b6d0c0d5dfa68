// SPDX-License-Identifier: GPL-2.0

//! The fields of `struct vmbus_channel`, as far as the bus reads and writes them.
//!
//! Fields that other drivers, or other processors, access at the same time are accessed
//! atomically here; the C side does so by plain loads and stores of aligned words.

use crate::{
    channel::Channel,
    hw,
    message::Offer,
    ring,
    sys, //
};
use core::{
    mem::offset_of,
    pin::Pin,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    prelude::*,
    static_lock_class,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        SpinLockIrq, //
    },
    types::Opaque, //
};

/// The states of `enum vmbus_channel_state` that this driver uses.
const OPEN: u32 = bindings::vmbus_channel_state_CHANNEL_OPEN_STATE;
const OPENING: u32 = bindings::vmbus_channel_state_CHANNEL_OPENING_STATE;
const OPENED: u32 = bindings::vmbus_channel_state_CHANNEL_OPENED_STATE;

/// What the C structure says about a channel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Offered only, or unknown.
    Offered,
    /// A driver may open it. (This is what C calls open.)
    Closed,
    /// Somebody does.
    Opening,
    /// Somebody did.
    Opened,
}

// SAFETY: All fields may be used by any thread: those of Rust are `Send`, and the C structure is
// made to be shared.
unsafe impl Send for Channel {}

// SAFETY: Fields of Rust are `Sync`; those of the C structure are accessed atomically, under its
// locks, or never change.
unsafe impl Sync for Channel {}

// SAFETY: The reference count is that of the `kobj`, which was initialized with 1 for the reference
// that `into_counted()` returned. When it drops to 0, `free_after_rcu()` frees the channel.
unsafe impl AlwaysRefCounted for Channel {
    fn inc_ref(&self) {
        // SAFETY: The reference shows that the channel, and so its `kobj`, is valid.
        unsafe { bindings::kobject_get(&raw mut (*self.as_raw()).kobj) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // CAST: `Channel` begins with the C structure.
        let raw: *mut bindings::vmbus_channel = obj.as_ptr().cast();

        // SAFETY: The caller gives up a reference.
        unsafe { bindings::kobject_put(&raw mut (*raw).kobj) };
    }
}

/// Initializes the C structure of a channel.
pub(crate) fn init(offer: &Offer) -> impl PinInit<Opaque<bindings::vmbus_channel>> + '_ {
    Opaque::ffi_init(move |slot: *mut bindings::vmbus_channel| {
        // SAFETY: `slot` is memory for the structure, for which all zeroes are valid.
        unsafe { slot.write_bytes(0, 1) };

        // SAFETY: The lock is in its final place, and nobody uses it yet.
        unsafe {
            bindings::__spin_lock_init(
                &raw mut (*slot).sched_lock,
                c"vmbus_channel::sched_lock".as_char_ptr(),
                static_lock_class!().as_ptr(),
            )
        };
        // SAFETY: As above.
        unsafe {
            bindings::__spin_lock_init(
                &raw mut (*slot).requestor.req_lock,
                c"vmbus_channel::requestor".as_char_ptr(),
                static_lock_class!().as_ptr(),
            )
        };
        // SAFETY: As above, and so for the completion.
        unsafe { bindings::init_completion(&raw mut (*slot).rescind_event) };
        // SAFETY: As above, and so for the list heads.
        unsafe { bindings::INIT_LIST_HEAD(&raw mut (*slot).listentry) };
        // SAFETY: As above.
        unsafe { bindings::INIT_LIST_HEAD(&raw mut (*slot).sc_list) };
        // SAFETY: As above. The function takes the address of the channel.
        unsafe {
            bindings::tasklet_init(
                &raw mut (*slot).callback_event,
                Some(hw::interrupt::channel_tasklet),
                slot as usize,
            )
        };
        // SAFETY: As above.
        unsafe { ring::pre_init(slot) };

        // SAFETY: Both are the same bytes, and `slot` is ours.
        unsafe {
            (&raw mut (*slot).offermsg)
                .cast::<Offer>()
                .write_unaligned(*offer)
        };
        // SAFETY: Nobody else has a pointer to the structure yet.
        let channel = unsafe { &mut *slot };

        channel.monitor_grp = offer.monitor_id / 32;
        channel.monitor_bit = offer.monitor_id % 32;
        channel.is_dedicated_interrupt = offer.is_dedicated_interrupt & 1 != 0;
        channel.sig_event = offer.connection_id.into();
        channel.co_ring_buffer = offer.has_confidential_ring();
        channel.co_external_memory = offer.has_confidential_memory();
        channel.device_id = offer.device_type();
        channel.target_cpu = bindings::VMBUS_CONNECT_CPU;

        // SAFETY: The channel is initialized but for this.
        unsafe { sys::kobject::init(&raw mut channel.kobj) };
    })
}

/// Turns a new channel into one that is counted: the box is what the first reference owns.
pub(crate) fn into_counted(channel: Pin<KBox<Channel>>) -> ARef<Channel> {
    // SAFETY: The channel stays in its place until it is freed.
    let raw = KBox::into_raw(unsafe { Pin::into_inner_unchecked(channel) });

    // SAFETY: A box is never null.
    let raw = unsafe { NonNull::new_unchecked(raw) };

    // SAFETY: `init()` has set the reference count to 1, which is this reference.
    unsafe { ARef::from_raw(raw) }
}

/// Frees a channel when no interrupt handler can look at it any more.
///
/// # Safety
///
/// `kobj` must be the `kobj` of a channel whose reference count has dropped to 0.
pub(crate) unsafe fn free_after_rcu(kobj: *mut bindings::kobject) {
    /// # Safety
    ///
    /// `head` must be the `rcu` of such a channel, after a grace period.
    unsafe extern "C" fn free(head: *mut bindings::callback_head) {
        let offset = offset_of!(bindings::vmbus_channel, rcu);
        // CAST: A `Channel` begins with the C structure.
        let channel = head.wrapping_byte_sub(offset).cast::<Channel>();

        // SAFETY: This is what `into_counted()` made of a box, and the last user is gone.
        let channel = unsafe { KBox::from_raw(channel) };

        drop(Pin::from(channel));
    }

    let offset = offset_of!(bindings::vmbus_channel, kobj);
    let raw = kobj
        .wrapping_byte_sub(offset)
        .cast::<bindings::vmbus_channel>();

    // SAFETY: By the safety requirements the channel is valid, and nobody uses its `rcu`.
    unsafe { bindings::call_rcu(&raw mut (*raw).rcu, Some(free)) };
}

/// Gives atomic access to a field of the C structure.
macro_rules! atomic {
    ($channel:expr, $($field:ident).+) => {{
        // SAFETY: The reference shows that the channel is valid.
        let field = unsafe { &raw mut (*$channel.as_raw()).$($field).+ };

        // SAFETY: The field is aligned, is valid as long as the channel, and everybody accesses it
        // as a whole.
        unsafe { Atomic::from_ptr(field) }
    }};
}
pub(crate) use atomic;

impl Channel {
    /// Makes a reference of what another driver has.
    ///
    /// # Safety
    ///
    /// `raw` must be a channel that this driver has created, which stays valid for `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(raw: *mut bindings::vmbus_channel) -> &'a Self {
        // CAST: `Channel` begins with the C structure.
        // SAFETY: By the safety requirements this is a channel.
        unsafe { &*raw.cast::<Self>() }
    }

    /// GUID of what the channel is for.
    pub(crate) fn class(&self) -> bindings::guid_t {
        // SAFETY: The GUID never changes, and need not be aligned.
        unsafe { (&raw const (*self.as_raw()).offermsg.offer.if_type).read_unaligned() }
    }

    /// GUID of the device.
    pub(crate) fn instance(&self) -> bindings::guid_t {
        // SAFETY: As above.
        unsafe { (&raw const (*self.as_raw()).offermsg.offer.if_instance).read_unaligned() }
    }

    /// Which of the channels of its device it is; 0 for the primary.
    pub(crate) fn sub_index(&self) -> u16 {
        // SAFETY: It never changes, and need not be aligned.
        unsafe { (&raw const (*self.as_raw()).offermsg.offer.sub_channel_index).read_unaligned() }
    }

    /// Whether it is one end of a Hyper-V socket.
    pub(crate) fn is_hvsock(&self) -> bool {
        // SAFETY: They never change, and need not be aligned.
        let flags =
            unsafe { (&raw const (*self.as_raw()).offermsg.offer.chn_flags).read_unaligned() };

        u32::from(flags) & bindings::VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER != 0
    }

    /// Whether the host is told by the channel's connection alone, not by a bit as well.
    #[inline]
    pub(crate) fn is_dedicated_interrupt(&self) -> bool {
        atomic!(self, is_dedicated_interrupt).load(Relaxed)
    }

    /// The connection by which the host is told.
    #[inline]
    pub(crate) fn connection_id(&self) -> u32 {
        // The offer has 32 bits for it.
        atomic!(self, sig_event).load(Relaxed) as u32
    }

    /// The type of its device: an index of `vmbus_devs`.
    pub(crate) fn device_id(&self) -> u16 {
        // SAFETY: It never changes.
        unsafe { (*self.as_raw()).device_id }
    }

    /// Whether its interrupts are spread over processors.
    pub(crate) fn is_perf(&self) -> bool {
        let index = usize::from(self.device_id());
        if index > bindings::vmbus_device_type_HV_UNKNOWN as usize {
            return false;
        }
        let devices = &raw const bindings::vmbus_devs;

        // SAFETY: The table has an entry for each type.
        unsafe { (*devices.cast::<bindings::vmbus_device>().add(index)).perf_device }
    }

    /// Whether the host has taken it back.
    #[inline]
    pub(crate) fn is_rescinded(&self) -> bool {
        atomic!(self, rescind).load(Acquire)
    }

    /// Says that the host has taken it back.
    pub(crate) fn set_rescinded(&self) {
        atomic!(self, rescind).store(true, Release);
    }

    /// What the C structure says.
    #[inline]
    pub(crate) fn state(&self) -> State {
        match atomic!(self, state).load(Acquire) {
            OPEN => State::Closed,
            OPENING => State::Opening,
            OPENED => State::Opened,
            _ => State::Offered,
        }
    }

    /// Lets the C structure say it.
    pub(crate) fn set_state(&self, state: State) {
        let state = match state {
            State::Offered => bindings::vmbus_channel_state_CHANNEL_OFFER_STATE,
            State::Closed => OPEN,
            State::Opening => OPENING,
            State::Opened => OPENED,
        };

        atomic!(self, state).store(state, Release);
    }

    /// Whether it is open.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.state() == State::Opened
    }

    /// The processor that its interrupts go to.
    #[inline]
    pub(crate) fn target_cpu(&self) -> u32 {
        atomic!(self, target_cpu).load(Relaxed)
    }

    /// Says that its interrupts go there.
    pub(crate) fn set_target_cpu(&self, cpu: u32) {
        atomic!(self, target_cpu).store(cpu, Relaxed);
    }

    /// Whether the ring is encrypted, and so not shared with the hypervisor.
    pub(crate) fn has_confidential_ring(&self) -> bool {
        // SAFETY: It never changes.
        unsafe { (*self.as_raw()).co_ring_buffer }
    }

    /// Whether other memory is.
    pub(crate) fn has_confidential_memory(&self) -> bool {
        // SAFETY: It never changes.
        unsafe { (*self.as_raw()).co_external_memory }
    }

    /// The lock that guards the callback: also other drivers take it.
    pub(crate) fn sched_lock(&self) -> &SpinLockIrq<()> {
        // SAFETY: The lock is initialized and lives as long as the channel.
        unsafe { SpinLockIrq::from_raw((&raw mut (*self.as_raw()).sched_lock).cast()) }
    }

    /// Calls a driver once more that is called once per interrupt (`HV_CALL_DIRECT`): it has left
    /// something in the ring, and the host interrupts only when that was empty. Any context.
    ///
    /// Others are called again anyway, or want no call but the interrupt.
    pub(crate) fn call_again(&self) {
        const DIRECT: u32 = bindings::vmbus_channel_hv_callback_mode_HV_CALL_DIRECT;

        if atomic!(self, callback_mode).load(Relaxed) == DIRECT {
            // SAFETY: The tasklet is initialized, and finds out by itself if nobody is to be called.
            unsafe { bindings::tasklet_schedule(&raw mut (*self.as_raw()).callback_event) };
        }
    }

    /// Lets the interrupt handler call a driver. Any context.
    pub(crate) fn set_callback(&self, callback: Callback) {
        let _guard = self.sched_lock().lock();

        // SAFETY: The lock is held.
        unsafe { (*self.as_raw()).channel_callback_context = callback.context };
        // SAFETY: As above.
        unsafe { (*self.as_raw()).onchannel_callback = callback.function };
    }

    /// Takes the callback back, and waits until it runs nowhere. May sleep.
    ///
    /// Sub-channels that come from now on are not announced to the driver either.
    pub(crate) fn silence(&self) {
        // SAFETY: The tasklet is initialized.
        unsafe { bindings::tasklet_disable(&raw mut (*self.as_raw()).callback_event) };
        self.set_callback(Callback::NONE);
        // SAFETY: The reference shows that the channel is valid; the field is only read by work
        // items of this driver.
        unsafe { (*self.as_raw()).sc_creation_callback = None };
        // SAFETY: It was disabled above.
        unsafe { bindings::tasklet_enable(&raw mut (*self.as_raw()).callback_event) };
    }

    /// Lets the C structure say which GPADL the rings are.
    pub(crate) fn set_ring_gpadl(&self, gpadl: u32) {
        atomic!(self, ringbuffer_gpadlhandle.gpadl_handle).store(gpadl, Relaxed);
    }

    /// Ends the tasklet for good. May sleep.
    pub(crate) fn kill_tasklet(&self) {
        // SAFETY: The tasklet is initialized.
        unsafe { bindings::tasklet_kill(&raw mut (*self.as_raw()).callback_event) };
    }

    /// Says that the driver was told of the channel.
    pub(crate) fn set_probe_done(&self) {
        atomic!(self, probe_done).store(true, Release);
    }

    /// Tells the driver of the primary channel about a new sub-channel. May sleep.
    pub(crate) fn announce(&self) {
        let Some(primary) = self.primary() else {
            return;
        };
        // SAFETY: The primary is valid.
        let Some(callback) = (unsafe { (*primary.as_raw()).sc_creation_callback }) else {
            return;
        };

        // SAFETY: The driver has set this callback for its channel.
        unsafe { callback(self.as_raw()) };
    }

    /// Lets the driver handle the rescind itself, if it wants to. Returns whether it did.
    pub(crate) fn tell_rescind(&self) -> bool {
        // SAFETY: The channel is valid, and the field is set before the host can rescind it, or
        // by the driver under its own responsibility.
        let Some(callback) = (unsafe { (*self.as_raw()).chn_rescind_callback }) else {
            return false;
        };

        // SAFETY: The driver has set this callback for its channel.
        unsafe { callback(self.as_raw()) };
        true
    }

    /// Tells the driver that its interrupts go to another processor.
    pub(crate) fn tell_target_cpu(&self, old: u32, new: u32) {
        // SAFETY: The channel is valid.
        let Some(callback) = (unsafe { (*self.as_raw()).change_target_cpu_callback }) else {
            return;
        };

        // SAFETY: The driver has set this callback for its channel.
        unsafe { callback(self.as_raw(), old, new) };
    }

    /// Puts a sub-channel into its primary's list, which other drivers walk. May sleep.
    pub(crate) fn link_to_primary(&self) {
        let Some(primary) = self.primary() else {
            return;
        };
        let _guard = channel_mutex().lock();

        // SAFETY: The lock is held, and the entry is in no list.
        unsafe {
            bindings::list_add_tail(
                &raw mut (*self.as_raw()).sc_list,
                &raw mut (*primary.as_raw()).sc_list,
            )
        };
        // SAFETY: The lock is held; the primary lives as long as `self`.
        unsafe { (*self.as_raw()).primary_channel = primary.as_raw() };
    }

    /// Takes it out of there. Does nothing if it is not in the list. May sleep.
    pub(crate) fn unlink_from_primary(&self) {
        if self.primary().is_none() {
            return;
        }
        let _guard = channel_mutex().lock();

        // SAFETY: The lock is held, and the entry is in a list or points to itself.
        unsafe { bindings::list_del_init(&raw mut (*self.as_raw()).sc_list) };
    }
}

/// What the interrupt handler calls.
#[derive(Clone, Copy)]
pub(crate) struct Callback {
    pub(crate) function: Option<unsafe extern "C" fn(*mut c_void)>,
    pub(crate) context: *mut c_void,
}

impl Callback {
    pub(crate) const NONE: Self = Self {
        function: None,
        context: core::ptr::null_mut(),
    };
}

/// The lock of the list of sub-channels, which other drivers take as well.
pub(crate) fn channel_mutex() -> &'static kernel::sync::Mutex<()> {
    let connection = &raw mut bindings::vmbus_connection;

    // SAFETY: The lock is initialized in exports/connection.c, and lives as long as this module.
    unsafe { kernel::sync::Mutex::from_raw(&raw mut (*connection).channel_mutex) }
}

/// See [`Channel::set_relid`].
pub(crate) fn set_relid(channel: &Channel, relid: u32) {
    // SAFETY: The channel is valid; whoever prints the number may see either.
    unsafe { (&raw mut (*channel.as_raw()).offermsg.child_relid).write_unaligned(relid) };
}

/// See [`Channel::offered_again`].
pub(crate) fn offered_again(channel: &Channel, offer: &Offer) {
    let raw = channel.as_raw();

    // SAFETY: Both are the same bytes; whoever prints some of them may see either.
    unsafe {
        (&raw mut (*raw).offermsg)
            .cast::<Offer>()
            .write_unaligned(*offer)
    };
    // SAFETY: The channel is valid; this driver has its own copy, others do not look.
    unsafe { (&raw mut (*raw).monitor_grp).write(offer.monitor_id / 32) };
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).monitor_bit).write(offer.monitor_id % 32) };
    atomic!(channel, is_dedicated_interrupt).store(offer.is_dedicated_interrupt & 1 != 0, Relaxed);
    atomic!(channel, sig_event).store(offer.connection_id.into(), Relaxed);
}

/// See [`Channel::reset_hooks`].
pub(crate) fn reset_hooks(channel: &Channel) {
    let raw = channel.as_raw();

    channel.silence();
    // Others look at the structure, its lock for example: no reference to all of it.
    // SAFETY: The channel is valid, and no driver uses it: nobody else accesses this field.
    unsafe { (&raw mut (*raw).change_target_cpu_callback).write(None) };
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).chn_rescind_callback).write(None) };
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).next_request_id_callback).write(None) };
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).request_addr_callback).write(None) };
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).per_channel_state).write(core::ptr::null_mut()) };
    // SAFETY: As above.
    unsafe {
        (&raw mut (*raw).callback_mode)
            .write(bindings::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED)
    };
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).rqstor_size).write(0) };
    // SAFETY: As above.
    unsafe { (&raw mut (*raw).max_pkt_size).write(0) };
    atomic!(channel, low_latency).store(false, Relaxed);
}
