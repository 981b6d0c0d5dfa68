// SPDX-License-Identifier: GPL-2.0

//! Messages, event flags and signals through KVM's SynIC.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use anyhow::{Context, Result};
use hvengine::memory::{BadAddress, GuestMemory};
use hvengine::Transport;
use kvm_bindings::{kvm_hyperv_eventfd, KVMIO};
use kvm_ioctls::VmFd;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

use crate::hold::Hold;
use crate::memory::Ram;

ioctl_iow_nr!(KVM_HYPERV_EVENTFD, KVMIO, 0xbd, kvm_hyperv_eventfd);
const DEASSIGN: u32 = 1;

/// The SINT that VMBus uses.
pub const SINT: u32 = 2;
/// GSI of a virtual processor's SINT 2: above the I/O APIC's 24.
pub const fn sint_gsi(vp: u32) -> u32 {
    32 + vp
}

/// Bytes per SINT in the message and event flag pages.
const SLOT: u64 = 256;
const MESSAGE_TYPE: u32 = 1;
const FLAG_PENDING: u32 = 1;
/// Event flags per SINT.
const FLAGS: u32 = 2048;

/// Mark of a signal's connection id in epoll's data.
pub const SIGNAL_TOKEN: u64 = 1 << 32;

/// Where a virtual processor's SynIC pages are; the guest moves them with MSRs.
#[derive(Default)]
pub struct Pages {
    message: AtomicU64,
    event: AtomicU64,
}

impl Pages {
    /// The guest wrote SCONTROL, SIMP or SIEFP.
    pub fn set(&self, control: u64, message: u64, event: u64) {
        let on = control & 1 != 0;
        let page = |msr: u64| if on && msr & 1 != 0 { msr } else { 0 };
        self.message.store(page(message), Ordering::SeqCst);
        self.event.store(page(event), Ordering::SeqCst);
    }
}

/// The guest address of SINT 2's part of a page, if the page is on.
fn part(page: &AtomicU64) -> Option<u64> {
    let msr = page.load(Ordering::SeqCst);
    (msr & 1 != 0).then_some((msr & !0xfff) + u64::from(SINT) * SLOT)
}

/// Posts of the guest that are refused on purpose, shared with the processors' threads.
#[derive(Default)]
pub struct Refusals(AtomicU64);

impl Refusals {
    /// The status of the next post, if it is to be refused.
    pub fn take(&self) -> Option<u16> {
        let one_less = |both: u64| (both as u32 > 0).then(|| both - 1);
        let both = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).ok()?;
        Some((both >> 32) as u16)
    }

    /// Refuses the next `count` posts with `status`.
    fn set(&self, status: u16, count: u32) {
        self.0.store(u64::from(status) << 32 | u64::from(count), Ordering::SeqCst);
    }
}

/// The transport of the engine.
pub struct Synic {
    ram: Ram,
    vm: Arc<VmFd>,
    pages: Arc<Vec<Pages>>,
    epoll: Arc<Epoll>,
    refusals: Arc<Refusals>,
    hold: Arc<Hold>,
    /// Registered connections: KVM writes the eventfd when the guest signals.
    connections: BTreeMap<u32, EventFd>,
}

impl Synic {
    /// A transport for a machine whose processors keep their pages in `pages`; signals arrive at
    /// `epoll` under [`SIGNAL_TOKEN`].
    pub fn new(
        ram: Ram,
        vm: Arc<VmFd>,
        pages: Arc<Vec<Pages>>,
        epoll: Arc<Epoll>,
        refusals: Arc<Refusals>,
        hold: Arc<Hold>,
    ) -> Self {
        Self { ram, vm, pages, epoll, refusals, hold, connections: BTreeMap::new() }
    }

    fn interrupt(&self, vp: u32) {
        // Refused while the guest has the SINT masked: it looks at its pages when it unmasks.
        let _ = self.vm.set_irq_line(sint_gsi(vp), true);
    }

    fn post(&self, slot: u64, message: &[u8]) -> Result<bool, BadAddress> {
        if self.ram.load(slot)? != 0 {
            // Ask for an end-of-message, then look again: the guest may have missed the wish.
            self.ram.fetch_or(slot + 4, FLAG_PENDING << 8)?;
            if self.ram.load(slot)? != 0 {
                return Ok(false);
            }
        }
        let mut head = [0; 12];
        head[0] = message.len() as u8;
        head[4] = MESSAGE_TYPE as u8; // The port, in the field of the sender.
        self.ram.write(slot + 4, &head)?;
        self.ram.write(slot + 16, message)?;
        self.ram.store(slot, MESSAGE_TYPE)?;
        Ok(true)
    }

    fn eventfd(&self, connection: u32, fd: &EventFd, flags: u32) -> std::io::Result<()> {
        let arg =
            kvm_hyperv_eventfd { conn_id: connection, fd: fd.as_raw_fd(), flags, padding: [0; 3] };
        // SAFETY: The descriptor is a VM's, and the argument is the structure that this request
        // reads and does not keep.
        match unsafe { ioctl_with_ref(&*self.vm, KVM_HYPERV_EVENTFD(), &arg) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    fn try_connect(&mut self, connection: u32) -> Result<()> {
        let fd = EventFd::new(libc::EFD_NONBLOCK)?;
        self.eventfd(connection, &fd, 0).context("KVM_HYPERV_EVENTFD")?;
        // Edge triggered: each signal is an edge, and nobody has to read the counter.
        let event = EpollEvent::new(
            EventSet::IN | EventSet::EDGE_TRIGGERED,
            SIGNAL_TOKEN | u64::from(connection),
        );
        self.epoll.ctl(ControlOperation::Add, fd.as_raw_fd(), event)?;
        self.connections.insert(connection, fd);
        Ok(())
    }
}

impl Transport for Synic {
    fn try_post(&mut self, message: &[u8]) -> bool {
        let Some(slot) = part(&self.pages[0].message) else { return false };
        let posted = self.post(slot, message).unwrap_or(false);
        if posted {
            self.interrupt(0);
        }
        posted
    }

    fn signal_guest(&mut self, vp: u32, flag: u32) {
        let Some(flags) = self.pages.get(vp as usize).and_then(|p| part(&p.event)) else { return };
        if flag >= FLAGS {
            return;
        }
        let (word, bit) = (flags + u64::from(flag / 32) * 4, 1 << (flag % 32));
        if self.ram.fetch_or(word, bit).is_ok_and(|old| old & bit == 0) {
            self.interrupt(vp);
        }
    }

    fn connect(&mut self, connection: u32) {
        if let Err(why) = self.try_connect(connection) {
            // The guest's signals then come as hypercall exits: slower, but right.
            eprintln!("hvhost: connection {connection:#x}: {why:#}");
        }
    }

    fn disconnect(&mut self, connection: u32) {
        if let Some(fd) = self.connections.remove(&connection) {
            let _ = self.eventfd(connection, &fd, DEASSIGN);
            let _ = self.epoll.ctl(ControlOperation::Delete, fd.as_raw_fd(), EpollEvent::default());
        }
    }

    fn refuse_posts(&mut self, status: u16, count: u32) {
        self.refusals.set(status, count);
    }

    fn hold_sender(&mut self, connection: u32, ms: u32) {
        self.hold.set(connection, ms);
        // From now on its signals are exits, which a processor's thread sees.
        self.disconnect(connection);
    }
}
