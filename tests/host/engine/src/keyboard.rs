// SPDX-License-Identifier: GPL-2.0

//! The keyboard: scan codes of set 1, one packet per key that goes down or up.

use crate::device::{Device, Io, Offer, Violation};
use crate::guid::Guid;
use crate::ring::{Packet, PacketKind};

/// Class of the device.
pub const INTERFACE: Guid = Guid::new("f912ad6d-2b17-48ea-bd65-f927a61c7684");
const INSTANCE: Guid = Guid::new("d34b2567-b9b6-42b9-8778-0a4ec0b955bf");

// Message types.
const PROTOCOL_REQUEST: u32 = 1;
const PROTOCOL_RESPONSE: u32 = 2;
const EVENT: u32 = 3;
const LEDS: u32 = 4;

/// The only version: 1.0.
const VERSION: u32 = 1 << 16;
const ACCEPTED: u32 = 1;

// Flags of an event.
const BREAK: u32 = 2;
const E0: u32 = 4;

const PRIMARY: usize = 0;

/// The keyboard.
#[derive(Default)]
pub struct Keyboard {
    ready: bool,
}

impl Keyboard {
    /// A keyboard that waits for the guest to open it.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Device for Keyboard {
    fn offer(&self) -> Offer {
        Offer::new(INTERFACE, INSTANCE)
    }

    fn packet(
        &mut self,
        io: &mut Io<'_>,
        _channel: usize,
        packet: Packet,
    ) -> Result<(), Violation> {
        if packet.kind != PacketKind::InBand {
            return Err(Violation::new(format!("{:?} packet to the keyboard", packet.kind)));
        }
        if packet.completion_requested {
            io.complete(PRIMARY, packet.transaction_id, &[]);
        }
        match (packet.word(0), packet.word(1)) {
            (Some(PROTOCOL_REQUEST), Some(version)) => {
                self.ready = version == VERSION;
                let status = if self.ready { ACCEPTED } else { 0 };
                let answer = [PROTOCOL_RESPONSE, status].map(u32::to_le_bytes);
                io.send(PRIMARY, 0, false, answer.as_flattened());
                io.count(if self.ready { "negotiated" } else { "not_negotiated" }, 1);
            }
            (Some(LEDS), Some(_)) if self.ready => io.count("leds", 1),
            other => return Err(Violation::new(format!("message {other:?} to the keyboard"))),
        }
        Ok(())
    }

    fn closed(&mut self, _io: &mut Io<'_>, _channel: usize) {
        self.ready = false;
    }

    /// `press SCANCODE` and `release SCANCODE` of a key, by its number in set 1; with `e0` at the
    /// end the key is one of those that came later. `ready` tells whether the guest listens.
    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        let (flag, code, e0) = match words {
            ["ready"] => return Ok(self.ready.to_string()),
            ["press", code] => (0, code, 0),
            ["press", code, "e0"] => (0, code, E0),
            ["release", code] => (BREAK, code, 0),
            ["release", code, "e0"] => (BREAK, code, E0),
            _ => return Err(format!("unknown command: {}", words.join(" "))),
        };
        let code = code.parse::<u32>().ok().filter(|code| (1..0x80).contains(code));
        let code = code.ok_or("a scan code is a number from 1 to 127")?;
        if !self.ready {
            return Err("the guest has no keyboard".into());
        }
        io.send(PRIMARY, 0, false, [EVENT, code, flag | e0].map(u32::to_le_bytes).as_flattened());
        io.count("keys", 1);
        Ok(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::Bench;

    fn request(bench: &mut Bench, version: u32) -> [u8; 8] {
        let data = [PROTOCOL_REQUEST, version].map(u32::to_le_bytes);
        bench.guest_send(PacketKind::InBand, 9, true, &[], data.as_flattened());
        let completion = bench.guest_recv().unwrap();
        assert_eq!((completion.kind, completion.transaction_id), (PacketKind::Completion, 9));
        *bench.guest_recv().unwrap().data.first_chunk().unwrap()
    }

    #[test]
    fn keys_go_down_and_up() {
        let mut bench = Bench::new(Box::new(Keyboard::new()));
        assert!(bench.command(&["press", "30"]).is_err());
        assert_eq!(request(&mut bench, 2 << 16), [2, 0, 0, 0, 0, 0, 0, 0]);
        assert!(bench.command(&["press", "30"]).is_err());
        assert_eq!(request(&mut bench, 1 << 16), [2, 0, 0, 0, 1, 0, 0, 0]);
        let expected = [
            (vec!["press", "30"], [30, 0]),
            (vec!["release", "30"], [30, BREAK]),
            (vec!["press", "72", "e0"], [72, E0]),
            (vec!["release", "72", "e0"], [72, BREAK | E0]),
        ];
        for (words, fields) in expected {
            bench.command(&words).unwrap();
            let data = bench.guest_recv().unwrap().data;
            assert_eq!(
                data[..12],
                *[EVENT, fields[0], fields[1]].map(u32::to_le_bytes).as_flattened()
            );
        }
        for words in [["press", "128"], ["press", "0"], ["type", "1"]] {
            assert!(bench.command(&words).is_err());
        }
        bench.reopen();
        assert_eq!(bench.command(&["ready"]), Ok("false".into()));
    }

    #[test]
    fn other_messages_end_the_channel() {
        for data in [&[1, 0, 0, 0][..], &[9, 0, 0, 0, 0, 0, 0, 0], &[4, 0, 0, 0, 0, 0, 0, 0]] {
            let mut bench = Bench::new(Box::new(Keyboard::new()));
            bench.guest_send(PacketKind::InBand, 0, false, &[], &data[..data.len() & !7]);
            assert!(bench.dead(), "{data:?}");
        }
    }
}
