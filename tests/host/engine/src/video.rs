// SPDX-License-Identifier: GPL-2.0

//! The screen: a frame buffer that the guest puts where it likes, behind a message pipe.
//!
//! Nobody looks at the screen: what is drawn goes nowhere, only where and how is known.

use crate::device::{Device, Io, Offer, Violation};
use crate::guid::Guid;
use crate::ring::{Packet, PacketKind};

/// Class of the device.
pub const INTERFACE: Guid = Guid::new("da0a7802-e377-4aac-8e77-0558eb1073f8");
const INSTANCE: Guid = Guid::new("5620e0c7-8062-4dce-aeb7-520c7ef76171");

/// Pipe header: whole data.
const PIPE_DATA: u32 = 1;
/// Bytes of the headers of pipe and message.
const HEADERS: usize = 16;

// Message types.
const VERSION_REQUEST: u32 = 1;
const VERSION_RESPONSE: u32 = 2;
const VRAM_LOCATION: u32 = 3;
const VRAM_LOCATION_ACK: u32 = 4;
const SITUATION_UPDATE: u32 = 5;
const SITUATION_UPDATE_ACK: u32 = 6;
const POINTER_POSITION: u32 = 7;
const POINTER_SHAPE: u32 = 8;
const FEATURE_CHANGE: u32 = 9;
const DIRT: u32 = 10;
const RESOLUTION_REQUEST: u32 = 13;
const RESOLUTION_RESPONSE: u32 = 14;

/// Versions, the major number in the lower half: of Windows 8, and of Windows 10, which has a list
/// of resolutions.
const VERSION_8: u32 = 2 << 16 | 3;
const VERSION_10: u32 = 5 << 16 | 3;

const MEGABYTES: u16 = 8;
/// What the screen can show, the default first.
const RESOLUTIONS: [(u16, u16); 3] = [(1280, 960), (800, 600), (1280, 1024)];
/// Bytes of a description of the monitor, of which there is none.
const EDID: usize = 128;

const PRIMARY: usize = 0;

/// The screen.
#[derive(Default)]
pub struct Video {
    version: Option<u32>,
    /// Where the frame buffer is.
    vram: Option<u64>,
    /// Width, height and bits of a pixel of the picture.
    mode: Option<(u32, u32, u8)>,
}

impl Video {
    /// A screen that waits for the guest to open it.
    pub fn new() -> Self {
        Self::default()
    }

    fn agree(&mut self, io: &mut Io<'_>, version: u32) {
        let accepted = matches!(version, VERSION_8 | VERSION_10);
        self.version = accepted.then_some(version);
        // One output.
        let answer = [&version.to_le_bytes()[..], &[accepted.into(), 1]].concat();
        send(io, VERSION_RESPONSE, &answer);
        io.count(if accepted { "negotiated" } else { "not_negotiated" }, 1);
    }

    fn tell_resolutions(&self, io: &mut Io<'_>, most: u8) {
        let count = RESOLUTIONS.len().min(most.into());
        let mut answer = vec![0; EDID];
        answer.extend([count as u8, 0, 0]);
        for (width, height) in &RESOLUTIONS[..count] {
            answer.extend([*width, *height].map(u16::to_le_bytes).as_flattened());
        }
        send(io, RESOLUTION_RESPONSE, &answer);
    }
}

fn send(io: &mut Io<'_>, kind: u32, body: &[u8]) {
    let size = body.len() as u32 + 8;
    let headers = [PIPE_DATA, size, kind, size].map(u32::to_le_bytes);
    io.send(PRIMARY, 0, false, &[headers.as_flattened(), body].concat());
}

/// The bytes from `at` on; the structures of this protocol are packed.
fn bytes<const N: usize>(body: &[u8], at: usize) -> Result<[u8; N], Violation> {
    let bytes = body.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or_else(|| Violation::new("a message to the screen is cut short"))
}

fn word(body: &[u8], at: usize) -> Result<u32, Violation> {
    bytes(body, at).map(u32::from_le_bytes)
}

fn long(body: &[u8], at: usize) -> Result<u64, Violation> {
    bytes(body, at).map(u64::from_le_bytes)
}

impl Device for Video {
    fn offer(&self) -> Offer {
        // The message pipe is of the guest's driver alone: the flags say nothing of it.
        Offer { mmio_megabytes: MEGABYTES, ..Offer::new(INTERFACE, INSTANCE) }
    }

    fn packet(
        &mut self,
        io: &mut Io<'_>,
        _channel: usize,
        packet: Packet,
    ) -> Result<(), Violation> {
        if packet.kind != PacketKind::InBand || packet.word(0) != Some(PIPE_DATA) {
            return Err(Violation::new(format!("{:?} packet to the screen", packet.kind)));
        }
        if packet.completion_requested {
            io.complete(PRIMARY, packet.transaction_id, &[]);
        }
        // Both headers say how long it is; what follows is the ring's padding.
        let size = packet.word(3).filter(|size| packet.word(1) == Some(*size));
        let end = size.and_then(|size| usize::try_from(size).ok()?.checked_add(8));
        let body = end.and_then(|end| packet.data.get(HEADERS..end));
        let body = body.ok_or_else(|| Violation::new("a message to the screen has no length"))?;

        match (self.version, word(&packet.data, 8)?) {
            (None, VERSION_REQUEST) => self.agree(io, word(body, 0)?),
            (Some(VERSION_10), RESOLUTION_REQUEST) => {
                let [most] = bytes(body, 0)?;
                self.tell_resolutions(io, most);
            }
            (Some(_), VRAM_LOCATION) => {
                let (context, [given]) = (bytes::<8>(body, 0)?, bytes(body, 8)?);
                let at = long(body, 9)?;
                if given != 1 || at == 0 || at & 0xfff != 0 {
                    return Err(Violation::new(format!("a frame buffer at {at:#x}")));
                }
                self.vram = Some(at);
                send(io, VRAM_LOCATION_ACK, &context);
            }
            (Some(_), SITUATION_UPDATE) => {
                let (context, [outputs, active]) = (bytes::<8>(body, 0)?, bytes(body, 8)?);
                if outputs != 1 {
                    return Err(Violation::new(format!("{outputs} outputs of one screen")));
                }
                let ([depth], width, height) = (bytes(body, 14)?, word(body, 15)?, word(body, 19)?);
                self.mode = (active != 0).then_some((width, height, depth));
                send(io, SITUATION_UPDATE_ACK, &context);
            }
            (Some(_), POINTER_POSITION | POINTER_SHAPE) => io.count("pointers", 1),
            (Some(_), DIRT) => io.count("dirt", 1),
            (_, kind) => return Err(Violation::new(format!("message {kind} to the screen"))),
        }
        Ok(())
    }

    fn closed(&mut self, _io: &mut Io<'_>, _channel: usize) {
        *self = Self::default();
    }

    /// `vram` tells where the frame buffer is, `mode` what is shown, `version` what was agreed on,
    /// each of them `none` at first; `watch` is somebody who begins to look at the screen.
    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        let none = || "none".to_owned();
        Ok(match words {
            ["vram"] => self.vram.map_or_else(none, |at| format!("{at:x}")),
            ["mode"] => self.mode.map_or_else(none, |(w, h, depth)| format!("{w}x{h}x{depth}")),
            ["version"] => {
                let version = self.version.map(|version| (version & 0xffff, version >> 16));
                version.map_or_else(none, |(major, minor)| format!("{major}.{minor}"))
            }
            ["watch"] if self.version.is_none() => return Err("the guest has no screen".into()),
            ["watch"] => {
                // All four: what has changed, where the pointer is and how it looks, the mode.
                send(io, FEATURE_CHANGE, &[1; 4]);
                String::new()
            }
            _ => return Err(format!("unknown command: {}", words.join(" "))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::Bench;

    fn post(bench: &mut Bench, kind: u32, body: &[u8]) {
        let size = body.len() as u32 + 8;
        let headers = [PIPE_DATA, size, kind, size].map(u32::to_le_bytes);
        let data = [headers.as_flattened(), body].concat();
        bench.guest_send(PacketKind::InBand, 3, false, &[], &data);
    }

    /// The next message: its type and body.
    fn take(bench: &mut Bench) -> (u32, Vec<u8>) {
        let data = bench.guest_recv().unwrap().data;
        let word = |n: usize| u32::from_le_bytes(*data[n * 4..].first_chunk().unwrap());
        let size = word(3) as usize;
        assert_eq!((word(0), word(1) as usize), (PIPE_DATA, size));
        (word(2), data[HEADERS..8 + size].to_vec())
    }

    fn agree(bench: &mut Bench, version: u32) -> bool {
        post(bench, VERSION_REQUEST, &version.to_le_bytes());
        let (kind, body) = take(bench);
        assert_eq!((kind, &body[..4], body[5]), (VERSION_RESPONSE, &version.to_le_bytes()[..], 1));
        body[4] == 1
    }

    #[test]
    fn a_driver_comes_up() {
        let mut bench = Bench::new(Box::new(Video::new()));
        assert!(bench.command(&["watch"]).is_err());
        assert!(!agree(&mut bench, 3), "3.0 is too old");
        assert_eq!(bench.command(&["version"]), Ok("none".into()));
        assert!(agree(&mut bench, VERSION_10));
        assert_eq!(bench.command(&["version"]), Ok("3.5".into()));

        for (most, there) in [(64, 3), (2, 2)] {
            post(&mut bench, RESOLUTION_REQUEST, &[most]);
            let (kind, body) = take(&mut bench);
            assert_eq!((kind, body.len()), (RESOLUTION_RESPONSE, EDID + 3 + 4 * there));
            assert_eq!(body[EDID..EDID + 7], [there as u8, 0, 0, 0, 5, 0xc0, 3]);
        }
        let at = 0xf800_0000u64.to_le_bytes();
        post(&mut bench, VRAM_LOCATION, &[&[7; 8][..], &[1], &at].concat());
        assert_eq!(take(&mut bench), (VRAM_LOCATION_ACK, vec![7; 8]));
        assert_eq!(bench.command(&["vram"]), Ok("f8000000".into()));

        let mode = [0, 32, 1152, 864, 4608].map(u32::to_le_bytes);
        let mode = mode.as_flattened();
        // One output, active, at 0; the depth is a byte.
        let situation = [&[9; 8][..], &[1, 1], &mode[..5], &mode[8..]].concat();
        post(&mut bench, SITUATION_UPDATE, &situation);
        assert_eq!(take(&mut bench), (SITUATION_UPDATE_ACK, vec![9; 8]));
        assert_eq!(bench.command(&["mode"]), Ok("1152x864x32".into()));

        bench.command(&["watch"]).unwrap();
        assert_eq!(take(&mut bench), (FEATURE_CHANGE, vec![1; 4]));
        post(&mut bench, POINTER_POSITION, &[0; 10]);
        post(&mut bench, POINTER_SHAPE, &[0; 22]);
        post(&mut bench, DIRT, &[0; 18]);
        assert_eq!((bench.trace.counter("dev.pointers"), bench.trace.counter("dev.dirt")), (2, 1));
        bench.reopen();
        for what in ["version", "vram", "mode"] {
            assert_eq!(bench.command(&[what]), Ok("none".into()));
        }
        assert!(agree(&mut bench, VERSION_8));
        assert!(!bench.dead());
    }

    #[test]
    fn other_messages_end_the_channel() {
        let vram = [&[0; 8][..], &[1], &0x1234u64.to_le_bytes()].concat();
        let cases = [
            (VERSION_REQUEST, vec![0; 4]),
            (VRAM_LOCATION, vec![0; 16]),
            (VRAM_LOCATION, vram),
            (SITUATION_UPDATE, vec![2; 27]),
            (SITUATION_UPDATE, vec![1; 20]),
            (RESOLUTION_REQUEST, vec![64]),
            (99, vec![]),
        ];
        for (kind, body) in cases {
            let mut bench = Bench::new(Box::new(Video::new()));
            assert!(agree(&mut bench, VERSION_8));
            post(&mut bench, kind, &body);
            assert!(bench.dead(), "{kind} {body:?}");
        }
        for words in
            [[2, 12, 1, 12, VERSION_8, 0], [1, 12, 1, 16, VERSION_8, 0], [1, 99, 1, 99, 0, 0]]
        {
            let mut bench = Bench::new(Box::new(Video::new()));
            let data = words.map(u32::to_le_bytes);
            bench.guest_send(PacketKind::InBand, 3, false, &[], data.as_flattened());
            assert!(bench.dead(), "{words:?}");
        }
    }
}
