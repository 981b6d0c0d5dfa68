// SPDX-License-Identifier: GPL-2.0

//! What the C structure of a channel has about its rings and requests.
//!
//! Drivers in C use it directly, through inline functions: the pointers to the rings, their sizes,
//! the reader's private index, the counters and the locks. All of it is kept true here. Words that
//! C code accesses at the same time are accessed through [`SysMem`], which does what `READ_ONCE()`
//! and `WRITE_ONCE()` do.
//!
//! C header: [`include/linux/hyperv.h`](srctree/include/linux/hyperv.h)

use super::data::{
    vmbus_next_request_id,
    vmbus_request_addr, //
};
use crate::{
    channel::Channel,
    debugfs::Directory,
    hw,
    log::warn_limited,
    requestor::{
        self,
        Table, //
    },
    ring::{
        Cursor,
        Figures,
        Reader,
        Ring, //
    }, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    alloc::KVVec,
    bindings,
    io::{
        Io,
        SysMem, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    static_lock_class,
    sync::{
        lock::spinlock::SpinLockIrqGuard,
        Mutex,
        SpinLockIrq, //
    },
    vmap::VMap, //
};

/// What the bus has of a channel's rings and requests that is not in the C structure.
#[pin_data]
pub(crate) struct Private {
    /// Accessed word by word, by the channel's reader.
    cursor: UnsafeCell<Cursor>,
    /// Accessed under `requestor.req_lock` only.
    requests: UnsafeCell<Option<Table>>,
    /// The files for tests, if there are.
    #[pin]
    pub(crate) directory: Mutex<Option<Directory>>,
}

// SAFETY: The fields are locked or say how they are accessed, and none belongs to a thread.
unsafe impl Sync for Private {}

impl Private {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            cursor: UnsafeCell::new(Cursor::default()),
            requests: UnsafeCell::new(None),
            directory <- new_mutex!(None, "Private::directory"),
        })
    }

    fn cursor(&self) -> SysMem<'_, Cursor> {
        // SAFETY: It is memory of ours, which lives as long as `self`.
        unsafe { SysMem::new(self.cursor.get()) }
    }
}

/// Initializes the locks of both rings.
///
/// # Safety
///
/// `raw` must be a channel's C structure in its final place, zeroed, which nobody uses yet.
pub(crate) unsafe fn pre_init(raw: *mut bindings::vmbus_channel) {
    // SAFETY: By the safety requirements, these are fields of the structure.
    let rings = unsafe { [&raw mut (*raw).outbound, &raw mut (*raw).inbound] };

    for ring in rings {
        // SAFETY: The lock is in its final place, and nobody uses it yet.
        unsafe {
            bindings::__spin_lock_init(
                &raw mut (*ring).ring_lock,
                c"vmbus_channel::ring_lock".as_char_ptr(),
                static_lock_class!().as_ptr(),
            )
        };
        // SAFETY: As above.
        unsafe {
            bindings::__mutex_init(
                &raw mut (*ring).ring_buffer_mutex,
                c"vmbus_channel::ring_buffer_mutex".as_char_ptr(),
                static_lock_class!().as_ptr(),
            )
        };
    }
}

/// What drivers find instead of a ring that the host has spoilt: an empty one, without data.
///
/// Inline functions write its interrupt mask, which nobody reads.
#[repr(C, align(64))]
struct Empty(UnsafeCell<[u8; PAGE_SIZE]>);

// SAFETY: Only words that nobody relies on are ever written.
unsafe impl Sync for Empty {}

static EMPTY: Empty = Empty(UnsafeCell::new([0; PAGE_SIZE]));

/// One ring of a channel, as the C structure has it.
///
/// # Invariants
///
/// `raw` points to a structure that lives for `'a`, whose locks are initialized.
#[derive(Clone, Copy)]
pub(crate) struct Info<'a> {
    raw: *mut bindings::hv_ring_buffer_info,
    _lives: PhantomData<&'a Channel>,
}

impl<'a> Info<'a> {
    /// # Safety
    ///
    /// `raw` must be a ring of a channel of this driver, which lives for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut bindings::hv_ring_buffer_info) -> Self {
        // INVARIANT: By the safety requirements; a channel's locks are initialized with it.
        Self {
            raw,
            _lives: PhantomData,
        }
    }

    /// The ring, if there is one that may be used.
    ///
    /// # Safety
    ///
    /// It must not be [detached](Mappings::detach) during `'r`.
    #[inline]
    unsafe fn ring<'r>(self) -> Option<Ring<'r>>
    where
        'a: 'r,
    {
        // SAFETY: By the type invariant. A word is read as a whole.
        let start = unsafe { (&raw const (*self.raw).ring_buffer).read_volatile() };
        if start.is_null() || start.cast() == EMPTY.0.get() {
            return None;
        }

        // SAFETY: By the type invariant. It was written before the pointer.
        let size = unsafe { (&raw const (*self.raw).ring_datasize).read_volatile() };
        let memory =
            core::ptr::slice_from_raw_parts_mut(start.cast::<u8>(), PAGE_SIZE + 2 * size as usize);
        // SAFETY: What is attached is mapped, with so many bytes of data, twice; and by the safety
        // requirements it stays attached.
        Ring::new(unsafe { SysMem::new(memory) }).ok()
    }

    /// Takes the ring's lock. Any context but NMI; interrupts are off until it is given back.
    #[inline]
    pub(crate) fn lock(self) -> Locked<'a> {
        // SAFETY: By the type invariant.
        let lock = unsafe { SpinLockIrq::from_raw(&raw mut (*self.raw).ring_lock) };

        Locked {
            info: self,
            _guard: lock.lock(),
        }
    }

    /// Whether somebody has the ring's lock: for those who could not wait for it.
    pub(super) fn is_locked(self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::spin_is_locked(&raw mut (*self.raw).ring_lock) }
    }

    fn mutex(self) -> &'a Mutex<()> {
        // SAFETY: By the type invariant.
        unsafe { Mutex::from_raw(&raw mut (*self.raw).ring_buffer_mutex) }
    }

    /// A look at the ring for people. May sleep.
    ///
    /// Returns [`EINVAL`] if there is none.
    #[inline(never)]
    pub(crate) fn inspect(self) -> Result<Figures> {
        let _guard = self.mutex().lock();

        // SAFETY: Whoever detaches the ring takes the mutex.
        let ring = unsafe { self.ring() };
        ring.map(|ring| ring.inspect()).ok_or(EINVAL)
    }

    /// Lets drivers have an empty ring from now on, whatever the host writes. Any context.
    fn abandon(self) {
        let empty = EMPTY.0.get();

        // SAFETY: By the type invariant. The ring itself stays where it is, until it is detached.
        unsafe { (&raw mut (*self.raw).ring_buffer).write_volatile(empty.cast()) };
        // SAFETY: By the type invariant. It is empty: that is where its other index is.
        unsafe { (&raw mut (*self.raw).priv_read_index).write_volatile(0) };
    }

    /// Whether this ring, or what stands for it, is attached.
    fn has(self, ring: &VMap) -> bool {
        // SAFETY: By the type invariant. A word is read as a whole.
        let start = unsafe { (&raw const (*self.raw).ring_buffer).read_volatile() };

        start.cast() == ring.view().as_ptr().cast::<u8>() || start.cast() == EMPTY.0.get()
    }

    /// Shows drivers a ring. May sleep.
    ///
    /// # Safety
    ///
    /// The ring, which begins with a control page, must stay mapped until [`Info::detach`]. Nobody
    /// uses the one that is there.
    unsafe fn attach(self, ring: &VMap, buffer: Option<&mut [u8]>) {
        let memory = ring.view();
        // CAST: Whoever made it a ring has checked that it is not too large.
        let data = ((memory.len() - PAGE_SIZE) / 2) as u32;
        let size = data + PAGE_SIZE as u32;
        // SAFETY: This divides nothing by 0: a page is larger than 10.
        let reciprocal = unsafe { bindings::reciprocal_value(size / 10) };

        let _mutex = self.mutex().lock();
        let _lock = self.lock();
        // Others may wait for the locks, which are part of it: no reference to all of it.
        let raw = self.raw;

        // SAFETY: By the type invariant the structure is valid, and by the safety requirements
        // nobody uses this field but under the locks.
        unsafe { (&raw mut (*raw).ring_size).write(size) };
        // SAFETY: As above.
        unsafe { (&raw mut (*raw).ring_size_div10_reciprocal).write(reciprocal) };
        // SAFETY: As above.
        unsafe { (&raw mut (*raw).ring_datasize).write(data) };
        // SAFETY: As above.
        unsafe { (&raw mut (*raw).priv_read_index).write(0) };
        if let Some(buffer) = buffer {
            // CAST: `Mappings` makes none that is larger.
            // SAFETY: As above.
            unsafe { (&raw mut (*raw).pkt_buffer_size).write(buffer.len() as u32) };
            // SAFETY: As above.
            unsafe { (&raw mut (*raw).pkt_buffer).write(buffer.as_mut_ptr().cast()) };
        }
        // SAFETY: As above.
        unsafe { (&raw mut (*raw).ring_buffer).write(memory.as_ptr().cast()) };
    }

    /// Takes the ring away from drivers. May sleep.
    fn detach(self) {
        let _mutex = self.mutex().lock();
        let _lock = self.lock();
        let raw = self.raw;

        // SAFETY: By the type invariant the structure is valid.
        unsafe { (&raw mut (*raw).ring_buffer).write_volatile(core::ptr::null_mut()) };
        // SAFETY: As above.
        unsafe { (&raw mut (*raw).pkt_buffer).write_volatile(core::ptr::null_mut()) };
        // SAFETY: As above.
        unsafe { (&raw mut (*raw).pkt_buffer_size).write_volatile(0) };
    }
}

/// A ring whose lock is held: it stays where it is.
pub(crate) struct Locked<'a> {
    info: Info<'a>,
    _guard: SpinLockIrqGuard<'a, ()>,
}

impl Locked<'_> {
    /// The ring, if there is one.
    #[inline]
    pub(crate) fn ring(&self) -> Option<Ring<'_>> {
        // SAFETY: Whoever detaches the ring takes its lock.
        unsafe { self.info.ring() }
    }
}

/// The mappings of a channel's rings, and the buffer into which its packets are copied.
///
/// # Invariants
///
/// `attached` says that the C structure of a channel may point into `parts`.
pub(crate) struct Mappings {
    parts: ManuallyDrop<Parts>,
    attached: bool,
}

struct Parts {
    send: VMap,
    receive: VMap,
    buffer: KVVec<u8>,
}

impl Mappings {
    /// The mappings must be rings, as [`Ring::new`] takes them.
    pub(crate) fn new(send: VMap, receive: VMap) -> Self {
        // INVARIANT: No channel knows them.
        Self {
            parts: ManuallyDrop::new(Parts {
                send,
                receive,
                buffer: KVVec::new(),
            }),
            attached: false,
        }
    }

    /// The memory of the ring to the host.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn send(&self) -> SysMem<'_, [u8]> {
        self.parts.send.view()
    }

    /// See [`crate::ring::Memory::attach`].
    pub(crate) fn attach(&mut self, channel: &Channel) -> Result {
        let (outbound, inbound) = (channel.outbound(), channel.inbound());

        if channel.has_ring() && !(self.attached && outbound.has(&self.parts.send)) {
            return Err(EBUSY);
        }
        if self.attached && !channel.has_ring() {
            // It is another channel's.
            return Err(EBUSY);
        }
        let parts = &mut *self.parts;
        let size = channel.packet_size();
        if parts.buffer.len() != size {
            // No reader is there, so nobody uses the old one.
            parts.buffer = KVVec::from_elem(0u8, size, GFP_KERNEL)?;
        }
        Ring::new(parts.send.view())?.reset()?;
        Ring::new(parts.receive.view())?.reset()?;
        Cursor::reset(channel.private.cursor());

        // INVARIANT: That is what happens now.
        self.attached = true;
        // SAFETY: It stays mapped: `drop()` does not unmap what is attached. That it can be
        // attached means that the channel is not open.
        unsafe { outbound.attach(&parts.send, None) };
        // SAFETY: As above.
        unsafe { inbound.attach(&parts.receive, Some(&mut parts.buffer)) };
        Ok(())
    }

    /// See [`crate::ring::Memory::detach`].
    pub(crate) fn detach(&mut self, channel: &Channel) {
        let (outbound, inbound) = (channel.outbound(), channel.inbound());

        if self.attached && outbound.has(&self.parts.send) && inbound.has(&self.parts.receive) {
            outbound.detach();
            inbound.detach();
            // INVARIANT: The pointers are gone.
            self.attached = false;
        }
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        if self.attached {
            pr_warn!("rings of a channel are lost: nobody has taken them away from it\n");
            return;
        }
        // SAFETY: The value is not used any more, and by the type invariant nobody else uses it.
        unsafe { ManuallyDrop::drop(&mut self.parts) };
    }
}

/// A word of the C structure that other code accesses at the same time.
macro_rules! word {
    ($channel:expr, $($field:ident).+) => {{
        // SAFETY: The reference shows that the channel is valid.
        let field = unsafe { &raw mut (*$channel.as_raw()).$($field).+ };

        // SAFETY: The field is aligned, and lives as long as the channel.
        unsafe { SysMem::new(field) }
    }};
}

/// The counters of a channel that user space sees.
///
/// Those of the ring to the host are counted under its lock, and that of the other one by its
/// reader.
#[derive(Clone, Copy)]
pub(crate) struct Counters<'a>(&'a Channel);

impl Counters<'_> {
    /// A packet found no room.
    pub(crate) fn found_full(self) {
        increment(word!(self.0, out_full_total));
        if self.full().read_val() == 0 {
            increment(word!(self.0, out_full_first));
            self.full().write_val(1);
        }
    }

    /// A packet found room.
    #[inline]
    pub(crate) fn found_room(self) {
        if self.full().read_val() != 0 {
            self.full().write_val(0);
        }
    }

    /// The host is signalled since its ring was empty.
    #[inline]
    pub(crate) fn count_out_empty(self) {
        increment(word!(self.0, intr_out_empty));
    }

    /// The host is signalled since it waits for room in the other ring.
    fn count_in_full(self) {
        increment(word!(self.0, intr_in_full));
    }

    fn full(&self) -> SysMem<'_, u8> {
        // SAFETY: The reference shows that the channel is valid.
        let field = unsafe { &raw mut (*self.0.as_raw()).out_full_flag };

        // SAFETY: The field lives as long as the channel. A `bool` is a byte, into which nobody
        // writes anything but 0 and 1.
        unsafe { SysMem::new(field.cast()) }
    }
}

/// What a test wants, in microseconds.
pub(crate) struct Knobs<'a> {
    pub(crate) on: SysMem<'a, u8>,
    pub(crate) interrupt: SysMem<'a, u32>,
    pub(crate) message: SysMem<'a, u32>,
}

#[inline]
fn increment(counter: SysMem<'_, u64>) {
    counter.write_val(counter.read_val().wrapping_add(1));
}

impl Channel {
    /// The ring to the host.
    #[inline]
    pub(crate) fn outbound(&self) -> Info<'_> {
        // SAFETY: The reference shows that the channel is valid.
        unsafe { Info::from_raw(&raw mut (*self.as_raw()).outbound) }
    }

    /// The ring from the host.
    #[inline]
    pub(crate) fn inbound(&self) -> Info<'_> {
        // SAFETY: The reference shows that the channel is valid.
        unsafe { Info::from_raw(&raw mut (*self.as_raw()).inbound) }
    }

    #[inline]
    pub(crate) fn counters(&self) -> Counters<'_> {
        Counters(self)
    }

    /// The buffer into which packets are copied: where it is, and its bytes.
    ///
    /// # Safety
    ///
    /// The channel's rings must not be detached, and nobody else may use the buffer, during `'r`.
    #[inline]
    pub(super) unsafe fn packet_buffer<'r>(&self) -> (*mut u8, &'r mut [u8]) {
        // SAFETY: The reference shows that the channel is valid.
        let start = unsafe { (*self.as_raw()).inbound.pkt_buffer }.cast::<u8>();
        if start.is_null() {
            return (start, &mut []);
        }
        // SAFETY: As above.
        let size = unsafe { (*self.as_raw()).inbound.pkt_buffer_size };

        // SAFETY: What is attached has so many bytes, and by the safety requirements it stays so
        // and is the caller's.
        let buffer = unsafe { core::slice::from_raw_parts_mut(start, size as usize) };
        (start, buffer)
    }

    /// The delays that a test wants.
    pub(crate) fn knobs(&self) -> Knobs<'_> {
        // SAFETY: The reference shows that the channel is valid.
        let on = unsafe { &raw mut (*self.as_raw()).fuzz_testing_state };

        Knobs {
            // SAFETY: The field lives as long as the channel. A `bool` is a byte, into which
            // nobody writes anything but 0 and 1.
            on: unsafe { SysMem::new(on.cast()) },
            interrupt: word!(self, fuzz_testing_interrupt_delay),
            message: word!(self, fuzz_testing_message_delay),
        }
    }

    fn has_ring(&self) -> bool {
        // SAFETY: The reference shows that the channel is valid. A word is read as a whole.
        unsafe {
            !(&raw const (*self.as_raw()).outbound.ring_buffer)
                .read_volatile()
                .is_null()
        }
    }

    /// The size of the largest packet that the driver takes.
    fn packet_size(&self) -> usize {
        let size = word!(self, max_pkt_size);

        if size.read_val() == 0 {
            size.write_val(bindings::VMBUS_DEFAULT_MAX_PKT_SIZE);
        }
        size.read_val() as usize
    }

    /// Says where the rings are, for those who map them into user space: their first page if they
    /// are in one piece, how many pages both have, and how many the one to the host has.
    pub(crate) fn show_ring(
        &self,
        block: Option<NonNull<bindings::page>>,
        pages: usize,
        send: usize,
    ) {
        let block = block.map_or(core::ptr::null_mut(), NonNull::as_ptr);

        // SAFETY: The reference shows that the channel is valid. A word is written as a whole.
        unsafe { (&raw mut (*self.as_raw()).ringbuffer_page).write_volatile(block) };
        // CAST: A ring is small enough for that.
        word!(self, ringbuffer_pagecount).write_val(pages as u32);
        word!(self, ringbuffer_send_offset).write_val(send as u32);
    }

    /// Reads from the channel, and does afterwards what is due. Returns [`None`] if there is no
    /// ring, or none any more.
    ///
    /// # Safety
    ///
    /// The channel's rings must not be detached meanwhile, and nobody else may read from it.
    #[inline]
    pub(crate) unsafe fn read<R>(&self, f: impl FnOnce(&mut Reader<'_>) -> R) -> Option<R> {
        let inbound = self.inbound();
        // SAFETY: By the safety requirements it stays attached.
        let ring = unsafe { inbound.ring() }?;
        let mut reader = Reader::new(
            ring,
            self.private.cursor(),
            word!(self, inbound.priv_read_index),
        );

        let result = f(&mut reader);
        let outcome = reader.finish();
        if outcome.report {
            warn_limited!(
                "channel {}: the host has written nonsense into its ring\n",
                self.relid()
            );
        }
        if outcome.spoilt {
            inbound.abandon();
        }
        if outcome.signal {
            self.counters().count_in_full();
            hw::interrupt::signal(self);
        }
        Some(result)
    }

    /// Says that no interrupts are wanted while packets are read. Any context.
    ///
    /// # Safety
    ///
    /// The channel's rings must not be detached meanwhile: an open channel's are not while its
    /// callback is set, which `sched_lock` guards, or runs.
    #[inline]
    pub(crate) unsafe fn begin_read(&self) {
        // SAFETY: By the safety requirements it stays attached.
        if let Some(ring) = unsafe { self.inbound().ring() } {
            ring.mask();
        }
    }

    /// Says that interrupts are wanted again. Returns whether there are packets that came without
    /// one: begin again then. Any context.
    ///
    /// What was read is our own index: the host can write the one in the ring.
    ///
    /// # Safety
    ///
    /// As for [`Channel::begin_read`].
    #[inline]
    pub(crate) unsafe fn end_read(&self) -> bool {
        // SAFETY: By the safety requirements it stays attached. This changes nothing that another
        // reader could rely on.
        let more = unsafe { self.read(|reader| reader.unmask()) };

        more == Some(true)
    }

    /// The requests under way, locked. Any context but NMI.
    pub(crate) fn requests(&self) -> Requests<'_> {
        // SAFETY: The lock was initialized with the channel, and lives as long.
        let lock = unsafe { SpinLockIrq::from_raw(&raw mut (*self.as_raw()).requestor.req_lock) };

        Requests {
            channel: self,
            _guard: lock.lock(),
        }
    }

    /// Does something with the requests under way, for those who hold their lock.
    ///
    /// # Safety
    ///
    /// The caller must hold `requestor.req_lock`, and have no reference to them.
    pub(super) unsafe fn with_requests<R>(&self, f: impl FnOnce(&mut Table) -> R) -> Option<R> {
        // SAFETY: By the safety requirements nobody else accesses it.
        unsafe { &mut *self.private.requests.get() }.as_mut().map(f)
    }

    /// How many requests the driver wants to have under way at once; 0 if it makes ids itself.
    pub(crate) fn request_limit(&self) -> u32 {
        word!(self, rqstor_size).read_val()
    }

    /// Says how many requests there can be.
    pub(crate) fn show_request_limit(&self, limit: u32) {
        word!(self, requestor.size).write_val(limit);
    }

    /// Has the driver, or this one for it, make an id for a request; [`None`] if it does not.
    ///
    /// Called under the lock of the ring to the host. Returns [`EAGAIN`] if there are too many.
    #[inline]
    pub(crate) fn new_request(&self, request: u64) -> Result<Option<u64>> {
        // SAFETY: The reference shows that the channel is valid. Drivers set this before they open
        // the channel.
        let Some(hook) = (unsafe { (*self.as_raw()).next_request_id_callback }) else {
            return Ok(None);
        };

        // Most drivers take the one of this driver: an indirect call less.
        if core::ptr::fn_addr_eq(hook, vmbus_next_request_id as NextRequestId) {
            return requestor::insert(self, request);
        }
        // SAFETY: The driver has set this hook for its channel.
        match unsafe { hook(self.as_raw(), request) } {
            requestor::NONE => Ok(None),
            requestor::ERROR => Err(EAGAIN),
            id => Ok(Some(id)),
        }
    }

    /// Takes a request back that will not be answered.
    #[cold]
    pub(crate) fn cancel_request(&self, id: u64, request: u64) {
        // SAFETY: As for `new_request()`.
        let Some(hook) = (unsafe { (*self.as_raw()).request_addr_callback }) else {
            return;
        };

        if core::ptr::fn_addr_eq(hook, vmbus_request_addr as RequestAddr) {
            // Not another one that has got the id since.
            requestor::take(self, id, Some(request));
        } else {
            // SAFETY: The driver has set this hook for its channel.
            unsafe { hook(self.as_raw(), id) };
        }
    }
}

type NextRequestId = unsafe extern "C" fn(*mut bindings::vmbus_channel, u64) -> u64;
type RequestAddr = unsafe extern "C" fn(*mut bindings::vmbus_channel, u64) -> u64;

/// The requests of a channel that are under way, locked.
pub(crate) struct Requests<'a> {
    channel: &'a Channel,
    _guard: SpinLockIrqGuard<'a, ()>,
}

impl Requests<'_> {
    /// The table, while the channel is open and the driver wants one.
    #[inline]
    pub(crate) fn table(&mut self) -> &mut Option<Table> {
        // SAFETY: The lock is held, and this is the only way to the table from the guard.
        unsafe { &mut *self.channel.private.requests.get() }
    }
}
