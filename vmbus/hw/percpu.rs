// SPDX-License-Identifier: GPL-2.0

//! What each processor has: the pages of its controllers, with the bits of channels and the slots
//! for messages, and the tasklet that looks at messages.
//!
//! C drivers (`mshv_vtl`) know the structure.
//!
//! C source: [`drivers/hv/hyperv_vmbus.h`](srctree/drivers/hv/hyperv_vmbus.h)

use super::synic::{
    Kind,
    Side, //
};
use crate::{
    connection::Taken,
    log::warn_limited,
    message::MAX_SIZE,
    relid, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    io::{
        Io,
        SysMem, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
};

/// The source of interrupts that the bus uses.
pub(super) const SOURCE: usize = bindings::VMBUS_MESSAGE_SINT as usize;

/// No message is in the slot.
const NO_MESSAGE: u32 = bindings::hv_message_type_HVMSG_NONE;
/// Flag of a message: another one waits for the slot.
const PENDING: u8 = 1;

/// Words of a source's bits.
const WORDS: usize = 2048 / 64;

/// What each processor has. C drivers know its beginning.
#[repr(C)]
pub(super) struct PerCpu {
    raw: bindings::hv_per_cpu_context,
    /// Where the given pages are that are mapped now, by [`Kind`]. Only used on the processor
    /// itself, by the CPU hotplug code and with the system suspended, or after that.
    given: [u64; 2],
}

/// The per-CPU memory, as C drivers find it; null if there is none.
pub(super) fn published() -> &'static Atomic<*mut bindings::hv_per_cpu_context> {
    let context = &raw mut bindings::hv_context;

    // SAFETY: The object lives as long as this module.
    let field = unsafe { &raw mut (*context).cpu_context };

    // SAFETY: The field is aligned, lives as long as this module, and is accessed as a whole.
    unsafe { Atomic::from_ptr(field) }
}

/// The numbers of all processors that there may ever be.
pub(super) fn possible_cpus() -> impl Iterator<Item = CpuId> {
    (0..nr_cpu_ids())
        .filter_map(CpuId::from_u32)
        // SAFETY: This is the number of a processor.
        .filter(|cpu| unsafe { bindings::cpu_possible(cpu.as_u32()) })
}

/// What a processor has.
///
/// # Invariants
///
/// `0` is valid for the lifetime.
#[derive(Clone, Copy)]
pub(super) struct Context<'a>(NonNull<PerCpu>, PhantomData<&'a PerCpu>);

impl<'a> Context<'a> {
    /// That of a processor, if there are any. Any context.
    #[inline]
    pub(super) fn of(cpu: CpuId, _guard: &'a rcu::Guard) -> Option<Self> {
        let all = published().load(Acquire);
        if all.is_null() {
            return None;
        }
        // SAFETY: This is what it is; it is freed a grace period after nobody finds it any more.
        unsafe { Self::in_memory(all.cast(), cpu) }
    }

    /// That of a processor, in memory that somebody is about to use or to free.
    ///
    /// # Safety
    ///
    /// `all` must be per-CPU memory with a [`PerCpu`] for each processor, which is valid for the
    /// lifetime and was full of zeroes in the beginning.
    pub(super) unsafe fn in_memory(all: *mut c_void, cpu: CpuId) -> Option<Self> {
        // SAFETY: By the safety requirements, and because this is the number of a processor.
        let this = unsafe { bindings::per_cpu_ptr(all, cpu.as_u32()) };

        // INVARIANT: By the safety requirements.
        NonNull::new(this.cast()).map(|this| Self(this, PhantomData))
    }

    /// The same, for longer.
    ///
    /// # Safety
    ///
    /// The memory must be valid for that lifetime as well.
    pub(super) unsafe fn extend<'b>(self) -> Context<'b> {
        // INVARIANT: By the safety requirements.
        Context(self.0, PhantomData)
    }

    /// What C drivers see of it.
    pub(super) fn raw(self) -> *mut bindings::hv_per_cpu_context {
        // SAFETY: By the type invariants it is valid.
        unsafe { &raw mut (*self.0.as_ptr()).raw }
    }

    /// Where the address of a page is.
    pub(super) fn page(self, side: Side, kind: Kind) -> &'a Atomic<*mut c_void> {
        let raw = self.raw();
        let field = match (side, kind) {
            // SAFETY: By the type invariants it is valid; this goes for all four.
            (Side::Hypervisor, Kind::Message) => unsafe { &raw mut (*raw).hyp_synic_message_page },
            // SAFETY: As above.
            (Side::Hypervisor, Kind::Event) => unsafe { &raw mut (*raw).hyp_synic_event_page },
            // SAFETY: As above.
            (Side::Paravisor, Kind::Message) => unsafe { &raw mut (*raw).para_synic_message_page },
            // SAFETY: As above.
            (Side::Paravisor, Kind::Event) => unsafe { &raw mut (*raw).para_synic_event_page },
        };

        // SAFETY: The field is valid for the lifetime, aligned, and accessed as a whole.
        unsafe { Atomic::from_ptr(field) }
    }

    /// Where the address of the page for messages to the host is.
    pub(super) fn post_page(self) -> &'a Atomic<*mut c_void> {
        // SAFETY: By the type invariants it is valid.
        let field = unsafe { &raw mut (*self.raw()).post_msg_page };

        // SAFETY: The field is valid for the lifetime, aligned, and accessed as a whole.
        unsafe { Atomic::from_ptr(field) }
    }

    /// The page for messages to the host; null if the usual one will do.
    pub(super) fn post_message_page(self) -> *mut c_void {
        self.post_page().load(Relaxed)
    }

    /// The bits of the channels.
    #[inline]
    pub(super) fn events(self, side: Side) -> Option<Events<'a>> {
        let page = self
            .page(side, Kind::Event)
            .load(Acquire)
            .cast::<[u64; WORDS]>();
        let page = NonNull::new(page)?;

        // SAFETY: There is an array for each of the sources.
        let words = unsafe { page.add(SOURCE) };
        // INVARIANT: It is mapped as long as the page.
        Some(Events(words.cast(), PhantomData))
    }

    /// The slot for messages.
    #[inline]
    pub(super) fn slot(self, side: Side) -> Option<Slot<'a>> {
        let page = self
            .page(side, Kind::Message)
            .load(Acquire)
            .cast::<Message>();
        let page = NonNull::new(page)?;

        // INVARIANT: It is mapped as long as the page.
        Some(Slot {
            // SAFETY: There is a slot for each of the sources.
            message: unsafe { page.add(SOURCE) },
            side,
            _page: PhantomData,
        })
    }

    /// Where it is remembered at which address a given page is. See [`PerCpu::given`].
    pub(super) fn given(self, kind: Kind) -> *mut u64 {
        // SAFETY: By the type invariants it is valid.
        let given = unsafe { &raw mut (*self.0.as_ptr()).given };

        given.cast::<u64>().wrapping_add(kind as usize)
    }

    /// Lets this processor look at its messages soon. To be called on it, in any context.
    #[inline]
    pub(super) fn schedule(self) {
        // SAFETY: By the type invariants it is valid, and the tasklet was initialised.
        unsafe { bindings::tasklet_schedule(&raw mut (*self.raw()).msg_dpc) };
    }
}

/// The bits of the bus in an event page.
///
/// # Invariants
///
/// [`WORDS`] words are mapped there for the lifetime, which the host may write.
#[derive(Clone, Copy)]
pub(super) struct Events<'a>(NonNull<u64>, PhantomData<&'a ()>);

impl Events<'_> {
    /// A word of bits.
    #[inline]
    fn peek(self, index: usize) -> u64 {
        if index >= WORDS {
            return 0;
        }
        // SAFETY: By the type invariants, and because it is one of the words.
        unsafe { self.0.as_ptr().add(index).read_volatile() }
    }

    /// Takes the bits of a word out of the page, all at once.
    ///
    /// Nothing is written if there are none.
    #[inline]
    pub(super) fn take(self, index: usize) -> u64 {
        if self.peek(index) == 0 {
            return 0;
        }
        // SAFETY: By the type invariants; `peek()` returns 0 for what is no word.
        let word = unsafe { self.0.as_ptr().add(index) };

        // SAFETY: By the type invariants. This is atomic for the host as well.
        unsafe { bindings::sync_xchg64(word, 0) }
    }

    /// Whether a channel's bit is set.
    pub(super) fn any(self) -> bool {
        let last = relid::highest() as usize;

        (0..=last / 64).any(|index| {
            // Bit 0 is not a channel's.
            let channels = if index == 0 { !1 } else { !0 };

            self.peek(index) & channels != 0
        })
    }
}

/// A message in a slot.
#[repr(C)]
struct Message {
    kind: u32,
    size: u8,
    flags: u8,
    reserved: [u8; 2],
    sender: u64,
    payload: [u8; MAX_SIZE],
}

static_assert!(size_of::<Message>() == size_of::<bindings::hv_message>());

/// The slot for messages of the bus.
///
/// # Invariants
///
/// `message` is mapped for the lifetime. The host may write it.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    message: NonNull<Message>,
    side: Side,
    _page: PhantomData<&'a ()>,
}

impl Slot<'_> {
    /// Whether there is a message.
    #[inline]
    pub(super) fn is_full(self) -> bool {
        // SAFETY: By the type invariants.
        let kind = unsafe { (&raw const (*self.message.as_ptr()).kind).read_volatile() };

        kind != NO_MESSAGE
    }

    /// Looks at a private copy of the message, if there is one, and makes room for the next if it
    /// was taken. To be called on the processor whose slot it is, or in a kernel that dies.
    pub(super) fn receive(self, handle: impl FnOnce(&[u8]) -> Taken) {
        if !self.is_full() {
            return;
        }
        let mut payload = [0; MAX_SIZE];
        let Some((kind, size)) = self.copy(&mut payload) else {
            return;
        };
        match payload.get(..size) {
            Some(payload) => {
                if handle(payload) == Taken::No {
                    return;
                }
            }
            None => too_long(size),
        }
        self.release(kind);
    }

    /// Copies the message, if there is one; returns its type and its size, as the host says.
    // Once, not for each function that `receive()` calls.
    #[inline(never)]
    fn copy(self, payload: &mut [u8; MAX_SIZE]) -> Option<(u32, usize)> {
        let message = self.message.as_ptr();
        // SAFETY: By the type invariants.
        let kind = unsafe { (&raw const (*message).kind).read_volatile() };
        // SAFETY: As above.
        let size = unsafe { (&raw const (*message).size).read_volatile() };
        // SAFETY: As above.
        let bytes = unsafe { (&raw mut (*message).payload) };

        // SAFETY: By the type invariants the payload is mapped, and the host may write it.
        let bytes = unsafe { SysMem::<[u8]>::new(bytes) };
        bytes.copy_to_slice(payload);
        (kind != NO_MESSAGE).then_some((kind, size.into()))
    }

    /// Makes room for the next message, if that in the slot is of the type that we have seen.
    ///
    /// In a kernel that dies another processor may have made room, and the host have used it.
    #[inline(never)]
    fn release(self, kind: u32) {
        // SAFETY: By the type invariants.
        let field = unsafe { &raw mut (*self.message.as_ptr()).kind };

        // SAFETY: By the type invariants. This is atomic for the host as well.
        if unsafe { bindings::sync_cmpxchg(field, kind, NO_MESSAGE) } != kind {
            return;
        }
        // The exchange is a full barrier: if the flag was set after we look, the host has seen that
        // there is room.
        // SAFETY: By the type invariants.
        let flags = unsafe { (&raw const (*self.message.as_ptr()).flags).read_volatile() };

        if flags & PENDING != 0 {
            self.side.end_message();
        }
    }
}

#[cold]
#[inline(never)]
fn too_long(size: usize) {
    warn_limited!("the host has sent a message of {} bytes\n", size);
}

/// Calls a function with the messages in the slots of all processors, and makes room for the next.
///
/// For a kernel that dies: nothing is locked, allocated or waited for.
pub(super) fn poll_messages(handle: &mut dyn FnMut(&[u8])) {
    let guard = rcu::read_lock();

    for cpu in possible_cpus() {
        let Some(context) = Context::of(cpu, &guard) else {
            return;
        };
        for slot in Side::ALL.into_iter().filter_map(|side| context.slot(side)) {
            slot.receive(|payload| {
                handle(payload);
                Taken::Yes
            });
        }
    }
}
