// SPDX-License-Identifier: GPL-2.0

//! What happens beside the commands: disks come, go and change; the host takes everything away.

use kernel::{
    new_spinlock_irq,
    prelude::*,
    scsi::Device,
    str::CString,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc,
        SpinLockIrq, //
    },
    time::msecs_to_jiffies,
    workqueue::{
        self,
        OwnedQueue,
        WorkItem, //
    }, //
};

use crate::{
    channels::Session,
    controller::Controller,
    errors::Action,
    handshake::PATIENCE, //
};

/// How many devices can wait for their turn; if there are more, all are looked at.
const MAX_PENDING: usize = 64;

/// How long a device may take to say whether it is ready, until it is asked to wait (ms).
const READY_TIMEOUT: u32 = 1000;

/// The address of a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) channel: u32,
    pub(crate) id: u32,
    pub(crate) lun: u64,
}

/// Where work is done.
struct Queues {
    /// One thing after another. Disks are suspended before their controller: who asks them something
    /// then waits until they are back, and the controller must not wait for that.
    scan: OwnedQueue,
    /// Whatever the other waits for.
    watch: OwnedQueue,
}

/// What is to be done, each thing once however often it was asked for.
struct Pending {
    /// Look for disks.
    scan: bool,
    /// Look at these disks, or remove them. There is room for `MAX_PENDING`.
    devices: KVec<(Address, Action)>,
    /// None at the end.
    queues: Option<Queues>,
}

/// The work that a controller's events make.
#[pin_data]
pub(crate) struct Events {
    #[pin]
    pending: SpinLockIrq<Pending>,
    /// A task waits for commands; see [`Controller::watch`].
    watching: Atomic<bool>,
    /// The device is being unbound: a host that does not answer must not hold that up for ever.
    leaving: Atomic<bool>,
    /// A ring cannot be read any more.
    spoilt: Atomic<bool>,
}

impl Events {
    pub(crate) fn new(host_no: u32) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let name = CString::try_from_fmt(fmt!("storvsc_error_wq_{}", host_no))?;
            let queues = Queues {
                scan: OwnedQueue::ordered_freezable(&name)?,
                watch: OwnedQueue::concurrent(c"storvsc_watch")?,
            };
            let devices = KVec::with_capacity(MAX_PENDING, GFP_KERNEL)?;

            Ok(try_pin_init!(Self {
                pending <- new_spinlock_irq!(Pending {
                    scan: false,
                    devices,
                    queues: Some(queues),
                }),
                watching: Atomic::new(false),
                leaving: Atomic::new(false),
                spoilt: Atomic::new(false),
            }))
        })
    }
}

impl Controller {
    /// Nothing is done any more from now on. Process context; sleeps.
    pub(crate) fn stop_events(self: &Arc<Self>) {
        let queues = self.events().pending.lock().queues.take();

        // Before the queue ends, which may be frozen: who waits for this can be who thaws it.
        workqueue::cancel_sync::<Self, 0>(self);
        drop(queues);
    }

    /// The host says that disks have come or gone. Any context.
    pub(crate) fn disks_changed(self: &Arc<Self>) {
        let mut pending = self.events().pending.lock();

        pending.scan = true;
        self.queue_scan(&pending);
    }

    /// The host's answer to a command says that its device has changed, or is gone. Any context.
    pub(crate) fn device_changed(self: &Arc<Self>, device: Address, action: Action) {
        let mut pending = self.events().pending.lock();
        let todo = (device, action);

        if !pending.devices.contains(&todo) && pending.devices.push_within_capacity(todo).is_err() {
            pending.scan = true;
        }
        self.queue_scan(&pending);
    }

    fn queue_scan(self: &Arc<Self>, pending: &Pending) {
        if let Some(queues) = &pending.queues {
            // It may be queued already.
            let _ = queues.scan.enqueue::<_, 0>(self.clone());
        }
    }

    #[inline(never)]
    fn queue_watch(self: &Arc<Self>) {
        if let Some(queues) = &self.events().pending.lock().queues {
            let _ = queues.watch.enqueue::<_, 1>(self.clone());
        }
    }

    /// A ring cannot be read any more: nothing that is under way will be answered. Any context.
    pub(crate) fn spoilt(self: &Arc<Self>, session: &Session) {
        if session.is_rescinded() || self.is_gone() {
            return;
        }
        if !self.events().spoilt.xchg(true, Relaxed) {
            dev_err!(
                self.device(),
                "the host has spoilt a ring: giving the controller up\n"
            );
        }
        session.notify();
        self.queue_watch();
    }
}

/// Asks a device whether it is there. Process context; sleeps.
fn is_ready(sdev: &Device) -> Result {
    sdev.test_unit_ready(msecs_to_jiffies(READY_TIMEOUT), 1)
}

impl WorkItem<0> for Controller {
    type Pointer = Arc<Self>;

    /// Looks for disks, and at disks.
    fn run(this: Arc<Self>) {
        let mut devices = match KVec::with_capacity(MAX_PENDING, GFP_KERNEL) {
            Ok(devices) => devices,
            Err(_) => KVec::new(),
        };
        let scan = {
            let mut pending = this.events().pending.lock();
            if devices.capacity() > 0 {
                core::mem::swap(&mut pending.devices, &mut devices);
            } else if !pending.devices.is_empty() {
                pending.devices.clear();
                pending.scan = true;
            }
            core::mem::take(&mut pending.scan)
        };

        let to_be = |wanted| {
            devices
                .iter()
                .filter(move |(_, action)| *action == wanted)
                .filter_map(|(device, _)| this.host().lookup(device.channel, device.id, device.lun))
        };
        for sdev in to_be(Action::Remove) {
            // The answer can be older than a disk that came to the same place, or a host's slip.
            if is_ready(&sdev) == Err(ENODEV) {
                sdev.remove();
            }
        }
        // What is gone takes long to be looked at.
        for sdev in to_be(Action::Rescan) {
            // It stays as it was if that fails.
            let _ = sdev.rescan();
        }
        if scan {
            // The host does not say which disks are gone. The answer of one that is has it removed.
            this.host().for_each_device(|sdev| {
                let _ = is_ready(sdev);
            });
            this.host().scan();
        }
    }
}

impl WorkItem<1> for Controller {
    type Pointer = Arc<Self>;

    /// Closes the channels when what is under way will never be answered.
    fn run(this: Arc<Self>) {
        let events = this.events();
        let Some(session) = this.primary() else {
            return;
        };
        let mut received = this.received();

        loop {
            let spoilt = || events.spoilt.load(Acquire);
            let ended = session.wait(PATIENCE, || !events.watching.load(Acquire) || spoilt());

            if spoilt() {
                break;
            }
            match ended {
                Ok(()) => return,
                Err(ETIMEDOUT) => {
                    let before = received;
                    received = this.received();
                    if !events.leaving.load(Acquire) || received != before || !this.is_busy() {
                        continue;
                    }
                    dev_warn!(this.device(), "the host does not answer: giving up\n");
                    break;
                }
                Err(_) => break,
            }
        }
        this.close();
    }
}

impl Controller {
    /// From now on a task waits for commands. The channels are closed if the host takes them back:
    /// the bus cannot do anything about it as long as it waits for that task.
    ///
    /// If that task is `leaving`, unbinding the device, a host that is silent for as long as it
    /// may be while there are commands under way is given up.
    pub(crate) fn watch(self: &Arc<Self>, leaving: bool) {
        self.events().leaving.store(leaving, Release);
        self.events().watching.store(true, Release);
        self.queue_watch();
    }

    /// That task does not wait any more.
    pub(crate) fn unwatch(&self) {
        self.events().watching.store(false, Release);
        if let Some(session) = self.primary() {
            session.notify();
        }
    }
}

/// Watches while it exists.
pub(crate) struct Watch<'a>(&'a Controller);

impl<'a> Watch<'a> {
    pub(crate) fn new(controller: &'a Arc<Controller>) -> Self {
        controller.watch(false);
        Self(controller)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.unwatch();
    }
}
