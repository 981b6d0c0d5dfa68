// SPDX-License-Identifier: GPL-2.0

//! The connection with the host: its version, its beginning and its end, and what is sent to it.
//!
//! C source: [`drivers/hv/connection.c`](srctree/drivers/hv/connection.c)

mod messages;

use messages::Backlog;
pub(crate) use messages::{
    on_message,
    Taken, //
};

use crate::{
    hw::{
        self,
        hypercall::Status, //
    },
    log::warn_limited,
    message::{
        self,
        kind,
        Header, //
    },
    request::{
        Answer,
        Requests,
        Subject,
        DEADLINE, //
    },
    trace, //
};
use kernel::{
    bindings,
    impl_has_work,
    new_mutex,
    new_spinlock_irq,
    new_work,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu,
        Arc,
        ArcBorrow,
        Completion,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        delay::{
            fsleep,
            udelay, //
        },
        msecs_to_jiffies,
        Delta, //
    },
    workqueue::{
        OwnedQueue,
        Queue,
        Work, //
    }, //
};
use zerocopy::IntoBytes;

/// Versions of the protocol, newest first.
const VERSIONS: [u32; 7] = [V6_0, V5_3, V5_2, V5_1, V5_0, V4_1, V4_0];
const V6_0: u32 = version(6, 0);
pub(crate) const V5_3: u32 = version(5, 3);
const V5_2: u32 = version(5, 2);
const V5_1: u32 = version(5, 1);
const V5_0: u32 = version(5, 0);
pub(crate) const V4_1: u32 = version(4, 1);
const V4_0: u32 = version(4, 0);

const fn version(major: u16, minor: u16) -> u32 {
    (major as u32) << 16 | minor as u32
}

/// Where messages go before the host has said something else.
const CONNECTION: u32 = bindings::VMBUS_MESSAGE_CONNECTION_ID;
const CONNECTION_SINCE_5: u32 = bindings::VMBUS_MESSAGE_CONNECTION_ID_4;
const CONNECTION_OF_VTL2: u32 = bindings::VMBUS_MESSAGE_CONNECTION_ID_REDIRECT;

/// How often a message is posted before the host counts as dead.
const ATTEMPTS: u32 = 100;
/// The longest pause between two attempts, in microseconds.
const LONGEST_PAUSE: u32 = 1 << 21;
/// What is not longer than this is waited for without sleeping.
const SHORT_PAUSE: u32 = 1000;

/// Whether the connection can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum State {
    Disconnected = bindings::vmbus_connect_state_DISCONNECTED,
    Connecting = bindings::vmbus_connect_state_CONNECTING,
    Connected = bindings::vmbus_connect_state_CONNECTED,
}

/// The connection.
#[pin_data]
pub(crate) struct Connection {
    #[pin]
    requests: Requests,
    #[pin]
    backlog: SpinLockIrq<Backlog>,
    #[pin]
    all_offers_delivered: Completion,
    /// Who negotiates or unloads.
    #[pin]
    transition: Mutex<()>,
    state: Atomic<u32>,
    version: Atomic<u32>,
    /// Where messages go.
    connection_id: Atomic<u32>,
    next_gpadl: Atomic<u32>,
    confidential: bool,
    /// Offers are dropped: the guest is about to sleep.
    ignore_offers: Atomic<bool>,
    unloaded: Atomic<bool>,
    /// The host did not say that it has ended the connection: it may use the pages that it was shown.
    unsure: Atomic<bool>,
    // Dropped in this order: what is queued by work items of the first runs in the others.
    control: OwnedQueue,
    removals: OwnedQueue,
    primaries: OwnedQueue,
    subs: OwnedQueue,
    #[pin]
    work: Work<Connection>,
}

impl_has_work! {
    impl HasWork<Self> for Connection { self.work }
}

/// The connection that the interrupt handler and other drivers use.
///
/// # Invariants
///
/// If it is not null it owns a reference of an [`Arc<Connection>`]; when that is taken away, a
/// grace period passes before it is dropped.
static CURRENT: Atomic<*mut Connection> = Atomic::new(core::ptr::null_mut());

/// The connection, if there is one. Any context.
#[inline(never)]
pub(crate) fn current() -> Option<Arc<Connection>> {
    let _guard = rcu::read_lock();
    let current = CURRENT.load(Acquire);

    if current.is_null() {
        return None;
    }
    // SAFETY: By the invariant of `CURRENT` there is a reference, which is not dropped before a
    // grace period has passed.
    Some(unsafe { ArcBorrow::from_raw(current) }.into())
}

/// Shows a connection to everybody as long as it exists.
pub(crate) struct Published(());

impl Published {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        // INVARIANT: The pointer owns the reference.
        CURRENT.store(Arc::into_raw(connection).cast_mut(), Release);
        Self(())
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let current = CURRENT.xchg(core::ptr::null_mut(), Full);

        rcu::synchronize_rcu();
        // SAFETY: It is what `new()` has made of a reference; nobody finds it any more.
        let connection = unsafe { Arc::from_raw(current) };

        // Work items have references, of which the last may not be dropped by one of them: it
        // would wait for its own queue.
        connection.settle();
    }
}

impl Connection {
    /// Prepares a connection; nothing is sent. May sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let control = OwnedQueue::ordered(c"hv_vmbus_con")?;
        let removals = OwnedQueue::concurrent(c"hv_vmbus_rescind")?;
        // Drivers name their devices in the order of probing: that of the offers.
        let primaries = OwnedQueue::ordered(c"hv_pri_chan")?;
        let subs = OwnedQueue::concurrent(c"hv_sub_chan")?;
        let backlog = Backlog::new()?;

        Arc::pin_init(
            pin_init!(Self {
                requests <- Requests::new(),
                backlog <- new_spinlock_irq!(backlog, "Connection::backlog"),
                all_offers_delivered <- Completion::new(),
                transition <- new_mutex!((), "Connection::transition"),
                state: Atomic::new(State::Connecting as u32),
                version: Atomic::new(0),
                connection_id: Atomic::new(CONNECTION),
                next_gpadl: Atomic::new(0xe1e10),
                confidential: hw::is_confidential(),
                ignore_offers: Atomic::new(false),
                unloaded: Atomic::new(false),
                unsure: Atomic::new(false),
                control,
                removals,
                primaries,
                subs,
                work <- new_work!("Connection::work"),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    pub(crate) fn primaries(&self) -> &Queue {
        &self.primaries
    }

    pub(crate) fn subs(&self) -> &Queue {
        &self.subs
    }

    pub(crate) fn removals(&self) -> &Queue {
        &self.removals
    }

    /// The version of the protocol; 0 before it was negotiated.
    pub(crate) fn version(&self) -> u32 {
        self.version.load(Acquire)
    }

    /// Whether host and guest talk through a paravisor, so that nobody else can listen.
    pub(crate) fn is_confidential(&self) -> bool {
        self.confidential && self.version() >= V6_0
    }

    /// A number for a new GPADL.
    pub(crate) fn next_gpadl(&self) -> u32 {
        // 0 stands for none.
        loop {
            let gpadl = self.next_gpadl.fetch_add(1, Relaxed);
            if gpadl != 0 {
                return gpadl;
            }
        }
    }

    /// Posts a message, and tries again while the host is out of buffers. May sleep.
    ///
    /// Returns [`ENXIO`] if there is no such connection (only for the first message), [`EAGAIN`]
    /// or [`ENOBUFS`] if it did not work for a long time, and [`EIO`] for anything else.
    pub(crate) fn post(&self, payload: &[u8]) -> Result {
        let connection = self.connection_id.load(Acquire);
        let first = message::parse::<Header>(payload)?.kind == kind::INITIATE_CONTACT;
        let mut pause = 1;
        let mut last = EAGAIN;

        for _ in 0..ATTEMPTS {
            last = match hw::hypercall::post_message(connection, payload) {
                Ok(()) => return Ok(()),
                Err(Status::InvalidConnection) if first => return Err(ENXIO),
                // This also comes when messages are sent too fast.
                Err(Status::InvalidConnection) => EAGAIN,
                Err(Status::Busy) => ENOBUFS,
                Err(Status::Other(status)) => {
                    warn_limited!("the hypervisor refuses a message: status {:#x}\n", status);
                    return Err(EIO);
                }
            };
            let delta = Delta::from_micros(i64::from(pause));
            if pause > SHORT_PAUSE {
                fsleep(delta);
            } else {
                udelay(delta);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(last)
    }

    /// Sends a message. May sleep.
    pub(crate) fn send<T: IntoBytes + zerocopy::Immutable>(&self, message: &T) -> Result {
        self.post(message.as_bytes())
    }

    /// Lets the host use a relative id again. May sleep.
    pub(crate) fn release_relid(&self, relid: u32) {
        let message = message::RelidReleased {
            header: Header::new(kind::RELID_RELEASED),
            relid,
        };

        if self.unloaded.load(Acquire) {
            return;
        }
        let result = self.send(&message);
        trace::release_relid(&message, &result);
    }

    /// Agrees with the host on a version. May sleep.
    ///
    /// Returns [`EDOM`] if there is none, and [`EINVAL`] if an isolated guest cannot live with it.
    pub(crate) fn connect(&self) -> Result {
        let _guard = self.transition.lock();
        let newest = crate::abi::max_version();

        for version in VERSIONS.into_iter().filter(|version| *version <= newest) {
            if !self.negotiate(version)? {
                continue;
            }
            if hw::is_isolated() && version < V5_2 {
                pr_err!(
                    "the host speaks version {}.{} only, too old for an isolated guest\n",
                    version >> 16,
                    version & 0xffff
                );
                return Err(EINVAL);
            }
            self.version.store(version, Release);
            crate::abi::set_version(version);
            self.set_state(State::Connected);
            pr_info!("Vmbus version:{}.{}\n", version >> 16, version & 0xffff);
            return Ok(());
        }
        pr_err!("the host speaks no version of VMBus that this driver knows\n");
        Err(EDOM)
    }

    /// Whether the host speaks a version.
    fn negotiate(&self, version: u32) -> Result<bool> {
        if version < V5_0 {
            return self.contact(version, CONNECTION);
        }
        if hw::vtl() == 2 {
            match self.contact(version, CONNECTION_OF_VTL2) {
                Err(error) if error == ENXIO => {}
                other => return other,
            }
        }
        self.contact(version, CONNECTION_SINCE_5)
    }

    fn contact(&self, version: u32, connection: u32) -> Result<bool> {
        let (page1, page2) = crate::abi::pages::monitor_addresses();
        let features = if self.confidential && version >= V6_0 {
            u64::from(bindings::VMBUS_FEATURE_FLAG_CONFIDENTIAL_CHANNELS) << 32
        } else {
            0
        };
        let message = message::InitiateContact {
            header: Header::new(kind::INITIATE_CONTACT),
            version,
            target_vp: hw::vp_number(bindings::VMBUS_CONNECT_CPU),
            sint_vtl: if version >= V5_0 {
                u64::from(bindings::VMBUS_MESSAGE_SINT) | u64::from(hw::vtl()) << 8 | features
            } else {
                crate::abi::pages::interrupt_address()
            },
            monitor_page1: page1,
            monitor_page2: page2,
        };
        self.connection_id.store(connection, Release);
        let pending = self.requests.begin(Subject::Version, None)?;
        let result = self.send(&message);
        trace::negotiate(&message, &result);
        match result {
            Err(error) if error == ENXIO && connection == CONNECTION_OF_VTL2 => return Err(error),
            // A host that does not know the connection does not know the version.
            Err(error) if error == ENXIO => return Ok(false),
            other => other?,
        }

        // It may say yes later, when nobody listens.
        let answer = pending.wait();
        self.unsure.store(answer.is_err(), Relaxed);
        match answer? {
            Answer::Version {
                supported: true,
                connection_id,
            } => {
                if version >= V5_0 {
                    self.connection_id.store(connection_id, Release);
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Drops offers from now on, or no longer: the guest is about to sleep.
    pub(crate) fn ignore_offers(&self, ignore: bool) {
        self.ignore_offers.store(ignore, Release);
    }

    /// Connects again after [`Connection::unload`]: in the same guest, which has slept. May sleep.
    ///
    /// Returns [`EPROTO`] if the host does not speak the same version any more.
    pub(crate) fn reconnect(&self) -> Result {
        let _guard = self.transition.lock();

        self.all_offers_delivered.reinit();
        if !self.negotiate(self.version())? {
            return Err(EPROTO);
        }
        self.unloaded.store(false, Release);
        self.set_state(State::Connected);
        Ok(())
    }

    /// Asks for the offers, and waits until those of the boot were handled. May sleep.
    pub(crate) fn request_offers(&self) -> Result {
        let result = self.send(&Header::new(kind::REQUEST_OFFERS));
        trace::request_offers(&result);
        result?;

        if self
            .all_offers_delivered
            .wait_for_completion_timeout(msecs_to_jiffies(DEADLINE))
            .is_err()
        {
            pr_warn!("timed out waiting for all boot-time offers to be delivered.\n");
        }
        self.control.flush();
        self.primaries.flush();
        Ok(())
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u32, Release);
        crate::abi::set_state(state as u32);
    }

    /// Whether the host may go on using the pages of a connection that has ended.
    pub(crate) fn is_unsure(&self) -> bool {
        self.unsure.load(Relaxed)
    }

    /// Ends the connection: the host forgets all of it. May sleep; for [`DEADLINE`] at most.
    pub(crate) fn unload(&self) {
        let _guard = self.transition.lock();

        if !self.may_unload() {
            return;
        }
        if let Err(error) = self.ask_to_unload() {
            pr_err!(
                "the host does not confirm the end of the connection: {:?}\n",
                error
            );
            self.unsure.store(true, Relaxed);
        }
    }

    fn ask_to_unload(&self) -> Result {
        let pending = self.requests.begin(Subject::Unload, None)?;

        self.send(&Header::new(kind::UNLOAD))?;
        pending.wait()?;
        Ok(())
    }

    /// Waits for all work items. May sleep.
    pub(crate) fn settle(&self) {
        self.control.flush();
        self.primaries.flush();
        self.subs.flush();
        self.removals.flush();
    }

    /// Takes the right to unload, which exists once for each connection.
    fn may_unload(&self) -> bool {
        let before = self.state.xchg(State::Disconnected as u32, Full);

        self.unloaded.store(true, Release);
        crate::abi::set_state(State::Disconnected as u32);
        before == State::Connected as u32
    }

    /// As [`Connection::unload`], for a kernel that dies: nothing sleeps, allocates or takes a
    /// lock that somebody else might hold for ever.
    pub(crate) fn unload_by_polling(&self) {
        let mut message = [0; size_of::<Header>()];

        if !self.may_unload() {
            return;
        }
        for (to, from) in message.iter_mut().zip(kind::UNLOAD.to_le_bytes()) {
            *to = from;
        }
        for _ in 0..ATTEMPTS {
            if hw::hypercall::post_message(self.connection_id.load(Acquire), &message).is_ok() {
                break;
            }
            udelay(Delta::from_micros(100));
        }
        hw::crash::wait_for_unload();
    }
}

/// How the connection is ended.
pub(crate) enum Unload {
    /// In process context.
    Sleep,
    /// In a kernel that dies.
    Poll,
}

/// Ends the connection, if there is one.
pub(crate) fn unload(how: Unload) {
    if let Some(connection) = current() {
        match how {
            Unload::Sleep => connection.unload(),
            Unload::Poll => connection.unload_by_polling(),
        }
    }
}
