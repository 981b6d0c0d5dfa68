// SPDX-License-Identifier: GPL-2.0

//! What ACPI, the device tree and the loader of the kernel say about the bus.

use crate::mmio::{
    Firmware,
    Range, //
};
use kernel::{
    bindings,
    device,
    platform,
    prelude::*,
    sync::aref::ARef, //
};

/// A resource of the bus's device, or of a device that it is part of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource {
    /// An address window of the bus.
    Window(Range),
    /// The interrupt of the bus, where the architecture has no vector for it: Linux's number and
    /// that of the interrupt controller.
    #[cfg(not(CONFIG_X86))]
    Interrupt { irq: u32, hwirq: u32 },
}

/// A node in what firmware describes.
pub(crate) enum Description {
    /// A device of ACPI.
    #[cfg(CONFIG_ACPI)]
    Acpi(acpi::Node),
    /// The bus in the device tree.
    #[cfg(CONFIG_OF_ADDRESS)]
    DeviceTree(of::Node),
}

impl Description {
    /// What firmware says about `pdev`. Fails with `ENODEV` if that is nothing.
    pub(crate) fn new(pdev: &platform::Device<device::Core<'_>>) -> Result<Self> {
        #[cfg(CONFIG_ACPI)]
        if let Some(node) = acpi::Node::new(pdev.as_ref()) {
            return Ok(Self::Acpi(node));
        }
        #[cfg(CONFIG_OF_ADDRESS)]
        if let Some(node) = of::Node::new(pdev) {
            return Ok(Self::DeviceTree(node));
        }
        let _ = pdev;
        Err(ENODEV)
    }

    /// The device that is the parent of all devices on the bus.
    pub(crate) fn device(&self) -> ARef<device::Device> {
        match *self {
            #[cfg(CONFIG_ACPI)]
            Self::Acpi(ref node) => node.device(),
            #[cfg(CONFIG_OF_ADDRESS)]
            Self::DeviceTree(ref node) => node.device(),
        }
    }

    /// The node that has this one as a part; [`None`] at the top.
    ///
    /// In the device tree all that the bus needs is said by its own node.
    pub(crate) fn parent(&self) -> Option<Self> {
        match *self {
            #[cfg(CONFIG_ACPI)]
            Self::Acpi(ref node) => node.parent().map(Self::Acpi),
            #[cfg(CONFIG_OF_ADDRESS)]
            Self::DeviceTree(_) => None,
        }
    }

    /// Whether windows are described as they are meant to be used.
    ///
    /// ACPI describes what belongs to the whole virtual machine.
    pub(crate) fn is_exact(&self) -> bool {
        match *self {
            #[cfg(CONFIG_ACPI)]
            Self::Acpi(_) => false,
            #[cfg(CONFIG_OF_ADDRESS)]
            Self::DeviceTree(_) => true,
        }
    }

    /// Calls `visit` with each resource of this node. May sleep.
    ///
    /// Returns whether the node says anything about resources. Fails with what `visit` failed with,
    /// or if the resources cannot be read.
    pub(crate) fn for_each_resource(&self, visit: impl FnMut(Resource) -> Result) -> Result<bool> {
        match *self {
            #[cfg(CONFIG_ACPI)]
            Self::Acpi(ref node) => node.for_each_resource(visit),
            #[cfg(CONFIG_OF_ADDRESS)]
            Self::DeviceTree(ref node) => node.for_each_resource(visit),
        }
    }
}

#[cfg(CONFIG_ACPI)]
pub(crate) mod acpi {
    use super::*;
    use core::ptr::NonNull;

    const AE_OK: bindings::acpi_status = 0;
    const AE_ERROR: bindings::acpi_status = 1;
    const AE_NOT_FOUND: bindings::acpi_status = 5;

    /// A device of ACPI.
    ///
    /// # Invariants
    ///
    /// The pointer is valid as long as the driver is bound to the bus's device, which is below it;
    /// nothing keeps a node for longer.
    pub(crate) struct Node(NonNull<bindings::acpi_device>);

    impl Node {
        pub(super) fn new(dev: &device::Device) -> Option<Self> {
            // SAFETY: ACPI writes it in early boot only.
            if unsafe { bindings::acpi_disabled } != 0 {
                return None;
            }
            // SAFETY: The device is valid.
            let fwnode = unsafe { (*super::super::as_raw(dev)).fwnode };
            // SAFETY: A device's firmware node is NULL or valid.
            let node = unsafe { bindings::to_acpi_device_node(fwnode) };

            // INVARIANT: The companion of a device that is there is there, too.
            let node = Self(NonNull::new(node)?);
            node.be_coherent();
            Some(node)
        }

        /// Lets drivers ask the node itself, as the parent of their devices, about DMA.
        fn be_coherent(&self) {
            let adev = self.0.as_ptr();
            // SAFETY: The node is valid.
            let dev = unsafe { &raw mut (*adev).dev };
            // SAFETY: The node is valid.
            let fwnode = unsafe { bindings::acpi_fwnode_handle(adev) };

            // SAFETY: The device is part of the node that `fwnode` is part of, so that both live
            // equally long.
            unsafe { bindings::set_primary_fwnode(dev, fwnode) };

            // Hyper-V on arm64 did not always say that VMBus is coherent. It always was.
            #[cfg(CONFIG_ACPI_CCA_REQUIRED)]
            {
                // SAFETY: The device is valid.
                let attr = unsafe { bindings::device_get_dma_attr(dev) };

                if attr == bindings::dev_dma_attr_DEV_DMA_NOT_SUPPORTED {
                    pr_info!("No ACPI _CCA found; assuming coherent device I/O\n");
                    // SAFETY: The node is valid, and its children are not there yet, so that
                    // nobody else looks at its flags.
                    let flags = unsafe { &mut (*adev).flags };
                    flags.set_cca_seen(1);
                    flags.set_coherent_dma(1);
                }
            }
        }

        pub(super) fn device(&self) -> ARef<device::Device> {
            // SAFETY: The node is valid.
            let dev = unsafe { &raw mut (*self.0.as_ptr()).dev };

            // SAFETY: The device is valid, as its node is.
            unsafe { device::Device::get_device(dev) }
        }

        pub(super) fn parent(&self) -> Option<Self> {
            // SAFETY: The node is valid.
            let parent = NonNull::new(unsafe { bindings::acpi_dev_parent(self.0.as_ptr()) })?;
            // SAFETY: A node's parent is valid as long as the node is.
            let handle = unsafe { (*parent.as_ptr()).handle };

            // The root of the namespace: ACPI_ROOT_OBJECT.
            if handle.addr() == usize::MAX {
                return None;
            }
            // INVARIANT: A node's parent is valid as long as the node is.
            Some(Self(parent))
        }

        pub(super) fn for_each_resource(
            &self,
            visit: impl FnMut(Resource) -> Result,
        ) -> Result<bool> {
            let mut walk = Walk {
                visit,
                result: Ok(()),
            };
            // SAFETY: The node is valid.
            let handle = unsafe { (*self.0.as_ptr()).handle };
            // SAFETY: The callback gets what it expects; the name is not written to.
            let status = unsafe {
                bindings::acpi_walk_resources(
                    handle,
                    c"_CRS".as_char_ptr().cast_mut(),
                    Some(Walk::step(&walk.visit)),
                    (&raw mut walk).cast(),
                )
            };

            walk.result?;
            match status {
                AE_OK => Ok(true),
                AE_NOT_FOUND => Ok(false),
                _ => Err(ENODEV),
            }
        }
    }

    struct Walk<F> {
        visit: F,
        result: Result,
    }

    type Step =
        unsafe extern "C" fn(*mut bindings::acpi_resource, *mut c_void) -> bindings::acpi_status;

    impl<F: FnMut(Resource) -> Result> Walk<F> {
        /// The callback for a closure of this type, which has no name.
        fn step(_: &F) -> Step {
            Self::callback
        }

        /// Hands a resource to the closure.
        ///
        /// # Safety
        ///
        /// `resource` is valid; `context` is a `Walk` of this type that nothing else uses.
        unsafe extern "C" fn callback(
            resource: *mut bindings::acpi_resource,
            context: *mut c_void,
        ) -> bindings::acpi_status {
            // SAFETY: Required of the caller.
            let walk = unsafe { &mut *context.cast::<Self>() };

            // SAFETY: Required of the caller.
            walk.result = match unsafe { parse(resource) } {
                Ok(Some(resource)) => (walk.visit)(resource),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            match walk.result {
                Ok(()) => AE_OK,
                Err(_) => AE_ERROR,
            }
        }
    }

    /// Reads a resource; [`None`] if it is of no interest.
    ///
    /// Address windows are what a bus passes on. Plain memory is the registers of a device.
    ///
    /// # Safety
    ///
    /// `resource` is valid.
    unsafe fn parse(resource: *mut bindings::acpi_resource) -> Result<Option<Resource>> {
        // SAFETY: The caller says that it is valid.
        let kind = unsafe { (*resource).type_ };
        // SAFETY: As above; what is in there is packed, so any address is aligned.
        let data = unsafe { &raw mut (*resource).data };

        match kind {
            bindings::ACPI_RESOURCE_TYPE_ADDRESS32 => {
                // SAFETY: The type says that this is what is in the union.
                let window =
                    unsafe { &(*data.cast::<bindings::acpi_resource_address32>()).address };
                let (first, last) = (window.minimum, window.maximum);

                Ok(Range::new(first.into(), last.into()).map(Resource::Window))
            }
            bindings::ACPI_RESOURCE_TYPE_ADDRESS64 => {
                // SAFETY: The type says that this is what is in the union.
                let window =
                    unsafe { &(*data.cast::<bindings::acpi_resource_address64>()).address };
                let (first, last) = (window.minimum, window.maximum);

                Ok(Range::new(first, last).map(Resource::Window))
            }
            #[cfg(not(CONFIG_X86))]
            bindings::ACPI_RESOURCE_TYPE_EXTENDED_IRQ => {
                let mut linux = bindings::resource::default();

                // SAFETY: The caller says that the resource is valid; `linux` can be written to.
                if !unsafe { bindings::acpi_dev_resource_interrupt(resource, 0, &mut linux) } {
                    pr_err!("Unable to parse Hyper-V ACPI interrupt\n");
                    return Err(ENODEV);
                }
                let data = data.cast::<bindings::acpi_resource_extended_irq>();
                // SAFETY: The type says that this is what is in the union. It has at least one
                // number: the function above found it.
                let hwirq = unsafe { *(*data).__bindgen_anon_1.interrupt.as_ref() };

                Ok(Some(Resource::Interrupt {
                    irq: linux.start.try_into()?,
                    hwirq,
                }))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(CONFIG_OF_ADDRESS)]
pub(crate) mod of {
    use super::*;
    use core::mem::MaybeUninit;

    /// The bus in the device tree.
    ///
    /// # Invariants
    ///
    /// The device has a node in the device tree.
    pub(crate) struct Node {
        pdev: *mut bindings::platform_device,
        device: ARef<device::Device>,
    }

    impl Node {
        pub(super) fn new(pdev: &platform::Device<device::Core<'_>>) -> Option<Self> {
            let device: &device::Device = pdev.as_ref();

            // SAFETY: The device is valid.
            if unsafe { (*super::super::as_raw(device)).of_node }.is_null() {
                return None;
            }
            // INVARIANT: Just looked at.
            Some(Self {
                // CAST: A `platform::Device` is a `struct platform_device`.
                pdev: core::ptr::from_ref(pdev).cast_mut().cast(),
                device: device.into(),
            })
        }

        pub(super) fn device(&self) -> ARef<device::Device> {
            self.device.clone()
        }

        pub(super) fn for_each_resource(
            &self,
            mut visit: impl FnMut(Resource) -> Result,
        ) -> Result<bool> {
            let mut parser = MaybeUninit::<bindings::of_range_parser>::uninit();
            // SAFETY: The device is valid.
            let np = unsafe { (*super::super::as_raw(&self.device)).of_node };

            // SAFETY: The device has a node; the parser can be written to.
            kernel::error::to_result(unsafe {
                bindings::of_pci_range_parser_init(parser.as_mut_ptr(), np)
            })?;

            #[cfg(not(CONFIG_X86))]
            visit(self.interrupt()?)?;

            let mut range = bindings::of_pci_range::default();
            // SAFETY: The parser was initialised; the range can be written to.
            while !unsafe { bindings::of_pci_range_parser_one(parser.as_mut_ptr(), &mut range) }
                .is_null()
            {
                if let Some(range) = Range::with_size(range.cpu_addr, range.size) {
                    visit(Resource::Window(range))?;
                }
            }
            Ok(true)
        }

        #[cfg(not(CONFIG_X86))]
        fn interrupt(&self) -> Result<Resource> {
            // SAFETY: The driver is bound to the device, which is therefore valid.
            let irq = kernel::error::to_result(unsafe { bindings::platform_get_irq(self.pdev, 0) });
            let irq: u32 = irq?.try_into()?;
            // SAFETY: It can be called with any number.
            let data = unsafe { bindings::irq_get_irq_data(irq) };

            if data.is_null() {
                pr_err!("No interrupt data for VMBus virq {}\n", irq);
                return Err(ENODEV);
            }
            // SAFETY: The interrupt belongs to the device, so that its data is valid.
            let hwirq = unsafe { (*data).hwirq };

            Ok(Resource::Interrupt {
                irq,
                hwirq: hwirq.try_into()?,
            })
        }
    }
}

/// `EFI_BOOT` of `include/linux/efi.h`.
const EFI_BOOT: c_int = 0;

/// What the loader of the kernel or the emulated video card says about the frame buffer. May
/// sleep.
pub(crate) fn framebuffer() -> Firmware {
    // SAFETY: It can be called at any time.
    if unsafe { bindings::efi_enabled(EFI_BOOT) } {
        if !cfg!(CONFIG_SYSFB) {
            return Firmware::None;
        }
        // SAFETY: Early boot writes it, nothing else does.
        let base = unsafe { bindings::sysfb_primary_display.screen.lfb_base };
        return Firmware::Efi(base.into());
    }
    video_card()
}

#[cfg(CONFIG_PCI)]
fn video_card() -> Firmware {
    // SAFETY: It can be called in process context.
    let pdev = unsafe {
        bindings::pci_get_device(
            bindings::PCI_VENDOR_ID_MICROSOFT,
            bindings::PCI_DEVICE_ID_HYPERV_VIDEO,
            core::ptr::null_mut(),
        )
    };
    if pdev.is_null() {
        return Firmware::None;
    }

    // SAFETY: We hold a reference to the device, and PCI set up its resources.
    let [bar, ..] = unsafe { (*pdev).resource };
    // SAFETY: It is ours, and the driver of the frame buffer wants the device for itself.
    unsafe { bindings::pci_dev_put(pdev) };

    let memory = bar.flags & bindings::IORESOURCE_MEM as c_ulong != 0;
    match Range::new(bar.start, bar.end) {
        Some(range) if memory => Firmware::Pci {
            base: range.first(),
            size: range.size(),
        },
        _ => Firmware::Pci { base: 0, size: 0 },
    }
}

#[cfg(not(CONFIG_PCI))]
fn video_card() -> Firmware {
    Firmware::None
}
