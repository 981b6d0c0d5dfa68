// SPDX-License-Identifier: GPL-2.0

//! The C side of the platform: the exported functions that have to do with the bus's parent device
//! and its MMIO ranges, what firmware says about them, and the processors of the machine.

mod firmware;

pub(crate) use firmware::{
    framebuffer,
    Description,
    Resource, //
};

use crate::mmio::{
    Pool,
    Range,
    Request, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    device,
    error::to_result,
    pm,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        global_lock, //
    },
};

/// The parent device; this holds a reference to it. NULL until one was found.
static ROOT: Atomic<*mut bindings::device> = Atomic::new(ptr::null_mut());

/// What [`vmbus_set_skip_unload`] was told.
static SKIP_UNLOAD: Atomic<bool> = Atomic::new(false);

global_lock! {
    // SAFETY: `State::new()` initialises it before there is a parent device, and nothing looks
    // into it before that.
    pub(crate) unsafe(uninit) static POOL: Mutex<Pool> = Pool::new();
}

global_lock! {
    // SAFETY: `State::new()` initialises it before there is a parent device, hence before there
    // are channels.
    pub(crate) unsafe(uninit) static SPREAD: Mutex<crate::affinity::Spread> =
        crate::affinity::Spread::new();
}

/// Owns what the statics of this file hold, and empties them.
pub(crate) struct State(());

impl State {
    /// Makes the statics ready.
    ///
    /// # Safety
    ///
    /// To be called once in the life of the module, by its initialisation.
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: According to the requirements of this function it was not called before.
        unsafe { POOL.init() };
        // SAFETY: As above.
        unsafe { SPREAD.init() };
        Self(())
    }

    /// Makes `root` the parent device. Fails with `EBUSY` if there is another one.
    pub(crate) fn set_root(root: ARef<device::Device>) -> Result {
        let new = ARef::into_raw(root).as_ptr().cast::<bindings::device>();

        match ROOT.cmpxchg(ptr::null_mut(), new, Release) {
            Ok(_) => Ok(()),
            Err(old) => {
                // SAFETY: It is the reference that was passed in.
                unsafe { bindings::put_device(new) };
                // The device may be bound again.
                if old == new {
                    Ok(())
                } else {
                    Err(EBUSY)
                }
            }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        *POOL.lock() = Pool::new();
        *SPREAD.lock() = crate::affinity::Spread::new();

        let root = ROOT.xchg(ptr::null_mut(), Relaxed);
        if !root.is_null() {
            // SAFETY: `ROOT` owned the reference. Other modules, which may have asked for the
            // device, depend on this one and are gone.
            unsafe { bindings::put_device(root) };
        }
    }
}

/// Whether a driver of a frame buffer unloads the bus itself when the kernel panics. Any context.
pub(crate) fn skip_unload() -> bool {
    SKIP_UNLOAD.load(Relaxed)
}

/// The device of the bus, null if there is none. Any context.
pub(crate) fn root() -> *mut bindings::device {
    ROOT.load(Acquire)
}

/// C: `hv_get_vmbus_root_device()`. The caller borrows the device, as long as it depends on this
/// module.
///
/// # Safety
///
/// There is nothing to be kept. It is unsafe as what C declares is, which old compilers want.
#[export]
pub(crate) unsafe extern "C" fn hv_get_vmbus_root_device() -> *mut bindings::device {
    root()
}

/// C: `hv_vmbus_exists()`.
///
/// # Safety
///
/// There is nothing to be kept. It is unsafe as what C declares is, which old compilers want.
#[export]
pub(crate) unsafe extern "C" fn hv_vmbus_exists() -> bool {
    !root().is_null()
}

/// C: `vmbus_set_skip_unload()`.
///
/// # Safety
///
/// There is nothing to be kept. It is unsafe as what C declares is, which old compilers want.
#[export]
pub(crate) unsafe extern "C" fn vmbus_set_skip_unload(skip: bool) {
    SKIP_UNLOAD.store(skip, Relaxed);
}

/// C: `vmbus_allocate_mmio()`. May sleep.
///
/// Other than in C, what is returned lies between `min` and `max`, both of them included, as the
/// callers expect.
///
/// # Safety
///
/// `new` can be written to; `device_obj` has a name that lives until `vmbus_free_mmio()`.
#[export]
pub(crate) unsafe extern "C" fn vmbus_allocate_mmio(
    new: *mut *mut bindings::resource,
    device_obj: *mut bindings::hv_device,
    min: bindings::resource_size_t,
    max: bindings::resource_size_t,
    size: bindings::resource_size_t,
    align: bindings::resource_size_t,
    fb_overlap_ok: bool,
) -> c_int {
    let Some(within) = Range::new(min, max) else {
        return EINVAL.to_errno();
    };
    if ROOT.load(Acquire).is_null() {
        return ENXIO.to_errno();
    }
    // SAFETY: The device is valid, says the caller.
    let name = unsafe { bindings::dev_name(&raw const (*device_obj).device) };
    let request = Request {
        within,
        size,
        align,
        framebuffer_ok: fb_overlap_ok,
    };

    let granted = POOL.lock().allocate(&request, |range| {
        // SAFETY: The name lives long enough, says the caller.
        unsafe { claim(range, name) }
    });

    match granted {
        Ok(resource) => {
            // SAFETY: The caller says that it can be written to.
            unsafe { new.write(resource.as_ptr()) };
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// C: `vmbus_free_mmio()`. May sleep.
///
/// # Safety
///
/// The range came from `vmbus_allocate_mmio()`, and nobody uses it any more.
#[export]
pub(crate) unsafe extern "C" fn vmbus_free_mmio(
    start: bindings::resource_size_t,
    size: bindings::resource_size_t,
) {
    let Some(range) = Range::with_size(start, size) else {
        pr_warn!(
            "mmio: {:#x} bytes at {:#x} were never granted\n",
            size,
            start
        );
        return;
    };
    if ROOT.load(Acquire).is_null() {
        return;
    }

    let mut pool = POOL.lock();

    if !pool.free(range) {
        pr_warn!("mmio: {} was never granted\n", range);
        return;
    }
    // SAFETY: The range was claimed by `claim()`.
    unsafe { bindings::__release_region(&raw mut bindings::iomem_resource, start, size) };
}

/// Claims `range` in the kernel's resource tree, so that neither another driver nor user space
/// gets at it.
///
/// # Safety
///
/// `name` is a C string that lives until the range is released.
unsafe fn claim(range: Range, name: *const c_char) -> Option<NonNull<bindings::resource>> {
    // SAFETY: The tree of memory is always there; the name outlives the claim.
    NonNull::new(unsafe {
        bindings::__request_region(
            &raw mut bindings::iomem_resource,
            range.first(),
            range.size(),
            name,
            bindings::IORESOURCE_EXCLUSIVE as c_int,
        )
    })
}

/// Whether this is a guest on Hyper-V, with a hypercall page that works.
pub(crate) fn on_hyperv() -> bool {
    // SAFETY: It can be called at any time.
    unsafe { bindings::hv_is_hyperv_initialized() }
}

/// Whether this is the root partition of the hypervisor that runs on the hardware itself.
pub(crate) fn is_root_partition() -> bool {
    // SAFETY: It can be called at any time.
    let root = unsafe { bindings::hv_root_partition() };

    // SAFETY: Early boot writes it, nothing else does.
    root && !unsafe { bindings::hv_nested }
}

/// The processors that are online and may serve managed interrupts, with their NUMA nodes.
///
/// They stay online as long as the caller holds `cpus_read_lock()`.
pub(crate) fn housekeeping_cpus() -> impl Iterator<Item = (u32, u32)> {
    online_cpus()
        .filter(|cpu| {
            // SAFETY: The processor is a possible one.
            unsafe {
                bindings::housekeeping_test_cpu(
                    (*cpu).into(),
                    bindings::hk_type_HK_TYPE_MANAGED_IRQ,
                )
            }
        })
        .map(|cpu| {
            // SAFETY: The processor is a possible one.
            let node = unsafe { bindings::cpu_to_node(cpu.into()) };

            // Without NUMA, or without a word of firmware, there is no node: -1.
            (cpu.as_u32(), u32::try_from(node).unwrap_or(0))
        })
}

/// The processors that are online.
pub(crate) fn online_cpus() -> impl Iterator<Item = CpuId> {
    (0..nr_cpu_ids())
        .filter_map(CpuId::from_u32)
        // SAFETY: The processor is a possible one.
        .filter(|cpu| unsafe { bindings::cpu_online(cpu.as_u32()) })
}

/// The number of NUMA nodes that there can be, at least 1.
pub(crate) fn nodes() -> u32 {
    #[cfg(CONFIG_NUMA)]
    // SAFETY: Early boot writes it, nothing else does.
    let nodes = unsafe { bindings::nr_node_ids };
    #[cfg(not(CONFIG_NUMA))]
    let nodes = 1;

    nodes.max(1)
}

/// A random number below `ceiling`; 0 if that is 0.
pub(crate) fn random_below(ceiling: u32) -> u32 {
    if ceiling <= 1 {
        return 0;
    }
    // SAFETY: It can be called in any context.
    unsafe { bindings::get_random_u32_below(ceiling) }
}

/// The power management of the devices on the bus, for the operations of our bus type only.
pub(crate) struct DevicePm;

#[vtable]
impl pm::Hibernate for DevicePm {
    /// Fails with `EOPNOTSUPP` if the driver cannot suspend a device, as many cannot: the system
    /// does not hibernate then.
    fn quiesce(dev: &device::Device) -> Result {
        let locked = Locked::new(dev);
        let Some((driver, dev)) = with_driver(&locked) else {
            return Ok(());
        };
        // SAFETY: A driver that is bound is alive.
        let suspend = unsafe { (*driver).suspend }.ok_or(EOPNOTSUPP)?;

        // SAFETY: The device is bound to this driver.
        to_result(unsafe { suspend(dev) })
    }

    fn restart(dev: &device::Device) -> Result {
        let locked = Locked::new(dev);
        let Some((driver, dev)) = with_driver(&locked) else {
            return Ok(());
        };
        // SAFETY: As above.
        let resume = unsafe { (*driver).resume }.ok_or(EOPNOTSUPP)?;

        // SAFETY: As above.
        to_result(unsafe { resume(dev) })
    }
}

/// A device on our bus whose lock is held: drivers are neither bound to it nor unbound.
///
/// Without it the host could have a device taken from its driver while that suspends or resumes it:
/// power management waits for probes, and not for the host.
struct Locked<'a>(&'a device::Device);

impl<'a> Locked<'a> {
    /// May sleep, as long as a driver takes to be unbound.
    fn new(dev: &'a device::Device) -> Self {
        // SAFETY: The device is valid.
        unsafe { bindings::device_lock(as_raw(dev)) };
        Self(dev)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: The lock is ours.
        unsafe { bindings::device_unlock(as_raw(self.0)) };
    }
}

/// The driver that a device is bound to, and the device, as C sees them.
///
/// [`None`] if there is no driver.
fn with_driver(
    locked: &Locked<'_>,
) -> Option<(*mut bindings::hv_driver, *mut bindings::hv_device)> {
    let dev = as_raw(locked.0);
    // SAFETY: The device is valid; as its lock is held its driver does not change.
    let driver = unsafe { (*dev).driver };

    if driver.is_null() {
        return None;
    }
    // SAFETY: Drivers on this bus are registered by `__vmbus_driver_register()` only, as part of
    // a `struct hv_driver`.
    let driver = unsafe { kernel::container_of!(driver, bindings::hv_driver, driver) };
    // SAFETY: All devices on this bus are part of a `struct hv_device`.
    let dev = unsafe { kernel::container_of!(dev, bindings::hv_device, device) };

    Some((driver, dev))
}

/// The C structure of a device.
fn as_raw(dev: &device::Device) -> *mut bindings::device {
    // CAST: A `Device` is a `struct device`, and its content is opaque to Rust.
    ptr::from_ref(dev).cast_mut().cast()
}
