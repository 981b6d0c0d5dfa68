// SPDX-License-Identifier: GPL-2.0

//! The platform driver that finds the bus.
//!
//! Firmware describes VMBus as one device, by ACPI (`VMBUS`, `VMBus`) or in the device tree
//! (`microsoft,vmbus`). That device is the parent of everything on the bus. It, or a device that
//! it is part of, names the address windows that pass-through devices and the frame buffer lie in.
//!
//! The device is only looked at when the driver binds to it. The connection is made afterwards,
//! by [`Registration::new`], and is not undone when the device is unbound: the drivers on the bus
//! are other modules, which depend on this one and not on a device.
//!
//! C source: `drivers/hv/vmbus_drv.c`, `hv_acpi_init()` and what it registers.

use crate::{
    abi::plat::{
        self,
        Description,
        Resource, //
    },
    mmio::{
        self,
        Pool,
        Range, //
    },
    power, //
};
use kernel::{
    acpi,
    bindings,
    device,
    driver,
    fmt,
    of,
    platform,
    pm,
    prelude::*,
    ThisModule, //
};

#[cfg(not(CONFIG_X86))]
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// The interrupt of the bus: Linux's number.
#[cfg(not(CONFIG_X86))]
static IRQ: Atomic<u32> = Atomic::new(0);
/// The same: what the interrupt controller calls it.
#[cfg(not(CONFIG_X86))]
static HWIRQ: Atomic<u32> = Atomic::new(0);

/// Whether this machine has a use for the bus.
///
/// The root partition of a hypervisor that is not nested has none, but other modules may depend
/// on this one there. Fails with `ENODEV` if this is no guest on Hyper-V.
pub(crate) fn is_needed() -> Result<bool> {
    if !plat::on_hyperv() {
        return Err(ENODEV);
    }
    Ok(!plat::is_root_partition())
}

/// The parent of all devices on the bus. Any context.
///
/// Not null, and valid, as long as there is a [`Registration`].
pub(crate) fn root() -> *mut bindings::device {
    plat::root()
}

/// A per-CPU interrupt.
#[cfg(not(CONFIG_X86))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupt {
    /// Linux's number, which never is 0.
    pub(crate) irq: u32,
    /// What the interrupt controller, and thus the hypervisor, calls it.
    pub(crate) hwirq: u32,
}

/// The interrupt of the bus, where the architecture has no vector for it. Any context.
///
/// If firmware says nothing about one, this is 0, which cannot be requested.
#[cfg(not(CONFIG_X86))]
pub(crate) fn interrupt() -> Interrupt {
    Interrupt {
        irq: IRQ.load(Relaxed),
        hwirq: HWIRQ.load(Relaxed),
    }
}

/// The bus was found and is connected; undone in the opposite order when this is dropped.
pub(crate) struct Registration {
    _connected: crate::Connected,
    _driver: Pin<KBox<driver::Registration<platform::Adapter<Parent>>>>,
    _state: plat::State,
}

impl Registration {
    /// Looks for the bus, and connects to it. May sleep, for as long as the host takes to answer.
    ///
    /// Fails with `ENODEV` if there is none, or as [`crate::connect`] does.
    ///
    /// # Safety
    ///
    /// To be called once in the life of the module, by its initialisation.
    pub(crate) unsafe fn new(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: As for this function.
        let state = unsafe { plat::State::new() };
        let driver = KBox::pin_init(driver::Registration::new(c"vmbus", module), GFP_KERNEL)?;

        // Probing was synchronous.
        if root().is_null() {
            return Err(ENODEV);
        }
        Ok(Self {
            _connected: crate::connect()?,
            _driver: driver,
            _state: state,
        })
    }
}

/// The driver of the bus's device.
struct Parent;

kernel::acpi_device_table!(
    ACPI_TABLE,
    <Parent as platform::Driver>::IdInfo,
    [
        (acpi::DeviceId::new(c"VMBUS"), ()),
        (acpi::DeviceId::new(c"VMBus"), ()),
    ]
);

kernel::of_device_table!(
    OF_TABLE,
    <Parent as platform::Driver>::IdInfo,
    [(of::DeviceId::new(c"microsoft,vmbus"), ())]
);

impl platform::Driver for Parent {
    type IdInfo = ();
    type Data<'bound> = Self;

    const ACPI_ID_TABLE: Option<acpi::IdTable<Self::IdInfo>> = Some(&ACPI_TABLE);
    const OF_ID_TABLE: Option<of::IdTable<Self::IdInfo>> = Some(&OF_TABLE);
    const PM_OPS: Option<&'static pm::Ops> = Some(&power::BUS_PM);
    const PROBE_SYNCHRONOUS: bool = true;

    fn probe<'bound>(
        pdev: &'bound platform::Device<device::Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        look_at(pdev).map(|()| Self)
    }
}

/// Notes what the bus needs to know about its device.
///
/// What was noted stays when the device is unbound, since grants of the pool do. So there is
/// nothing to do when it is bound again.
fn look_at(pdev: &platform::Device<device::Core<'_>>) -> Result {
    let description = Description::new(pdev)?;
    let mut pool = plat::POOL.lock();

    if pool.is_empty() {
        if let Err(error) = gather(&description, &mut pool) {
            *pool = Pool::new();
            return Err(error);
        }
    }
    plat::State::set_root(description.device())
}

/// Collects the windows of the bus and its interrupt.
fn gather(description: &Description, pool: &mut Pool) -> Result {
    let note = |pool: &mut Pool, resource| {
        match resource {
            Resource::Window(window) if description.is_exact() => pool.add(window)?,
            Resource::Window(window) => {
                if let Some(window) = mmio::usable(window) {
                    pool.add(window)?;
                }
            }
            #[cfg(not(CONFIG_X86))]
            Resource::Interrupt { irq, hwirq } => {
                HWIRQ.store(hwirq, Relaxed);
                IRQ.store(irq, Relaxed);
            }
        }
        Ok(())
    };

    description.for_each_resource(|resource| note(pool, resource))?;

    // One of the devices that the bus is part of has the windows. A virtual machine without any
    // has no devices that need them.
    let mut ancestor = description.parent();
    while let Some(node) = ancestor {
        let said = node.for_each_resource(|resource| note(pool, resource));

        if matches!(said, Ok(true)) && !pool.is_empty() {
            reserve_framebuffer(pool);
            break;
        }
        ancestor = node.parent();
    }
    Ok(())
}

fn reserve_framebuffer(pool: &mut Pool) {
    // The bus works without it, and what was reserved is told.
    let _ = pool.reserve_framebuffer(plat::framebuffer());

    let mut windows = pool.windows().iter().copied();
    pr_info!(
        "hv_mmio={},{} fb={}\n",
        Shown(windows.next()),
        Shown(windows.next()),
        Shown(pool.framebuffer())
    );
}

/// Prints a range that there may not be as C's `%pR` does.
struct Shown(Option<Range>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(range) => range.fmt(f),
            None => f.write_str("(null)"),
        }
    }
}
