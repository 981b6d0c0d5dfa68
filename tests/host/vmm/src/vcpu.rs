// SPDX-License-Identifier: GPL-2.0

//! The processors' threads: what KVM does not do by itself.

use std::sync::mpsc::Sender;
use std::sync::Arc;

use anyhow::{Context, Result};
use hvengine::memory::GuestMemory;
use hvengine::{bus, Version};
use kvm_bindings::{
    kvm_hyperv_exit, kvm_msr_entry, Msrs, KVM_EXIT_HYPERV_HCALL, KVM_EXIT_HYPERV_SYNIC,
    KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET,
};
use kvm_ioctls::{VcpuExit, VcpuFd};
use vmm_sys_util::eventfd::EventFd;

use crate::acpi;
use crate::cmos::{self, Cmos};
use crate::hold::Hold;
use crate::memory::Ram;
use crate::serial::{Port, COM1, COM2};
use crate::synic::{Pages, Refusals};

const HVCALL_POST_MESSAGE: u64 = 0x5c;
const HVCALL_SIGNAL_EVENT: u64 = 0x5d;
const HV_STATUS_INVALID_HYPERCALL_CODE: u16 = 2;
const HV_STATUS_INVALID_ALIGNMENT: u16 = 4;
/// First of the five MSRs in which a crashing guest leaves parameters.
const CRASH_P0: u32 = 0x4000_0100;

/// What a processor tells the host's thread.
pub enum Event {
    /// HvPostMessage with this payload.
    Message(Vec<u8>),
    /// HvSignalEvent that KVM did not turn into an eventfd.
    Signal(u32),
    /// A line on the control line.
    Line(String),
    /// The guest reports a crash (and usually goes on to reset).
    Crash([u64; 5]),
    /// The machine ends.
    End(End),
}

/// How a machine ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The guest powered off.
    Poweroff,
    /// The guest asked for a reset.
    Reset,
    /// The guest crashed.
    Crash(String),
    /// The guest asked for a power cut.
    PowerCut,
    /// Somebody wants us to stop (SIGTERM).
    Stopped,
    /// KVM cannot go on, or something here failed.
    Error(String),
}

/// The way to the host's thread: a queue and its bell.
#[derive(Clone)]
pub struct Mailbox {
    /// The queue.
    pub queue: Sender<Event>,
    /// Written after each event.
    pub bell: Arc<EventFd>,
}

impl Mailbox {
    /// Sends an event.
    pub fn send(&self, event: Event) {
        // A receiver that is gone means that the machine has ended.
        let _ = self.queue.send(event);
        let _ = self.bell.write(1);
    }
}

/// What all processors share.
pub struct Shared {
    /// Guest RAM.
    pub ram: Ram,
    /// The console and the control line.
    pub ports: [Port; 2],
    /// The clock.
    pub cmos: Cmos,
    /// SynIC pages by virtual processor.
    pub pages: Arc<Vec<Pages>>,
    /// The highest VMBus version: decides which connection ids exist.
    pub max_version: Version,
    /// Posts that are refused on purpose.
    pub refusals: Arc<Refusals>,
    /// A processor that is to stand still on purpose.
    pub hold: Arc<Hold>,
}

/// Runs one processor until the machine ends.
pub fn run(vcpu: VcpuFd, vp: usize, shared: &Shared, mailbox: &Mailbox) {
    let mut processor = Processor { vcpu, vp, shared, mailbox };
    let end = match processor.run() {
        Ok(end) => end,
        Err(why) => End::Error(format!("processor {vp}: {why:#}")),
    };
    mailbox.send(Event::End(end));
}

struct Processor<'a> {
    vcpu: VcpuFd,
    vp: usize,
    shared: &'a Shared,
    mailbox: &'a Mailbox,
}

impl Processor<'_> {
    fn run(&mut self) -> Result<End> {
        loop {
            let exit = match self.vcpu.run() {
                Ok(exit) => exit,
                Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => continue,
                Err(e) => return Err(e).context("KVM_RUN"),
            };
            match exit {
                VcpuExit::IoOut(port, data) => {
                    if let Some(end) = io_out(self.shared, port, data) {
                        return Ok(end);
                    }
                }
                VcpuExit::IoIn(port, data) => io_in(self.shared, port, data),
                // Nothing is mapped: reads float high, writes vanish.
                VcpuExit::MmioRead(_, data) => data.fill(0xff),
                VcpuExit::MmioWrite(..) | VcpuExit::Intr => {}
                VcpuExit::Hyperv => self.hyperv(),
                VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET, _) => return Ok(End::Reset),
                VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_CRASH, _) => {
                    self.mailbox.send(Event::Crash(self.crash_parameters()?));
                }
                VcpuExit::Shutdown => return Ok(End::Crash("triple fault".into())),
                other => {
                    let what = format!("{other:?}");
                    let rip = self.vcpu.get_regs().map(|regs| regs.rip).unwrap_or(0);
                    return Ok(End::Error(format!("unexpected exit {what} at {rip:#x}")));
                }
            }
        }
    }

    fn crash_parameters(&self) -> Result<[u64; 5]> {
        let entry = |n| kvm_msr_entry { index: CRASH_P0 + n, ..Default::default() };
        let mut msrs = Msrs::from_entries(&[0, 1, 2, 3, 4].map(entry))
            .map_err(|e| anyhow::anyhow!("crash registers: {e:?}"))?;
        self.vcpu.get_msrs(&mut msrs).context("crash registers")?;
        let mut out = [0; 5];
        for (out, msr) in out.iter_mut().zip(msrs.as_slice()) {
            *out = msr.data;
        }
        Ok(out)
    }

    fn hyperv(&mut self) {
        let run = self.vcpu.get_kvm_run();
        // SAFETY: The exit reason was KVM_EXIT_HYPERV, for which KVM fills this member.
        let exit: &mut kvm_hyperv_exit = unsafe { &mut run.__bindgen_anon_1.hyperv };
        match exit.type_ {
            KVM_EXIT_HYPERV_SYNIC => {
                // SAFETY: The type says that this member is the valid one.
                let synic = unsafe { exit.u.synic };
                self.shared.pages[self.vp].set(synic.control, synic.msg_page, synic.evt_page);
            }
            KVM_EXIT_HYPERV_HCALL => {
                // SAFETY: The type says that this member is the valid one.
                let hcall = unsafe { &mut exit.u.hcall };
                hcall.result =
                    hypercall(self.shared, self.mailbox, hcall.input, hcall.params).into();
            }
            _ => {}
        }
    }
}

fn hypercall(shared: &Shared, mailbox: &Mailbox, input: u64, params: [u64; 2]) -> u16 {
    match input & 0xffff {
        HVCALL_POST_MESSAGE => {
            let mut buf = [0; 256];
            if !params[0].is_multiple_of(8) || shared.ram.read(params[0], &mut buf).is_err() {
                return HV_STATUS_INVALID_ALIGNMENT;
            }
            let word = |n: usize| u32::from_le_bytes([buf[n], buf[n + 1], buf[n + 2], buf[n + 3]]);
            let (connection, len) = (word(0), word(12) as usize);
            if let Some(status) = shared.refusals.take() {
                return status;
            }
            let status = bus::post_status(shared.max_version, connection, len);
            if status == 0 {
                mailbox.send(Event::Message(buf[16..16 + len].to_vec()));
            }
            status
        }
        HVCALL_SIGNAL_EVENT => {
            let connection = params[0] as u32;
            mailbox.send(Event::Signal(connection));
            if let Some(time) = shared.hold.take(connection) {
                std::thread::sleep(time);
            }
            0
        }
        _ => HV_STATUS_INVALID_HYPERCALL_CODE,
    }
}

fn io_out(shared: &Shared, port: u16, data: &[u8]) -> Option<End> {
    let value = data.first().copied().unwrap_or(0);
    match port {
        COM1..=0x3ff => shared.ports[0].write((port - COM1) as u8, value),
        COM2..=0x2ff => shared.ports[1].write((port - COM2) as u8, value),
        cmos::INDEX => shared.cmos.select(value),
        // Sleep enable, and the type in bits 2 to 4.
        acpi::SLEEP_CONTROL if value == 1 << 5 | acpi::S5 << 2 => return Some(End::Poweroff),
        acpi::RESET if value == acpi::RESET_VALUE => return Some(End::Reset),
        _ => {}
    }
    None
}

fn io_in(shared: &Shared, port: u16, data: &mut [u8]) {
    data.fill(0xff);
    let value = match port {
        COM1..=0x3ff => shared.ports[0].read((port - COM1) as u8),
        COM2..=0x2ff => shared.ports[1].read((port - COM2) as u8),
        cmos::DATA => shared.cmos.read(),
        acpi::SLEEP_STATUS => 0,
        _ => return,
    };
    data[0] = value;
}
