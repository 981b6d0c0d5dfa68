// SPDX-License-Identifier: GPL-2.0

//! What is done later, in process context: because it was noticed where one must not sleep, or
//! must not wait for RTNL.

use crate::{
    attach,
    functions,
    link,
    nic::Nic,
    queues, //
};
use kernel::{
    impl_has_work,
    net::{
        rtnl,
        Device, //
    },
    new_mutex, new_spinlock, new_work,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu::{
            self,
            Slot, //
        },
        Arc,
        Mutex,
        SpinLock, //
    },
    time::{
        Instant,
        Monotonic, //
    },
    workqueue::{
        OwnedQueue,
        Work,
        WorkItem, //
    },
};

const LINK: u64 = 0;
const RX_MODE: u64 = 1;
const QUEUES: u64 = 2;
const VF: u64 = 3;

/// Work that waits, and the queue that it waits in.
#[pin_data]
pub(crate) struct Deferred {
    queue: Slot<OwnedQueue>,
    #[pin]
    dev: SpinLock<Option<ARef<Device<Nic>>>>,
    closing: Atomic<bool>,
    /// When the stack last learnt of a change of the link.
    #[pin]
    last_change: Mutex<Option<Instant<Monotonic>>>,
    #[pin]
    link: Work<Self, LINK>,
    #[pin]
    rx_mode: Work<Self, RX_MODE>,
    #[pin]
    queues: Work<Self, QUEUES>,
    #[pin]
    vf: Work<Self, VF>,
}

impl_has_work! {
    impl HasWork<Self, 0> for Deferred { self.link }
    impl HasWork<Self, 1> for Deferred { self.rx_mode }
    impl HasWork<Self, 2> for Deferred { self.queues }
    impl HasWork<Self, 3> for Deferred { self.vf }
}

/// Defers what is the matter of a kind of work.
macro_rules! defer {
    ($self:expr, $id:expr) => {{
        let guard = rcu::read_lock();
        if let Some(queue) = $self.queue.load(&guard) {
            // It does nothing if it waits already.
            let _ = queue.enqueue::<_, $id>($self.clone());
        }
    }};
}

impl Deferred {
    pub(crate) fn new() -> Result<Arc<Self>> {
        let queue = Arc::new(OwnedQueue::concurrent(c"hv_netvsc")?, GFP_KERNEL)?;
        let this = Arc::pin_init(
            pin_init!(Self {
                queue: Slot::new(),
                dev <- new_spinlock!(None, "hv_netvsc::Deferred::dev"),
                closing: Atomic::new(false),
                last_change <- new_mutex!(None, "hv_netvsc::Deferred::last_change"),
                link <- new_work!("hv_netvsc::Deferred::link"),
                rx_mode <- new_work!("hv_netvsc::Deferred::rx_mode"),
                queues <- new_work!("hv_netvsc::Deferred::queues"),
                vf <- new_work!("hv_netvsc::Deferred::vf"),
            }),
            GFP_KERNEL,
        )?;

        this.queue.replace(Some(queue));
        Ok(this)
    }

    /// The device that it is all about.
    pub(crate) fn begin(&self, dev: ARef<Device<Nic>>) {
        *self.dev.lock() = Some(dev);
    }

    /// Waits for what is being done, and does nothing any more. Process context, without RTNL.
    pub(crate) fn end(&self) {
        self.closing.store(true, Relaxed);
        // Waits for all work.
        drop(self.queue.replace(None));
        let dev = self.dev.lock().take();
        drop(dev);
    }

    #[inline(never)]
    fn dev(&self) -> Option<ARef<Device<Nic>>> {
        self.dev.lock().clone()
    }

    /// The host has said something about the link. Any context.
    pub(crate) fn link_changed(self: &Arc<Self>) {
        defer!(self, LINK);
    }

    /// Other frames are to be received. Any context.
    pub(crate) fn rx_mode_changed(self: &Arc<Self>) {
        defer!(self, RX_MODE);
    }

    /// Sub-channels were opened. Any context.
    pub(crate) fn queues_changed(self: &Arc<Self>) {
        defer!(self, QUEUES);
    }

    /// There may be something to do about the virtual function. Any context.
    #[inline(never)]
    pub(crate) fn vf_changed(self: &Arc<Self>) {
        defer!(self, VF);
    }
}

impl WorkItem<LINK> for Deferred {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(dev) = this.dev() {
            let mut last = this.last_change.lock();

            link::changed(&dev, &mut last, || this.closing.load(Relaxed));
        }
    }
}

impl WorkItem<RX_MODE> for Deferred {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(dev) = this.dev() {
            attach::update_filter(&dev);
        }
    }
}

impl WorkItem<QUEUES> for Deferred {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(dev) = this.dev() {
            queues::changed(&dev, &mut rtnl::lock());
        }
    }
}

impl WorkItem<VF> for Deferred {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(dev) = this.dev() {
            functions::settle(&dev);
        }
    }
}
