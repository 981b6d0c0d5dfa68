// SPDX-License-Identifier: GPL-2.0

//! What the integration services share: a message pipe, the headers and the versions.
//!
//! The host asks and the guest answers, in in-band packets. Each message has the header of the
//! pipe and that of the services; the answer is the question with changed fields. The first
//! question is which versions the guest speaks.

use std::collections::VecDeque;

use serde_json::json;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::device::{Device, Io, Offer, Violation};
use crate::guid::Guid;
use crate::ring::{Packet, PacketKind};
use crate::trace::Level;

// `chn_flags` of an offer, and the pipe mode at the start of its user-defined part.
const ENUMERATE_DEVICE_INTERFACE: u16 = 1;
const NAMED_PIPE: u16 = 0x10;
const PIPE_OF_MESSAGES: u32 = 4;

/// Pipe header: whole data.
const PIPE_DATA: u32 = 1;

/// Message type of the negotiation.
const NEGOTIATE: u16 = 0;

// Header flags.
const TRANSACTION: u8 = 1;
const REQUEST: u8 = 2;
const RESPONSE: u8 = 4;

/// Framework versions that we offer: Windows Server 2008 and 2008 R2.
const FRAMEWORK: [Version; 2] = [Version::new(1, 0), Version::new(3, 0)];

/// A version of the framework or of a service.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Version {
    major: U16,
    minor: U16,
}

impl Version {
    /// Version `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major: U16::new(major), minor: U16::new(minor) }
    }

    /// The number before the point.
    pub fn major(&self) -> u16 {
        self.major.get()
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    pipe_kind: U32,
    /// Bytes that follow.
    pipe_len: U32,
    framework: Version,
    kind: U16,
    service: Version,
    /// Bytes of the body.
    len: U16,
    status: U32,
    transaction: u8,
    flags: u8,
    reserved: [u8; 2],
}

/// Body of the negotiation; the versions follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Negotiation {
    frameworks: U16,
    services: U16,
    reserved: U32,
}

const PIPE_HEADER: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Negotiating,
    Ready { framework: Version, service: Version },
    Refused,
}

/// The guest's answer to a message of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The guest's HRESULT, 0 if all is well.
    pub status: u32,
    /// The message as it came back, padded to 8 bytes.
    pub body: Vec<u8>,
}

/// One of the integration services: what it adds to the session that all of them have.
pub trait Service: Send {
    /// Kind of the device.
    const INTERFACE: Guid;
    /// The device.
    const INSTANCE: Guid;

    /// The session.
    fn session(&mut self) -> &mut Session;

    /// The guest answered a message. An error ends the channel.
    fn answered(&mut self, io: &mut Io<'_>, answer: Answer) -> Result<(), Violation>;

    /// A session begins or ends: forgets what was said in the last one.
    fn reset(&mut self) {}

    /// See [`Device::tick`].
    fn tick(&mut self, _io: &mut Io<'_>, _now: u64) {}

    /// See [`Device::command`].
    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String>;
}

impl<S: Service> Device for S {
    fn offer(&self) -> Offer {
        Offer {
            flags: ENUMERATE_DEVICE_INTERFACE | NAMED_PIPE,
            user: PIPE_OF_MESSAGES.to_le_bytes().to_vec(),
            ..Offer::new(S::INTERFACE, S::INSTANCE)
        }
    }

    fn opened(&mut self, io: &mut Io<'_>, _channel: usize) {
        self.reset();
        self.session().open(io);
    }

    fn packet(
        &mut self,
        io: &mut Io<'_>,
        _channel: usize,
        packet: Packet,
    ) -> Result<(), Violation> {
        match self.session().receive(io, &packet)? {
            Some(answer) => self.answered(io, answer),
            None => Ok(()),
        }
    }

    fn closed(&mut self, _io: &mut Io<'_>, _channel: usize) {
        self.session().close();
        self.reset();
    }

    fn tick(&mut self, io: &mut Io<'_>, now: u64) {
        Service::tick(self, io, now);
    }

    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        Service::command(self, io, words)
    }
}

/// The session of one integration service.
pub struct Session {
    kind: u16,
    versions: &'static [Version],
    state: State,
    transaction: u8,
    /// Transactions without an answer, oldest first: the guest answers in order.
    waiting: VecDeque<u8>,
}

impl Session {
    /// A service with messages of type `kind`, in any of `versions`.
    pub const fn new(kind: u16, versions: &'static [Version]) -> Self {
        Self { kind, versions, state: State::Closed, transaction: 0, waiting: VecDeque::new() }
    }

    /// The channel is open: asks for the guest's versions.
    pub fn open(&mut self, io: &mut Io<'_>) {
        self.close();
        let counts = Negotiation {
            frameworks: (FRAMEWORK.len() as u16).into(),
            services: (self.versions.len() as u16).into(),
            reserved: U32::ZERO,
        };
        let body = [counts.as_bytes(), FRAMEWORK.as_bytes(), self.versions.as_bytes()].concat();
        self.state = State::Negotiating;
        self.put(io, NEGOTIATE, &body);
    }

    /// The channel is closed.
    pub fn close(&mut self) {
        self.state = State::Closed;
        self.waiting.clear();
    }

    /// Whether versions are agreed on.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// The version of the service that was agreed on.
    pub fn version(&self) -> Option<Version> {
        match self.state {
            State::Ready { service, .. } => Some(service),
            _ => None,
        }
    }

    /// Sends a message of the service if the versions are agreed on.
    pub fn send(&mut self, io: &mut Io<'_>, body: &[u8]) {
        if self.is_ready() {
            self.put(io, self.kind, body);
        }
    }

    fn put(&mut self, io: &mut Io<'_>, kind: u16, body: &[u8]) {
        let (framework, service) = match self.state {
            State::Ready { framework, service } => (framework, service),
            _ => (Version::new(0, 0), Version::new(0, 0)),
        };
        self.transaction = self.transaction.wrapping_add(1);
        self.waiting.push_back(self.transaction);
        let header = Header {
            pipe_kind: PIPE_DATA.into(),
            pipe_len: ((size_of::<Header>() - PIPE_HEADER + body.len()) as u32).into(),
            framework,
            kind: kind.into(),
            service,
            len: (body.len() as u16).into(),
            status: U32::ZERO,
            transaction: self.transaction,
            flags: TRANSACTION | REQUEST,
            reserved: [0; 2],
        };
        io.send(0, 0, false, &[header.as_bytes(), body].concat());
    }

    /// Takes a packet of the guest; returns the answer if it is one to [`Session::send`].
    pub fn receive(
        &mut self,
        io: &mut Io<'_>,
        packet: &Packet,
    ) -> Result<Option<Answer>, Violation> {
        if packet.kind != PacketKind::InBand {
            return Err(Violation::new(format!("{:?} packet to a service", packet.kind)));
        }
        let Ok((header, body)) = Header::read_from_prefix(&packet.data) else {
            return Err(Violation::new(format!("message of {} bytes", packet.data.len())));
        };
        let (pipe, rest) = (header.pipe_len.get() as usize, packet.data.len() - PIPE_HEADER);
        if header.pipe_kind.get() != PIPE_DATA || pipe > rest {
            return Err(Violation::new(format!("pipe header of {pipe} bytes before {rest}")));
        }
        let (kind, flags) = (header.kind.get(), header.flags);
        if flags & RESPONSE == 0 || self.waiting.pop_front() != Some(header.transaction) {
            let id = header.transaction;
            return Err(Violation::new(format!("answer {id}, flags {flags:#x}, is to nothing")));
        }
        match self.state {
            State::Negotiating if kind == NEGOTIATE => {
                self.state = self.agree(body)?;
                io.count(if self.is_ready() { "negotiated" } else { "not_negotiated" }, 1);
                let state = format!("{:?}", self.state);
                let fields = json!({ "device": io.name, "versions": state });
                io.trace.event(Level::Messages, "negotiated", fields);
                Ok(None)
            }
            State::Ready { .. } if kind == self.kind => {
                Ok(Some(Answer { status: header.status.get(), body: body.to_vec() }))
            }
            _ => Err(Violation::new(format!("message type {kind} at a wrong time"))),
        }
    }

    /// What the answer to the negotiation leads to.
    fn agree(&self, body: &[u8]) -> Result<State, Violation> {
        let short = || Violation::new("answer to the negotiation is cut short");
        let (counts, rest) = Negotiation::read_from_prefix(body).map_err(|_| short())?;
        match (counts.frameworks.get(), counts.services.get()) {
            (0, 0) => Ok(State::Refused),
            (1, 1) => {
                let ([framework, service], _) =
                    <[Version; 2]>::read_from_prefix(rest).map_err(|_| short())?;
                if !FRAMEWORK.contains(&framework) || !self.versions.contains(&service) {
                    return Err(Violation::new("a version that was not offered"));
                }
                Ok(State::Ready { framework, service })
            }
            (a, b) => Err(Violation::new(format!("{a} framework and {b} service versions"))),
        }
    }
}

/// The guest's end of a service, for the tests.
#[cfg(test)]
pub(crate) mod guest {
    use super::*;
    use crate::mock::Bench;

    /// Bytes of both headers.
    pub const HEADERS: usize = size_of::<Header>();

    /// Takes the host's message.
    pub fn take(bench: &mut Bench) -> Option<Vec<u8>> {
        let packet = bench.guest_recv()?;
        assert_eq!(packet.kind, PacketKind::InBand);
        let (header, body) = Header::read_from_prefix(&packet.data).unwrap();
        assert_eq!(header.pipe_len.get() as usize, header.len.get() as usize + 20);
        assert!(body.len() >= header.len.get() as usize && header.flags == TRANSACTION | REQUEST);
        Some(packet.data)
    }

    /// Sends a message back as an answer.
    pub fn answer(bench: &mut Bench, mut data: Vec<u8>) {
        let (header, _) = Header::mut_from_prefix(&mut data).unwrap();
        header.flags = TRANSACTION | RESPONSE;
        bench.guest_send(PacketKind::InBand, 0, false, &[], &data);
    }

    /// Answers the negotiation with framework 3.0 and this version of the service, as Linux does.
    pub fn negotiate(bench: &mut Bench, version: Version) {
        let mut data = take(bench).unwrap();
        let (header, body) = Header::mut_from_prefix(&mut data).unwrap();
        header.len = 16.into();
        body[..4].copy_from_slice(&[1, 0, 1, 0]);
        body[8..16].copy_from_slice([Version::new(3, 0), version].as_bytes());
        answer(bench, data);
    }
}

#[cfg(test)]
mod tests;
