// SPDX-License-Identifier: GPL-2.0

//! The mouse: a HID device with absolute coordinates, behind a message pipe.

use crate::device::{Device, Io, Offer, Violation};
use crate::guid::Guid;
use crate::ring::{Packet, PacketKind};

/// Class of the device.
pub const INTERFACE: Guid = Guid::new("cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a");
const INSTANCE: Guid = Guid::new("58f75a6d-d949-4320-99e1-a2a2576d581c");

/// Pipe header: whole data.
const PIPE_DATA: u32 = 1;

// Message types.
const PROTOCOL_REQUEST: u32 = 0;
const PROTOCOL_RESPONSE: u32 = 1;
const DEVICE_INFO: u32 = 2;
const DEVICE_INFO_ACK: u32 = 3;
const INPUT_REPORT: u32 = 4;

/// The version of Windows Server 2008 and later: 2.0.
const VERSION: u32 = 2 << 16;

const VENDOR: u16 = 0x045e;
const PRODUCT: u16 = 0x0621;
const RELEASE: u16 = 1;
/// Size, three ids and eleven reserved words.
const INFO: usize = 32;

/// HID descriptor: length, type, version 1.1, no country, one more descriptor, which is a report
/// descriptor of so many bytes.
const HID: [u8; 9] = [9, 0x21, 0x10, 1, 0, 1, 0x22, REPORT.len() as u8, 0];

/// What a report has: five buttons, X and Y from 0 to 32767, a wheel.
const REPORT: [u8; 63] = [
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, // a mouse:
    0x09, 0x01, 0xa1, 0x00, // a pointer:
    0x05, 0x09, 0x19, 0x01, 0x29, 0x05, // buttons 1 to 5,
    0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95, 0x05, 0x81, 0x02, // a bit each,
    0x75, 0x03, 0x95, 0x01, 0x81, 0x03, // and three bits of nothing;
    0x05, 0x01, 0x09, 0x30, 0x09, 0x31, // X and Y,
    0x15, 0x00, 0x26, 0xff, 0x7f, 0x75, 0x10, 0x95, 0x02, 0x81, 0x02, // absolute;
    0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x01, 0x81, 0x06, // a wheel.
    0xc0, 0xc0,
];
const MAX: u16 = 32767;

const PRIMARY: usize = 0;

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Closed,
    /// The guest knows the version and has been told what the device is.
    Told,
    Ready,
}

/// The mouse.
#[derive(Default)]
pub struct Mouse {
    state: State,
    buttons: u8,
    at: (u16, u16),
}

impl Mouse {
    /// A mouse that waits for the guest to open it.
    pub fn new() -> Self {
        Self::default()
    }

    fn report(&self, io: &mut Io<'_>) {
        let (x, y) = (self.at.0.to_le_bytes(), self.at.1.to_le_bytes());
        send(io, INPUT_REPORT, &[self.buttons, x[0], x[1], y[0], y[1], 0]);
        io.count("reports", 1);
    }
}

fn send(io: &mut Io<'_>, kind: u32, body: &[u8]) {
    let size = body.len() as u32;
    let headers = [PIPE_DATA, size + 8, kind, size].map(u32::to_le_bytes);
    io.send(PRIMARY, 0, false, &[headers.as_flattened(), body].concat());
}

impl Device for Mouse {
    fn offer(&self) -> Offer {
        // The message pipe is of the guest's driver alone: the flags say nothing of it.
        Offer::new(INTERFACE, INSTANCE)
    }

    fn packet(
        &mut self,
        io: &mut Io<'_>,
        _channel: usize,
        packet: Packet,
    ) -> Result<(), Violation> {
        if packet.kind != PacketKind::InBand || packet.word(0) != Some(PIPE_DATA) {
            return Err(Violation::new(format!("{:?} packet to the mouse", packet.kind)));
        }
        if packet.completion_requested {
            io.complete(PRIMARY, packet.transaction_id, &[]);
        }
        match (self.state, packet.word(2), packet.word(4)) {
            (State::Closed, Some(PROTOCOL_REQUEST), Some(version)) => {
                let approved = version == VERSION;
                let answer = [&version.to_le_bytes()[..], &[approved.into()]].concat();
                send(io, PROTOCOL_RESPONSE, &answer);
                if approved {
                    let mut info = [0; INFO];
                    info[..4].copy_from_slice(&(INFO as u32).to_le_bytes());
                    let ids = [VENDOR, PRODUCT, RELEASE].map(u16::to_le_bytes);
                    info[4..10].copy_from_slice(ids.as_flattened());
                    send(io, DEVICE_INFO, &[&info[..], &HID, &REPORT].concat());
                    self.state = State::Told;
                }
                io.count(if approved { "negotiated" } else { "not_negotiated" }, 1);
            }
            (State::Told, Some(DEVICE_INFO_ACK), _) => self.state = State::Ready,
            (_, kind, _) => {
                return Err(Violation::new(format!("message {kind:?} to the mouse")));
            }
        }
        Ok(())
    }

    fn closed(&mut self, _io: &mut Io<'_>, _channel: usize) {
        *self = Self::default();
    }

    /// `move X Y`, each from 0 to 32767; `buttons MASK` with bit 0 for the left one. `ready` tells
    /// whether the guest listens.
    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        if words == ["ready"] {
            return Ok((self.state == State::Ready).to_string());
        }
        if self.state != State::Ready {
            return Err("the guest has no mouse".into());
        }
        let number = |text: &str, max: u16| {
            let number = text.parse().ok().filter(|number| *number <= max);
            number.ok_or_else(|| format!("{text}: a number up to {max} is wanted"))
        };
        match words {
            ["move", x, y] => self.at = (number(x, MAX)?, number(y, MAX)?),
            ["buttons", mask] => self.buttons = number(mask, 31)? as u8,
            _ => return Err(format!("unknown command: {}", words.join(" "))),
        }
        self.report(io);
        Ok(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::Bench;

    fn post(bench: &mut Bench, words: &[u32]) {
        let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bench.guest_send(PacketKind::InBand, 3, true, &[], &data);
        if !bench.dead() {
            assert_eq!(bench.guest_recv().unwrap().kind, PacketKind::Completion);
        }
    }

    /// The next message: its type and body.
    fn take(bench: &mut Bench) -> (u32, Vec<u8>) {
        let data = bench.guest_recv().unwrap().data;
        let word = |n: usize| u32::from_le_bytes(*data[n * 4..].first_chunk().unwrap());
        let size = word(3) as usize;
        assert_eq!((word(0), word(1) as usize), (PIPE_DATA, size + 8));
        (word(2), data[16..16 + size].to_vec())
    }

    fn negotiate(bench: &mut Bench) {
        post(bench, &[1, 12, PROTOCOL_REQUEST, 4, VERSION]);
        assert_eq!(take(bench), (PROTOCOL_RESPONSE, vec![0, 0, 2, 0, 1]));
        let (kind, info) = take(bench);
        assert_eq!((kind, info.len()), (DEVICE_INFO, INFO + HID.len() + REPORT.len()));
        assert_eq!(info[4..8], [0x5e, 4, 0x21, 6]);
        assert_eq!(info[INFO..INFO + 9], HID);
        post(bench, &[1, 9, DEVICE_INFO_ACK, 1, 0]);
    }

    #[test]
    fn the_pointer_moves() {
        let mut bench = Bench::new(Box::new(Mouse::new()));
        assert!(bench.command(&["move", "1", "2"]).is_err());
        negotiate(&mut bench);
        assert_eq!(bench.command(&["ready"]), Ok("true".into()));
        bench.command(&["move", "1000", "32767"]).unwrap();
        assert_eq!(take(&mut bench), (INPUT_REPORT, vec![0, 0xe8, 3, 0xff, 0x7f, 0]));
        bench.command(&["buttons", "1"]).unwrap();
        assert_eq!(take(&mut bench), (INPUT_REPORT, vec![1, 0xe8, 3, 0xff, 0x7f, 0]));
        for words in [&["move", "1", "32768"][..], &["buttons", "32"], &["click"]] {
            assert!(bench.command(words).is_err());
        }
        bench.reopen();
        negotiate(&mut bench);
        assert!(!bench.dead());
    }

    #[test]
    fn another_version_is_not_approved() {
        let mut bench = Bench::new(Box::new(Mouse::new()));
        post(&mut bench, &[1, 12, PROTOCOL_REQUEST, 4, 1 << 16]);
        assert_eq!(take(&mut bench), (PROTOCOL_RESPONSE, vec![0, 0, 1, 0, 0]));
        assert!(bench.guest_recv().is_none());
    }

    #[test]
    fn other_messages_end_the_channel() {
        for words in [&[2, 12, 0, 4, VERSION, 0][..], &[1, 9, DEVICE_INFO_ACK, 1, 0, 0], &[1, 0]] {
            let mut bench = Bench::new(Box::new(Mouse::new()));
            let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bench.guest_send(PacketKind::InBand, 3, false, &[], &data);
            assert!(bench.dead(), "{words:?}");
        }
    }
}
