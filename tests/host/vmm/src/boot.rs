// SPDX-License-Identifier: GPL-2.0

//! Loading a vmlinux and entering it at its 64-bit entry, as `Documentation/arch/x86/boot.rst`
//! of Linux describes.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, Msrs};
use kvm_ioctls::VcpuFd;
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use linux_loader::loader::elf::Elf;
use linux_loader::loader::KernelLoader;
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemoryMmap};

use crate::acpi;

const GDT: u64 = 0x500;
const ZERO_PAGE: u64 = 0x7000;
const STACK: u64 = 0x8ff0;
const PML4: u64 = 0x9000;
const PDPT: u64 = 0xa000;
/// Four page directories: 4 GiB in pages of 2 MiB.
const PD: u64 = 0xb000;
const CMDLINE: u64 = 0x2_0000;
const CMDLINE_MAX: usize = 2048;
const LOW_END: u64 = 0x9_fc00;
const HIGH: u64 = 0x10_0000;

const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

// Selectors that the boot protocol asks for.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;

/// What to boot.
pub struct Image<'a> {
    /// The uncompressed kernel.
    pub kernel: &'a Path,
    /// Archives that are unpacked one after another.
    pub initrds: &'a [PathBuf],
    /// The kernel's command line.
    pub cmdline: &'a str,
}

/// Loads kernel, initramfs, command line and tables; returns the entry address.
pub fn load(mem: &GuestMemoryMmap, size: u64, image: &Image<'_>) -> Result<u64> {
    let name = || format!("cannot load the kernel {}", image.kernel.display());
    let mut file = File::open(image.kernel).with_context(name)?;
    let loaded = Elf::load(mem, None, &mut file, Some(GuestAddress(HIGH))).with_context(name)?;

    let mut initrd = Vec::new();
    for path in image.initrds {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read the initramfs {}", path.display()))?;
        initrd.extend(bytes);
        initrd.resize(initrd.len().next_multiple_of(512), 0);
    }
    let start = (size - initrd.len() as u64) & !0xfff;
    if start < loaded.kernel_end {
        bail!("kernel and initramfs do not fit into the guest's memory: give more with --memory");
    }
    mem.write_slice(&initrd, GuestAddress(start))?;

    if image.cmdline.len() >= CMDLINE_MAX {
        bail!("the kernel command line is longer than {CMDLINE_MAX} bytes");
    }
    mem.write_slice(image.cmdline.as_bytes(), GuestAddress(CMDLINE))?;
    mem.write_obj(0u8, GuestAddress(CMDLINE + image.cmdline.len() as u64))?;

    let mut params = boot_params::default();
    params.hdr.type_of_loader = 0xff;
    params.hdr.boot_flag = 0xaa55;
    params.hdr.header = u32::from_le_bytes(*b"HdrS");
    params.hdr.cmd_line_ptr = CMDLINE as u32;
    params.hdr.cmdline_size = image.cmdline.len() as u32;
    params.hdr.ramdisk_image = start as u32;
    params.hdr.ramdisk_size = initrd.len() as u32;
    params.acpi_rsdp_addr = acpi::RSDP;
    let map = [
        (0, LOW_END, E820_RAM),
        (acpi::RSDP, HIGH - acpi::RSDP, E820_RESERVED),
        (HIGH, size - HIGH, E820_RAM),
    ];
    for (entry, (addr, size, kind)) in params.e820_table.iter_mut().zip(map) {
        *entry = boot_e820_entry { addr, size, r#type: kind };
    }
    params.e820_entries = map.len() as u8;
    mem.write_slice(params.as_slice(), GuestAddress(ZERO_PAGE))?;
    Ok(loaded.kernel_load.0)
}

/// A flat 64-bit code or data segment, as the descriptor and as KVM wants it.
fn segment(selector: u16, code: bool) -> (u64, kvm_segment) {
    let type_ = if code { 0xb } else { 0x3 };
    let segment = kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        s: 1,
        g: 1,
        l: code.into(),
        db: (!code).into(),
        ..Default::default()
    };
    let flags = 0x8 | u64::from(segment.db) << 2 | u64::from(segment.l) << 1;
    let access = 0x90 | u64::from(type_);
    (flags << 52 | 0xf << 48 | access << 40 | 0xffff, segment)
}

/// Sets the boot processor up: long mode, identity mapping of 4 GiB, interrupts off.
pub fn enter(mem: &GuestMemoryMmap, vcpu: &VcpuFd, entry: u64) -> Result<()> {
    mem.write_obj(PDPT | 0x3, GuestAddress(PML4))?;
    for gib in 0..4 {
        mem.write_obj((PD + gib * 0x1000) | 0x3, GuestAddress(PDPT + gib * 8))?;
    }
    for page in 0..4 * 512u64 {
        mem.write_obj(page << 21 | 0x83, GuestAddress(PD + page * 8))?;
    }
    let (code_entry, code) = segment(CODE, true);
    let (data_entry, data) = segment(DATA, false);
    mem.write_obj(code_entry, GuestAddress(GDT + u64::from(CODE)))?;
    mem.write_obj(data_entry, GuestAddress(GDT + u64::from(DATA)))?;

    let mut sregs = vcpu.get_sregs()?;
    sregs.gdt = kvm_dtable { base: GDT, limit: DATA + 7, ..Default::default() };
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.ss) = (data, data, data);
    (sregs.fs, sregs.gs) = (data, data);
    sregs.cr3 = PML4;
    sregs.cr4 = 1 << 5; // PAE
    sregs.cr0 = 1 << 31 | 1 << 5 | 1 << 4 | 1; // PG, NE, ET, PE
    sregs.efer = 1 << 10 | 1 << 8; // LMA, LME
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&kvm_regs {
        rip: entry,
        rsi: ZERO_PAGE,
        rsp: STACK,
        rflags: 2,
        ..Default::default()
    })?;
    Ok(())
}

/// Model-specific registers of every processor: write-back memory by default.
pub fn msrs(vcpu: &VcpuFd) -> Result<()> {
    const MTRR_DEF_TYPE: u32 = 0x2ff;
    let entry = kvm_bindings::kvm_msr_entry {
        index: MTRR_DEF_TYPE,
        data: 1 << 11 | 6,
        ..Default::default()
    };
    let msrs = Msrs::from_entries(&[entry]).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    vcpu.set_msrs(&msrs)?;
    Ok(())
}
