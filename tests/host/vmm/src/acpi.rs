// SPDX-License-Identifier: GPL-2.0

//! The ACPI tables: processors, I/O APIC, two serial ports, the VMBus device, sleep and reset
//! registers. Reduced hardware: no PM timer, no SCI, no fixed events.

use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, Interrupt, Name, Package, Path, ResourceTemplate,
    Scope, IO, ONE, ZERO,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace as GasSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, ProcessorLocalApic, MADT,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::Aml;
use anyhow::Result;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::serial::{COM1, COM2};

/// Where the root pointer lies; a kexec'ed kernel scans for it from 0xe0000 on.
pub const RSDP: u64 = 0xe_0000;
const TABLES: u64 = RSDP + 0x1000;

/// The guest writes its sleep request here (reduced-hardware sleep control).
pub const SLEEP_CONTROL: u16 = 0x600;
/// Sleep status: we never sleep, so it reads as "not woken".
pub const SLEEP_STATUS: u16 = 0x601;
/// The guest writes [`RESET_VALUE`] here to reset.
pub const RESET: u16 = 0x602;
/// What resets when written to [`RESET`].
pub const RESET_VALUE: u8 = 1;
/// \_S5 as it appears in the sleep type field of [`SLEEP_CONTROL`].
pub const S5: u8 = 5;

const LAPIC: u32 = 0xfee0_0000;
const IOAPIC: u32 = 0xfec0_0000;
/// What VMBus devices may use for MMIO (frame buffers, PCI).
const MMIO: (u32, u32) = (0xf800_0000, 0xfdff_ffff);

const OEM: [u8; 6] = *b"HVRUST";
const TABLE: [u8; 8] = *b"HVHOST  ";

/// Writes the tables for `vcpus` processors.
pub fn write(mem: &GuestMemoryMmap, vcpus: u8) -> Result<()> {
    let mut at = TABLES;
    let mut put = |table: &dyn Aml| -> Result<u64> {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        let here = at;
        mem.write_slice(&bytes, GuestAddress(here))?;
        at += bytes.len().next_multiple_of(64) as u64;
        Ok(here)
    };

    let mut dsdt = Sdt::new(*b"DSDT", 36, 6, OEM, TABLE, 1);
    let mut code = Vec::new();
    devices(&mut code);
    dsdt.append_slice(&code);
    let dsdt = put(&dsdt)?;

    let register =
        |port: u16| GAS::new(GasSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port.into());
    let mut fadt = FADTBuilder::new(OEM, TABLE, 1)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Wbinvd);
    // No VGA and (bit 1 clear) no keyboard controller.
    fadt.iapc_boot_arch = (1 << 2).into();
    fadt.reset_reg = register(RESET);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = register(SLEEP_CONTROL);
    fadt.sleep_status_reg = register(SLEEP_STATUS);
    let fadt = put(&fadt.finalize())?;

    let mut madt = MADT::new(OEM, TABLE, 1, LocalInterruptController::Address(LAPIC));
    for id in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(vcpus, IOAPIC, 0));
    let madt = put(&madt)?;

    let mut xsdt = XSDT::new(OEM, TABLE, 1);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = put(&xsdt)?;

    let mut rsdp = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut rsdp);
    mem.write_slice(&rsdp, GuestAddress(RSDP))?;
    Ok(())
}

/// The DSDT's contents.
fn devices(out: &mut Vec<u8>) {
    for (name, uid, port, irq) in [("COM1", 1u8, COM1, 4), ("COM2", 2, COM2, 3)] {
        let io = IO::new(port, port, 1, 8);
        let interrupt = Interrupt::new(true, true, false, false, irq);
        Scope::new(
            "_SB_".into(),
            vec![&Device::new(
                Path::new(name),
                vec![
                    &Name::new("_HID".into(), &acpi_tables::aml::EISAName::new("PNP0501")),
                    &Name::new("_UID".into(), &uid),
                    &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&io, &interrupt])),
                ],
            )],
        )
        .to_aml_bytes(out);
    }
    // As on Hyper-V: a module device with the MMIO space, the bus below it.
    let space =
        AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, MMIO.0, MMIO.1, None);
    Scope::new(
        "_SB_".into(),
        vec![&Device::new(
            "VMOD".into(),
            vec![
                &Name::new("_HID".into(), &"ACPI0004"),
                &Name::new("_UID".into(), &ONE),
                &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&space])),
                &Device::new(
                    "VMBS".into(),
                    vec![
                        &Name::new("_HID".into(), &"VMBUS"),
                        &Name::new("_UID".into(), &ZERO),
                        &Name::new("_STA".into(), &0xfu8),
                        &Name::new("_CRS".into(), &ResourceTemplate::new(vec![])),
                    ],
                ),
            ],
        )],
    )
    .to_aml_bytes(out);
    Name::new("_S5_".into(), &Package::new(vec![&S5, &ZERO])).to_aml_bytes(out);
}
