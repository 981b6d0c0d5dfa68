// SPDX-License-Identifier: GPL-2.0

//! Questions to the host that a task waits for: how a channel is set up, and resets.

use kernel::{
    cpu::num_online_cpus,
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
        Mutex,
        SpinLockIrq, //
    },
    time::Delta, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    channels::Session,
    controller::Controller,
    protocol::{
        Operation,
        Packet,
        Properties,
        Version,
        Wwns, //
    },
    queue::Request,
    Kind, //
};

/// How long the host may take for an answer.
pub(crate) const PATIENCE: Delta = Delta::from_secs(180);

/// The state of questions.
struct State {
    /// The number of the last question.
    last: u32,
    /// The question that is waited for.
    awaited: Option<u32>,
    answer: Option<Result<Packet>>,
    /// Questions that nobody waits for any more, and that the host has not answered yet.
    late: usize,
}

/// Asks the host, one question at a time.
#[pin_data]
pub(crate) struct Control {
    #[pin]
    turn: Mutex<()>,
    #[pin]
    state: SpinLockIrq<State>,
}

impl Control {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            turn <- new_mutex!(()),
            state <- new_spinlock_irq!(State {
                last: 0,
                awaited: None,
                answer: None,
                late: 0,
            }),
        })
    }

    /// Asks, and waits for the answer. Process context; sleeps.
    ///
    /// [`ETIMEDOUT`] after 180 s, [`ENODEV`] if the host takes the channel back, [`EINVAL`] if the
    /// answer is too short. An answer that comes too late is recognized, and ignored.
    pub(crate) fn ask(&self, session: &Session, question: &Packet) -> Result<Packet> {
        let _turn = self.turn.lock();
        let number = {
            let mut state = self.state.lock();
            state.last = state.last.wrapping_add(1);
            state.awaited = Some(state.last);
            state.answer = None;
            state.last
        };

        // Commands may have filled the ring.
        let mut unsent = Some(Request::Control(number));
        let sent = session.wait(PATIENCE, || {
            let Some(request) = unsent.take() else {
                return self.has_answer();
            };
            match session.writer().request(question.as_bytes(), request) {
                Ok(()) => self.has_answer(),
                Err((EAGAIN, request)) => {
                    unsent = Some(request);
                    false
                }
                Err((error, _)) => {
                    self.answer(number, Err(error));
                    true
                }
            }
        });

        let mut state = self.state.lock();
        state.awaited = None;
        match state.answer.take() {
            Some(answer) => answer,
            None => {
                if unsent.is_none() {
                    state.late += 1;
                }
                Err(sent.err().unwrap_or(ETIMEDOUT))
            }
        }
    }

    fn has_answer(&self) -> bool {
        self.state.lock().answer.is_some()
    }

    /// The host has answered a question. Any context; who waits must be notified.
    pub(crate) fn completed(&self, number: u32, payload: &[u8]) {
        let packet = Packet::read_from_prefix(payload)
            .map(|(packet, _)| packet)
            .map_err(|_| EINVAL);

        self.answer(number, packet);
    }

    fn answer(&self, number: u32, packet: Result<Packet>) {
        let mut state = self.state.lock();

        if state.awaited == Some(number) {
            state.answer = Some(packet);
        } else {
            state.late = state.late.saturating_sub(1);
        }
    }

    /// How many of the requests under way are questions that were given up.
    pub(crate) fn late(&self) -> usize {
        self.state.lock().late
    }

    /// The channel was closed: nothing is answered any more.
    pub(crate) fn forget(&self) {
        self.state.lock().late = 0;
    }

    /// Asks, and takes nothing but a success for an answer.
    fn succeed(&self, session: &Session, question: &Packet) -> Result<Packet> {
        let answer = self.ask(session, question)?;

        if !answer.is_success() {
            return Err(EINVAL);
        }
        Ok(answer)
    }
}

/// What the host has said while the channel was set up.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) version: Version,
    /// Most bytes of a command's data, as the host says.
    pub(crate) max_transfer: u32,
    /// How many sub-channels there may be.
    sub_channels: u16,
}

impl Controller {
    /// Sets the primary channel up: each step waits for the one before. Process context; sleeps.
    pub(crate) fn negotiate(&self, session: &Session) -> Result<Terms> {
        let control = self.control();

        control.succeed(session, &Packet::new(Operation::BeginInitialization))?;
        let version = self.agree(session)?;
        let properties: Properties = control
            .succeed(session, &Packet::new(Operation::QueryProperties))?
            .get()?;
        if self.kind() == Kind::FibreChannel {
            let names = control.succeed(session, &Packet::new(Operation::FchbaData))?;
            self.rename(&names)?;
        }
        control.succeed(session, &Packet::new(Operation::EndInitialization))?;

        Ok(Terms {
            version,
            max_transfer: properties.max_transfer,
            sub_channels: if properties.multi_channel() && self.kind() != Kind::Ide {
                properties.max_channels
            } else {
                0
            },
        })
    }

    /// The host says what a Fibre Channel adapter is called. Any context.
    pub(crate) fn rename(&self, packet: &Packet) -> Result {
        let (node, port) = packet.get::<Wwns>()?.active();

        #[cfg(CONFIG_SCSI_FC_ATTRS)]
        if let Some(names) = self.names() {
            names.set(node, port);
        }
        #[cfg(not(CONFIG_SCSI_FC_ATTRS))]
        let _ = (node, port);
        Ok(())
    }

    /// Agrees on a version of the protocol.
    fn agree(&self, session: &Session) -> Result<Version> {
        for version in Version::ALL {
            let answer = self.control().ask(
                session,
                // The revision, of the host's own sources, is 0.
                &Packet::with(Operation::QueryProtocolVersion, &[version.0, 0]),
            )?;

            if answer.operation != Operation::CompleteIo as u32 {
                return Err(EINVAL);
            }
            if answer.status == 0 {
                return Ok(version);
            }
        }
        dev_err!(
            self.device(),
            "the host knows no version of the protocol that we know\n"
        );
        Err(EINVAL)
    }

    /// Asks for sub-channels, which are opened when they are offered. Without them the primary
    /// channel does all the work. Process context; sleeps.
    pub(crate) fn ask_for_sub_channels(&self, session: &Session, terms: &Terms) {
        // One processor has the primary channel.
        let others = num_online_cpus().saturating_sub(1);
        let count = terms
            .sub_channels
            .min(u16::try_from(others).unwrap_or(u16::MAX));
        if count == 0 {
            return;
        }

        // Offers may come before the answer.
        self.expect_sub_channels(count);
        if let Err(error) = self
            .control()
            .succeed(session, &Packet::with(Operation::CreateSubChannels, &count))
        {
            dev_err!(self.device(), "cannot create sub-channels: {:?}\n", error);
        }
    }
}
