// SPDX-License-Identifier: GPL-2.0

//! Connections of Hyper-V sockets: each is a channel that comes and goes.

use super::*;
use crate::hvsock::{self, Socket, ECHO_PORT};

/// Connections that the guest has not opened yet: more of them are refused.
const MOST_PENDING: usize = 16;
const STATUS_CONNECTION_REFUSED: u32 = 0xc000_0236;
/// The host's own ports begin here.
const FIRST_PORT: u32 = 0x8000_0000;

impl Host {
    fn pending_sockets(&self) -> usize {
        let sockets = self.devices.iter().filter(|e| e.passing && e.presence == Presence::There);
        sockets.filter(|entry| entry.slots[0].open.is_none()).count()
    }

    /// The guest connects to a service of the host.
    pub(super) fn tl_connect(&mut self, request: msg::TlConnectRequest) {
        let msg::TlConnectRequest { endpoint, service } = request;
        let known = hvsock::port(&service) == Some(ECHO_PORT);
        if !known || self.pending_sockets() >= MOST_PENDING {
            self.trace.count("refused_sockets", 1);
            let status = STATUS_CONNECTION_REFUSED;
            let result = msg::TlConnectResult { endpoint, service, status };
            return self.post(kind::TL_CONNECT_RESULT, &result);
        }
        self.add_socket(Socket::from_guest(endpoint, service));
    }

    /// Offers a connection; returns its device's name.
    fn add_socket(&mut self, socket: Socket) -> String {
        let device = Box::new(socket);
        let free = self.devices.iter().position(|e| e.passing && e.presence == Presence::Gone);
        let index = match free {
            Some(index) => {
                self.devices[index].device = device;
                self.devices[index].presence = Presence::There;
                index
            }
            None => {
                let number = self.devices.iter().filter(|entry| entry.passing).count();
                let presence = Presence::There;
                let faults = DeviceFaults { strict: self.strict, ..DeviceFaults::default() };
                let slots = vec![Slot::default()];
                let name = format!("socket{number}");
                self.devices.push(Entry { name, device, presence, slots, faults, passing: true });
                self.devices.len() - 1
            }
        };
        self.trace.count("sockets", 1);
        self.offer((index, 0));
        self.devices[index].name.clone()
    }

    /// `socket connect PORT BYTES`: the host connects to a port of the guest.
    pub(super) fn socket(&mut self, words: &[&str]) -> Result<String, String> {
        let ["connect", port, bytes] = *words else {
            return Err("socket connect PORT BYTES".into());
        };
        let number = |text: &str| crate::fault::number(text);
        let port = u32::try_from(number(port)?).map_err(|_| "no such port")?;
        if !self.offers_requested || self.pending_sockets() >= MOST_PENDING {
            return Err("the guest takes no more connections now".into());
        }
        let own = FIRST_PORT + (self.trace.counter("sockets") as u32 & 0xffff);
        let name = self.add_socket(Socket::to_guest(port, own, number(bytes)?));
        self.drain();
        Ok(name)
    }
}
