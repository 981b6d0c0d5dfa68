// SPDX-License-Identifier: GPL-2.0

//! CPU hotplug callbacks.
//!
//! C header: [`include/linux/cpuhotplug.h`](srctree/include/linux/cpuhotplug.h)

use crate::{
    bindings,
    container_of,
    cpu::CpuId,
    error::{
        from_result,
        to_result, //
    },
    new_mutex,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomPinned,
    ptr::NonNull, //
};

/// What is done when a CPU comes and goes.
///
/// Both functions run in process context on the CPU that they are about, with the CPU hotplug lock
/// held. They may sleep, but must neither take that lock nor add or remove callbacks.
pub trait Callbacks: Send + Sync + 'static {
    /// The CPU came online, or was online already when the callbacks were registered.
    ///
    /// An error takes the CPU offline again, or makes the registration fail.
    fn online(&self, cpu: CpuId) -> Result;

    /// The CPU is going offline, or the registration is.
    ///
    /// An error keeps the CPU online if `cause` is [`Cause::Cpu`]; it is ignored otherwise.
    fn offline(&self, cpu: CpuId, cause: Cause) -> Result;
}

/// Why [`Callbacks::offline`] is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The CPU is taken offline. This can be refused.
    Cpu,
    /// The callbacks are being removed, or could not be registered for all CPUs.
    Removal,
}

/// Callbacks that are registered for the dynamic part of the online section.
///
/// The registration calls [`Callbacks::online`] on all CPUs that are online. When it is removed or
/// dropped, [`Callbacks::offline`] is called on all CPUs that are online then.
///
/// # Invariants
///
/// If there is a `state`, it is a multi-instance state of this registration alone, and `node` is its
/// only instance.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Callbacks> {
    #[pin]
    node: Opaque<bindings::hlist_node>,
    #[pin]
    callbacks: T,
    /// Whether a CPU may be kept online.
    settled: Atomic<bool>,
    #[pin]
    state: Mutex<Option<bindings::cpuhp_state>>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: All methods can be called from any thread, and the callbacks are `Send`.
unsafe impl<T: Callbacks> Send for Registration<T> {}

// SAFETY: All methods can be called from several threads at once, and the callbacks are `Sync`.
unsafe impl<T: Callbacks> Sync for Registration<T> {}

impl<T: Callbacks> Registration<T> {
    /// Registers `callbacks`. `name` appears in `/sys/devices/system/cpu/hotplug/states`.
    ///
    /// The initialiser may sleep, and must not run with the CPU hotplug lock held. It fails with
    /// what [`Callbacks::online`] fails with.
    pub fn new(
        name: &'static CStr,
        callbacks: impl PinInit<T, Error>,
    ) -> impl PinInit<Self, Error> {
        // INVARIANT: `Self::register()` sets `state` once it has one.
        try_pin_init!(&this in Self {
            node: Opaque::zeroed(),
            callbacks <- callbacks,
            settled: Atomic::new(false),
            state <- new_mutex!(None, "cpuhp::Registration::state"),
            _pin: PhantomPinned,
            _: {
                // SAFETY: All fields are initialised, and the memory is pinned.
                unsafe { Self::register(this, name) }?;
            },
        })
    }

    /// The callbacks.
    pub fn callbacks(&self) -> &T {
        &self.callbacks
    }

    /// Registers what `this` points to.
    ///
    /// # Safety
    ///
    /// `this` must point to a pinned value, all of whose fields are initialised, that has no state.
    unsafe fn register(this: NonNull<Self>, name: &'static CStr) -> Result {
        // SAFETY: By the safety requirements `this` is valid; it is only shared from now on.
        let this = unsafe { this.as_ref() };

        // CAST: Callbacks of multi-instance states are passed like this; the state is made one by
        // the last argument, so they are called with the node as well.
        // SAFETY: Both are pointers to functions.
        let startup = unsafe { core::mem::transmute::<Multi, Single>(Self::startup) };
        // SAFETY: As above.
        let teardown = unsafe { core::mem::transmute::<Multi, Single>(Self::teardown) };

        // SAFETY: `name` and the functions are there for good.
        let state = unsafe {
            bindings::__cpuhp_setup_state(
                bindings::cpuhp_state_CPUHP_AP_ONLINE_DYN,
                name.as_char_ptr(),
                false,
                Some(startup),
                Some(teardown),
                true,
            )
        };
        to_result(state)?;

        // SAFETY: The state takes instances; the node is pinned, in no list, and removed from this
        // one before it goes.
        let added = to_result(unsafe {
            bindings::__cpuhp_state_add_instance(state, this.node.get(), true)
        });

        if let Err(error) = added {
            // SAFETY: The state is our own, and has no instance.
            unsafe { bindings::__cpuhp_remove_state(state, false) };
            return Err(error);
        }

        this.settled.store(true, Relaxed);
        *this.state.lock() = Some(state);
        Ok(())
    }

    /// Removes the callbacks, if that was not done before. They do not run any more after this.
    ///
    /// May sleep, and must not be called with the CPU hotplug lock held.
    pub fn remove(&self) {
        let mut guard = self.state.lock();
        let Some(state) = guard.take() else {
            return;
        };
        self.settled.store(false, Relaxed);

        // SAFETY: By the type invariants the node is an instance of the state; nobody else removes
        // it.
        unsafe { bindings::__cpuhp_state_remove_instance(state, self.node.get(), true) };
        // SAFETY: The state is our own, and has no instance any more.
        unsafe { bindings::__cpuhp_remove_state(state, false) };
    }

    /// # Safety
    ///
    /// `node` must be the node of a registration that is valid during the call, and `cpu` the
    /// number of a CPU.
    unsafe extern "C" fn startup(cpu: c_uint, node: *mut bindings::hlist_node) -> c_int {
        // SAFETY: By the safety requirements `node` is part of a registration.
        let this =
            unsafe { &*container_of!(node.cast::<Opaque<bindings::hlist_node>>(), Self, node) };
        // SAFETY: By the safety requirements.
        let cpu = unsafe { CpuId::from_u32_unchecked(cpu) };

        from_result(|| this.callbacks.online(cpu).map(|()| 0))
    }

    /// # Safety
    ///
    /// As for [`Self::startup`].
    unsafe extern "C" fn teardown(cpu: c_uint, node: *mut bindings::hlist_node) -> c_int {
        // SAFETY: By the safety requirements `node` is part of a registration.
        let this =
            unsafe { &*container_of!(node.cast::<Opaque<bindings::hlist_node>>(), Self, node) };
        // SAFETY: By the safety requirements.
        let cpu = unsafe { CpuId::from_u32_unchecked(cpu) };

        if this.settled.load(Relaxed) {
            from_result(|| this.callbacks.offline(cpu, Cause::Cpu).map(|()| 0))
        } else {
            // The caller takes an error for a bug.
            let _ = this.callbacks.offline(cpu, Cause::Removal);
            0
        }
    }
}

type Single = unsafe extern "C" fn(c_uint) -> c_int;
type Multi = unsafe extern "C" fn(c_uint, *mut bindings::hlist_node) -> c_int;

#[pinned_drop]
impl<T: Callbacks> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        self.remove();
    }
}
