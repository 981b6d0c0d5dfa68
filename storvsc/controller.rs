// SPDX-License-Identifier: GPL-2.0

//! A controller: its channels from the first opened to the last closed.

use kernel::{
    new_mutex,
    new_work,
    prelude::*,
    scsi,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu,
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    vmbus::{
        self,
        SubChannel, //
    },
    workqueue::Work, //
};

use crate::{
    channels::{
        Channel,
        Channels,
        Session, //
    },
    events::Events,
    handshake::{
        Control,
        Terms,
        PATIENCE, //
    },
    parameters::Settings,
    protocol::{
        Operation,
        Packet,
        Version, //
    },
    Kind, //
};

/// How often a task that waits for the end of all commands looks.
const DRAIN_INTERVAL: Delta = Delta::from_millis(1);

/// The open channels, the primary first.
struct Members {
    sessions: KVec<Arc<Session>>,
    /// How many sub-channels may be opened besides.
    expected: usize,
    /// Commands may use them.
    in_use: bool,
}

/// What a controller's callbacks work on.
#[pin_data]
pub(crate) struct Controller {
    device: ARef<vmbus::Device>,
    host: ARef<scsi::Host>,
    kind: Kind,
    /// The world wide names of a Fibre Channel adapter.
    #[cfg(CONFIG_SCSI_FC_ATTRS)]
    names: Option<Arc<scsi::fc::Names>>,
    settings: Settings,
    /// Slots for requests of each channel.
    requests: usize,
    /// The version of the protocol.
    version: Atomic<u32>,
    /// There will be no channels any more.
    gone: Atomic<bool>,
    /// What commands use; none while there is nothing to be used.
    channels: rcu::Slot<Channels>,
    #[pin]
    members: Mutex<Members>,
    #[pin]
    control: Control,
    #[pin]
    events: Events,
    #[pin]
    scan: Work<Self, 0>,
    #[pin]
    watch: Work<Self, 1>,
}

kernel::impl_has_work! {
    impl HasWork<Self, 0> for Controller { self.scan }
    impl HasWork<Self, 1> for Controller { self.watch }
}

impl Controller {
    pub(crate) fn new(
        device: &vmbus::Device,
        host: &scsi::Host,
        kind: Kind,
        settings: Settings,
        requests: usize,
    ) -> Result<Arc<Self>> {
        let events = Events::new(host.host_no());
        #[cfg(CONFIG_SCSI_FC_ATTRS)]
        let names = match kind {
            // Until the host says them.
            Kind::FibreChannel => Some(Arc::pin_init(scsi::fc::Names::new(0, 0), GFP_KERNEL)?),
            Kind::Scsi | Kind::Ide => None,
        };

        Arc::pin_init(
            try_pin_init!(Self {
                device: device.into(),
                host: host.into(),
                kind,
                #[cfg(CONFIG_SCSI_FC_ATTRS)]
                names,
                settings,
                requests,
                version: Atomic::new(0),
                gone: Atomic::new(false),
                channels: rcu::Slot::new(),
                members <- new_mutex!(Members {
                    sessions: KVec::new(),
                    expected: 0,
                    in_use: false,
                }),
                control <- Control::new(),
                events <- events,
                scan <- new_work!("storvsc scan"),
                watch <- new_work!("storvsc watch"),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn device(&self) -> &vmbus::Device {
        &self.device
    }

    pub(crate) fn host(&self) -> &scsi::Host {
        &self.host
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    #[cfg(CONFIG_SCSI_FC_ATTRS)]
    pub(crate) fn names(&self) -> Option<&Arc<scsi::fc::Names>> {
        self.names.as_ref()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    pub(crate) fn channels(&self) -> &rcu::Slot<Channels> {
        &self.channels
    }

    /// The version of the protocol that the host and we have agreed on.
    pub(crate) fn version(&self) -> Version {
        // CAST: It was one.
        Version(self.version.load(Relaxed) as u16)
    }

    /// Whether the channels are closed for good.
    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Acquire)
    }

    pub(crate) fn primary(&self) -> Option<Arc<Session>> {
        self.members.lock().sessions.first().cloned()
    }

    /// Opens the primary channel, sets it up, and asks for sub-channels. Commands may come then.
    ///
    /// Process context; sleeps, no longer than the host may take for its answers.
    pub(crate) fn connect(self: &Arc<Self>, channel: vmbus::Channel<'_>) -> Result<Terms> {
        let session = channel.open(
            self.settings.sizes,
            self.requests,
            Channel::new(self.clone()),
        )?;
        {
            let mut members = self.members.lock();
            if members.sessions.push(session.clone(), GFP_KERNEL).is_err() {
                drop(members);
                session.close();
                return Err(ENOMEM);
            }
        }

        let terms = self
            .negotiate(&session)
            .inspect_err(|_| self.disconnect())?;
        self.version.store(terms.version.0.into(), Relaxed);
        {
            let mut members = self.members.lock();
            members.in_use = true;
            self.publish(&members);
        }
        self.ask_for_sub_channels(&session, &terms);
        Ok(terms)
    }

    /// So many sub-channels may be offered.
    pub(crate) fn expect_sub_channels(&self, count: u16) {
        self.members.lock().expected = count.into();
    }

    /// Has commands use the channels that there are.
    fn publish(&self, members: &Members) {
        if !members.in_use {
            return;
        }
        match Channels::new(&members.sessions) {
            Ok(channels) => {
                // Commands may have left it to their successors to signal the host, which use
                // other channels now.
                if let Some(old) = self.channels.replace(Some(channels)) {
                    old.flush();
                }
            }
            // Those that were used before are open still.
            Err(error) => dev_warn!(self.device, "cannot use all channels: {:?}\n", error),
        }
    }

    /// A sub-channel was offered. Process context; sleeps.
    pub(crate) fn add_sub_channel(self: &Arc<Self>, offer: SubChannel<'_>) {
        {
            let mut members = self.members.lock();
            if members.sessions.is_empty() || members.sessions.len() > members.expected {
                return;
            }
            if members.sessions.reserve(1, GFP_KERNEL).is_err() {
                return;
            }
        }

        let opened = offer.open(
            self.settings.sizes,
            self.requests,
            Channel::new(self.clone()),
        );
        let session = match opened {
            Ok(session) => session,
            Err(error) => {
                dev_err!(self.device, "cannot open a sub-channel: {:?}\n", error);
                return;
            }
        };

        let mut members = self.members.lock();
        if members.sessions.is_empty()
            || members.sessions.push(session.clone(), GFP_KERNEL).is_err()
        {
            drop(members);
            session.close();
            return;
        }
        self.publish(&members);
    }

    /// Interrupts of a channel go to another processor. Process context; sleeps.
    pub(crate) fn channels_moved(&self) {
        let members = self.members.lock();

        self.publish(&members);
    }

    /// Closes all channels. What is under way is completed, as failed for want of a connection.
    ///
    /// Process context; sleeps.
    pub(crate) fn disconnect(&self) {
        let sessions = {
            let mut members = self.members.lock();
            members.in_use = false;
            members.expected = 0;
            core::mem::take(&mut members.sessions)
        };

        drop(self.channels.replace(None));
        // The primary closes the others first.
        if let Some(primary) = sessions.first() {
            primary.close();
        }
        self.control.forget();
    }

    /// Closes all channels, for good. Commands fail from now on.
    pub(crate) fn close(&self) {
        self.gone.store(true, Release);
        self.disconnect();
    }

    /// Whether there are commands that the host has not answered. Process context.
    pub(crate) fn is_busy(&self) -> bool {
        let in_flight: usize = self
            .members
            .lock()
            .sessions
            .iter()
            .map(|session| session.writer().in_flight())
            .sum();

        in_flight > self.control.late()
    }

    /// How often channels were read. Process context.
    pub(crate) fn received(&self) -> u32 {
        self.members
            .lock()
            .sessions
            .iter()
            .map(|session| session.handler().received())
            .fold(0, u32::wrapping_add)
    }

    /// Whether the host has taken the controller back, and will not answer.
    fn is_rescinded(&self) -> bool {
        self.primary().is_some_and(|primary| primary.is_rescinded())
    }

    /// Waits until the host has answered all commands, or will not. Process context; sleeps.
    ///
    /// [`ETIMEDOUT`] after 180 s. Whoever calls this sees to it that there are no new ones.
    fn drain(&self) -> Result {
        let start = Instant::<Monotonic>::now();

        while self.is_busy() && !self.is_rescinded() {
            if start.elapsed() > PATIENCE {
                return Err(ETIMEDOUT);
            }
            fsleep(DRAIN_INTERVAL);
        }
        Ok(())
    }

    /// Resets the bus, and waits until no command is under way. Process context; sleeps.
    pub(crate) fn reset(&self) -> Result {
        let primary = self.primary().ok_or(ENODEV)?;

        self.control
            .ask(&primary, &Packet::new(Operation::ResetBus))?;
        self.drain()
    }

    /// Closes the channels once the host has answered all commands; new ones wait. Nobody looks for
    /// disks meanwhile, see [`Events`].
    ///
    /// Process context; sleeps.
    pub(crate) fn suspend(&self) -> Result {
        self.members.lock().in_use = false;
        if let Some(old) = self.channels.replace(None) {
            old.flush();
        }

        if let Err(error) = self.drain() {
            let mut members = self.members.lock();
            members.in_use = true;
            self.publish(&members);
            return Err(error);
        }
        self.disconnect();
        Ok(())
    }
}
