// SPDX-License-Identifier: GPL-2.0

//! One connection of Hyper-V sockets: a channel of its own with a stream in each direction.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use crate::device::{Device, Io, Offer, Violation};
use crate::guid::Guid;
use crate::ring::{Packet, PacketKind};

/// The host's one service: what comes is sent back.
pub const ECHO_PORT: u32 = 5000;

/// The channel belongs to the socket provider.
const PROVIDER: u16 = 0x2000;
/// The channel carries a pipe.
const PIPE: u16 = 0x10;
const HEADER: usize = 8;
const DATA: u32 = 1;
/// Looks, one a second, at a guest that is done and takes nothing any more.
const PATIENCE: u32 = 5;
/// Bytes of stream per packet.
const CHUNK: usize = 4096;

/// The service id of a port.
pub fn service(port: u32) -> Guid {
    let mut id = Guid::new("00000000-facb-11e6-bd58-64006a7986d3");
    id.0[..4].copy_from_slice(&port.to_le_bytes());
    id
}

/// The port of a service id, if it is one that belongs to ports.
pub fn port(id: &Guid) -> Option<u32> {
    let number = u32::from_le_bytes([id.0[0], id.0[1], id.0[2], id.0[3]]);
    (service(number) == *id).then_some(number)
}

/// What the host does with a connection.
enum Role {
    /// Sends back what comes.
    Echo,
    /// Sends so many bytes that follow from their place, then no more.
    Source(u64),
}

/// A connection.
pub struct Socket {
    offer: Offer,
    role: Role,
    /// What is to be sent; packets so small that the guest's ring takes them.
    queue: VecDeque<Vec<u8>>,
    sent: (u64, Sha256),
    received: (u64, Sha256),
    guest_done: bool,
    host_done: bool,
    open: bool,
    /// Looks since the guest is done and the host could send something.
    looks: u32,
    /// What was sent at the last look.
    sent_before: u64,
}

impl Socket {
    fn new(service: Guid, endpoint: Guid, from_host: bool, role: Role) -> Self {
        let mut offer = Offer::new(service, endpoint);
        offer.flags = PROVIDER | PIPE;
        // The pipe's mode (0: bytes), then whether the host began.
        offer.user = vec![0, 0, 0, 0, from_host.into()];
        let queue = VecDeque::new();
        let nothing = (0, Sha256::new());
        let (sent, received) = (nothing.clone(), nothing);
        let (guest_done, host_done, open) = (false, false, false);
        Self {
            offer,
            role,
            queue,
            sent,
            received,
            guest_done,
            host_done,
            open,
            looks: 0,
            sent_before: 0,
        }
    }

    /// The guest, at `endpoint`, connects to a service of the host.
    pub fn from_guest(endpoint: Guid, service: Guid) -> Self {
        Self::new(service, endpoint, false, Role::Echo)
    }

    /// The host connects to a port of the guest, and will send `bytes` bytes.
    pub fn to_guest(port: u32, own_port: u32, bytes: u64) -> Self {
        Self::new(service(port), service(own_port), true, Role::Source(bytes))
    }

    fn put(&mut self, io: &mut Io<'_>, data: &[u8]) {
        let mut packet = Vec::with_capacity(HEADER + data.len());
        packet.extend(DATA.to_le_bytes());
        packet.extend((data.len() as u32).to_le_bytes());
        packet.extend(data);
        self.sent.0 += data.len() as u64;
        self.sent.1.update(data);
        io.send(0, 0, false, &packet);
    }

    fn pump(&mut self, io: &mut Io<'_>) {
        while self.open && io.backlog(0) == 0 {
            let next = match self.role {
                Role::Echo => self.queue.pop_front(),
                Role::Source(total) => {
                    let n = (total - self.sent.0.min(total)).min(CHUNK as u64);
                    let place = self.sent.0;
                    // The low byte of each place's square: not the same in every packet.
                    let byte = |at: u64| (at.wrapping_mul(at) >> 7) as u8;
                    (n > 0).then(|| (place..place + n).map(byte).collect())
                }
            };
            match next {
                Some(data) => self.put(io, &data),
                None => break,
            }
        }
        let all = match self.role {
            Role::Echo => self.guest_done && self.queue.is_empty(),
            Role::Source(total) => self.sent.0 >= total,
        };
        if self.open && all && !self.host_done && io.backlog(0) == 0 {
            self.host_done = true;
            // A packet without data is the end of the stream.
            self.put(io, &[]);
        }
    }
}

impl Device for Socket {
    fn offer(&self) -> Offer {
        self.offer.clone()
    }

    fn opened(&mut self, io: &mut Io<'_>, _channel: usize) {
        self.open = true;
        self.pump(io);
    }

    fn packet(&mut self, io: &mut Io<'_>, _: usize, packet: Packet) -> Result<(), Violation> {
        if packet.kind != PacketKind::InBand {
            return Err(Violation::new("a socket's packet that is not in-band"));
        }
        let field = |at: usize| packet.data.get(at..at + 4).and_then(|b| b.try_into().ok());
        let (Some(kind), Some(len)) = (field(0).map(u32::from_le_bytes), field(4)) else {
            return Err(Violation::new("a socket's packet without a header"));
        };
        let len = u32::from_le_bytes(len) as usize;
        let data = packet.data.get(HEADER..).and_then(|data| data.get(..len));
        let Some(data) = data.filter(|_| kind == DATA) else {
            return Err(Violation::new(format!("a socket's packet of type {kind}, {len} bytes")));
        };
        if self.guest_done {
            return Err(Violation::new("a socket sends after its end"));
        }
        self.received.0 += len as u64;
        self.received.1.update(data);
        self.guest_done = data.is_empty();
        if let (Role::Echo, false) = (&self.role, data.is_empty()) {
            self.queue.push_back(data.to_vec());
        }
        self.pump(io);
        Ok(())
    }

    fn idle(&mut self, io: &mut Io<'_>, _channel: usize) {
        self.pump(io);
    }

    fn closed(&mut self, _io: &mut Io<'_>, _channel: usize) {
        self.open = false;
    }

    fn tick(&mut self, io: &mut Io<'_>, _now: u64) {
        if !self.guest_done || !self.open {
            return;
        }
        // The channel goes when the guest has read everything. A guest that has closed its socket
        // reads nothing any more, neither what is still to be sent nor the end of the stream.
        if std::mem::replace(&mut self.sent_before, self.sent.0) != self.sent.0 {
            self.looks = 0;
        }
        self.looks += 1;
        let done = self.host_done && io.drained(0);
        if done || self.looks > if self.host_done { 2 } else { PATIENCE } {
            io.leave();
        }
    }

    fn command(&mut self, _io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        let text = |(bytes, sum): &(u64, Sha256)| format!("{bytes} {:x}", sum.clone().finalize());
        match words {
            ["sent"] => Ok(text(&self.sent)),
            ["received"] => Ok(text(&self.received)),
            ["done"] => Ok(format!("{} {}", self.guest_done, self.host_done)),
            _ => Err("a socket knows sent, received, done".into()),
        }
    }
}
