// SPDX-License-Identifier: GPL-2.0

//! The virtual machine: memory, interrupt controllers, processors that see Hyper-V.

use std::sync::Arc;

use anyhow::{bail, Context, Result};
use kvm_bindings::{
    kvm_cpuid_entry2, kvm_enable_cap, kvm_irq_routing_entry, kvm_irq_routing_hv_sint,
    kvm_irq_routing_irqchip, kvm_userspace_memory_region, CpuId, KvmIrqRouting,
    KVM_CAP_HYPERV_ENFORCE_CPUID, KVM_CAP_HYPERV_SYNIC2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
    KVM_IRQCHIP_IOAPIC, KVM_IRQ_ROUTING_HV_SINT, KVM_IRQ_ROUTING_IRQCHIP, KVM_MAX_CPUID_ENTRIES,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vmm_sys_util::eventfd::EventFd;

use crate::memory::Ram;
use crate::synic::{sint_gsi, SINT};

/// Most processors of a machine.
pub const MAX_VCPUS: u8 = 8;
const IOAPIC_PINS: u32 = 24;

/// A machine that is ready to load and run.
pub struct Machine {
    /// The VM's descriptor.
    pub vm: Arc<VmFd>,
    /// Processors in the order of their VP index.
    pub vcpus: Vec<VcpuFd>,
    /// Readable when the guest has taken a message from its slot.
    pub eom: EventFd,
}

/// Whether this KVM emulates what VMBus needs.
pub fn kvm_has_synic(kvm: &Kvm) -> bool {
    kvm.check_extension_raw(KVM_CAP_HYPERV_SYNIC2.into()) > 0
}

impl Machine {
    /// Makes a machine with this memory and `vcpus` processors.
    pub fn new(ram: &Ram, vcpus: u8) -> Result<Self> {
        let kvm = Kvm::new().context("cannot open /dev/kvm: is KVM there, and are you root?")?;
        if !kvm_has_synic(&kvm) {
            bail!("this KVM has no Hyper-V emulation (KVM_CAP_HYPERV_SYNIC2): run inside L1");
        }
        let vm = Arc::new(kvm.create_vm().context("KVM_CREATE_VM")?);
        // Intel needs three pages of guest address space; AMD takes no notice.
        vm.set_tss_address(0xfffb_d000).context("KVM_SET_TSS_ADDR")?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: ram.size(),
            userspace_addr: ram.host_address()?,
        };
        // SAFETY: The mapping is `ram`'s, of which the host's loop and the processors' threads
        // keep a clone as long as they run. This program touches it by volatile copies and
        // atomics only, so that the guest may change it at any time.
        unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;
        // The full in-kernel set: only it tells us when the guest is done with a message.
        vm.create_irq_chip()
            .context("KVM_CREATE_IRQCHIP: does the kernel have CONFIG_KVM_IOAPIC?")?;

        let supported = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        let mut fds = Vec::new();
        for vp in 0..vcpus {
            let vcpu = vm.create_vcpu(vp.into()).context("KVM_CREATE_VCPU")?;
            let cpuid = cpuid(supported.as_slice(), vp, vcpus);
            let cpuid = CpuId::from_entries(&cpuid).map_err(|e| anyhow::anyhow!("CPUID: {e:?}"))?;
            vcpu.set_cpuid2(&cpuid).context("KVM_SET_CPUID2")?;
            enable(&vcpu, KVM_CAP_HYPERV_SYNIC2, 0)?;
            // Without it the guest could use what its CPUID leaves do not grant.
            enable(&vcpu, KVM_CAP_HYPERV_ENFORCE_CPUID, 1)?;
            crate::boot::msrs(&vcpu)?;
            fds.push(vcpu);
        }
        // After SYNIC2 on all of them: KVM connects acknowledgements to GSIs at this call.
        let routing = KvmIrqRouting::from_entries(&routes(vcpus.into()))
            .map_err(|e| anyhow::anyhow!("interrupt routing: {e:?}"))?;
        vm.set_gsi_routing(&routing).context("KVM_SET_GSI_ROUTING")?;

        // Only the resample half matters: it fires at each end-of-message.
        let trigger = EventFd::new(libc::EFD_NONBLOCK)?;
        let eom = EventFd::new(libc::EFD_NONBLOCK)?;
        vm.register_irqfd_with_resample(&trigger, &eom, sint_gsi(0)).context("KVM_IRQFD")?;
        Ok(Self { vm, vcpus: fds, eom })
    }

    /// Connects an eventfd to an I/O APIC pin.
    pub fn irq(&self, fd: &EventFd, pin: u32) -> Result<()> {
        self.vm.register_irqfd(fd, pin).context("KVM_IRQFD")
    }
}

fn enable(vcpu: &VcpuFd, cap: u32, arg: u64) -> Result<()> {
    let mut enable = kvm_enable_cap { cap, ..Default::default() };
    enable.args[0] = arg;
    vcpu.enable_cap(&enable).with_context(|| format!("KVM_ENABLE_CAP {cap}"))
}

fn routes(vcpus: u32) -> Vec<kvm_irq_routing_entry> {
    let mut routes = Vec::new();
    for pin in 0..IOAPIC_PINS {
        let mut entry = kvm_irq_routing_entry { gsi: pin, ..Default::default() };
        entry.type_ = KVM_IRQ_ROUTING_IRQCHIP;
        entry.u.irqchip = kvm_irq_routing_irqchip { irqchip: KVM_IRQCHIP_IOAPIC, pin };
        routes.push(entry);
    }
    for vp in 0..vcpus {
        let mut entry = kvm_irq_routing_entry { gsi: sint_gsi(vp), ..Default::default() };
        entry.type_ = KVM_IRQ_ROUTING_HV_SINT;
        entry.u.hv_sint = kvm_irq_routing_hv_sint { vcpu: vp, sint: SINT };
        routes.push(entry);
    }
    routes
}

/// The leaves of processor `vp`: what KVM supports, the topology, and Hyper-V's own.
fn cpuid(supported: &[kvm_cpuid_entry2], vp: u8, vcpus: u8) -> Vec<kvm_cpuid_entry2> {
    const HYPERVISOR: std::ops::RangeInclusive<u32> = 0x4000_0000..=0x4fff_ffff;
    const TOPOLOGY: [u32; 2] = [0xb, 0x1f];
    let mut leaves: Vec<_> = supported
        .iter()
        .filter(|leaf| !HYPERVISOR.contains(&leaf.function) && !TOPOLOGY.contains(&leaf.function))
        .copied()
        .collect();
    let (id, count) = (u32::from(vp), u32::from(vcpus));
    // Bits of the APIC id that number the cores of the one package.
    let shift = count.next_power_of_two().trailing_zeros();
    for leaf in &mut leaves {
        match leaf.function {
            1 => {
                leaf.ebx = leaf.ebx & 0xffff | count << 16 | id << 24;
                leaf.ecx |= 1 << 31; // Hypervisor present.
                leaf.ecx &= !(1 << 24); // TSC deadline: late by seconds under nested TCG.
                if count > 1 {
                    leaf.edx |= 1 << 28;
                }
            }
            // Number of cores, and bits of their APIC ids.
            0x8000_0008 => leaf.ecx = (count - 1) | shift << 12,
            0x8000_0007 => leaf.edx |= 1 << 8, // Invariant TSC.
            0x8000_001e => {
                (leaf.eax, leaf.ebx, leaf.ecx) = (id, id, 0);
            }
            _ => {}
        }
    }
    // Extended topology: a thread is a core, all cores are one package.
    for (index, (shift, threads, kind)) in [(0, 1, 1), (shift, count, 2)].into_iter().enumerate() {
        leaves.push(kvm_cpuid_entry2 {
            function: TOPOLOGY[0],
            index: index as u32,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax: shift,
            ebx: threads,
            ecx: kind << 8 | index as u32,
            edx: id,
            ..Default::default()
        });
    }
    leaves.extend(hyperv_leaves(count));
    leaves
}

fn hyperv_leaves(vcpus: u32) -> [kvm_cpuid_entry2; 8] {
    // Leaf 3, EAX: MSRs that the guest may use.
    const VP_RUNTIME: u32 = 1 << 0;
    const REFERENCE_COUNTER: u32 = 1 << 1;
    const SYNIC: u32 = 1 << 2;
    const APIC_MSRS: u32 = 1 << 4;
    const HYPERCALL: u32 = 1 << 5;
    const VP_INDEX: u32 = 1 << 6;
    const RESET: u32 = 1 << 7;
    const FREQUENCY: u32 = 1 << 11;
    const INVARIANT_TSC: u32 = 1 << 15;
    // Leaf 3, EBX: hypercalls.
    const POST_MESSAGES: u32 = 1 << 4;
    const SIGNAL_EVENTS: u32 = 1 << 5;
    // Leaf 3, EDX.
    const XMM_INPUT: u32 = 1 << 4;
    const FREQUENCY_MSRS: u32 = 1 << 8;
    const CRASH_MSRS: u32 = 1 << 10;
    // Leaf 4, EAX: what the guest had better do.
    const REMOTE_TLB_FLUSH: u32 = 1 << 2;
    const RELAXED_TIMING: u32 = 1 << 5;
    const NO_AUTO_EOI: u32 = 1 << 9;
    const CLUSTER_IPI: u32 = 1 << 10;
    const EX_MASKS: u32 = 1 << 11;

    // No synthetic timers: KVM loses one that fires while its message page is off.
    let msrs = VP_RUNTIME
        | REFERENCE_COUNTER
        | SYNIC
        | APIC_MSRS
        | HYPERCALL
        | VP_INDEX
        | RESET
        | FREQUENCY
        | INVARIANT_TSC;
    let features = XMM_INPUT | FREQUENCY_MSRS | CRASH_MSRS;
    let mut hints = RELAXED_TIMING | NO_AUTO_EOI;
    if vcpus > 1 {
        // One hypercall in the place of many APIC exits.
        hints |= REMOTE_TLB_FLUSH | CLUSTER_IPI | EX_MASKS;
    }
    let name = |text: &[u8; 4]| u32::from_le_bytes(*text);
    [
        (0x4000_0000, [0x4000_0006, name(b"Micr"), name(b"osof"), name(b"t Hv")]),
        (0x4000_0001, [name(b"Hv#1"), 0, 0, 0]),
        // Build, version, service pack: printed by the guest, nothing more.
        (0x4000_0002, [26100, 10 << 16, 0, 0]),
        (0x4000_0003, [msrs, POST_MESSAGES | SIGNAL_EVENTS, 0, features]),
        // Never tell us about spinning.
        (0x4000_0004, [hints, u32::MAX, 0, 0]),
        (0x4000_0005, [64, 64, 0, 0]),
        (0x4000_0006, [0; 4]),
        // Linux reads it without looking at the maximum; on an Intel processor the answer would
        // be another leaf's data.
        (0x4000_0082, [0; 4]),
    ]
    .map(|(function, [eax, ebx, ecx, edx])| kvm_cpuid_entry2 {
        function,
        eax,
        ebx,
        ecx,
        edx,
        ..Default::default()
    })
}
