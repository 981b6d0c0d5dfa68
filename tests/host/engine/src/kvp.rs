// SPDX-License-Identifier: GPL-2.0

//! Key-value pairs: the host reads and writes the guest's pools. In a Linux guest a daemon has
//! them; without it the guest answers nothing.
//!
//! One question is under way at a time, so a command only asks; `answer` tells what came.

use crate::device::{Io, Violation};
use crate::guid::Guid;
use crate::ic::{Answer, Service, Session, Version};

/// Interface of the service.
pub const INTERFACE: Guid = Guid::new("a9a0f4e7-5a45-4d96-b827-8a841e8c03e6");

const MESSAGE: u16 = 2;
const VERSIONS: &[Version] = &[Version::new(3, 0), Version::new(4, 0)];

const GET: u8 = 0;
const SET: u8 = 1;
const DELETE: u8 = 2;
const ENUMERATE: u8 = 3;

/// Type of a value: text.
const TEXT: u32 = 1;
/// Bytes of the fields, whose text is UTF-16 with a zero at the end.
const KEY: usize = 512;
const VALUE: usize = 2048;
/// Where the type of the value is in an enumeration: behind header and index.
const ENUMERATED: usize = 8;
/// And in an answer for one key: behind the header.
const GOT: usize = 4;

/// The key-value pair service.
pub struct Kvp {
    session: Session,
    /// The operation that waits for its answer.
    pending: Option<u8>,
    answer: String,
}

impl Kvp {
    /// A service that waits for the guest to open it.
    pub fn new() -> Self {
        Self { session: Session::new(MESSAGE, VERSIONS), pending: None, answer: "none".into() }
    }

    fn ask(&mut self, io: &mut Io<'_>, operation: u8, pool: u8, body: &[u8]) {
        self.pending = Some(operation);
        self.answer = "pending".into();
        let message = [&[operation, pool, 0, 0], body].concat();
        self.session.send(io, &message);
        io.count("asked", 1);
    }
}

impl Default for Kvp {
    fn default() -> Self {
        Self::new()
    }
}

impl Service for Kvp {
    const INTERFACE: Guid = INTERFACE;
    const INSTANCE: Guid = Guid::new("242ff919-07db-4180-9c2e-b86cb68c8c55");

    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn answered(&mut self, io: &mut Io<'_>, answer: Answer) -> Result<(), Violation> {
        let Answer { status, body } = answer;
        io.count("answered", 1);
        self.answer = format!("{status:#010x}");
        let at = match self.pending.take() {
            Some(ENUMERATE) if status == 0 => ENUMERATED,
            Some(GET) if status == 0 => GOT,
            _ => return Ok(()),
        };
        let (key, value) = record(&body, at)?;
        self.answer = format!("{status:#010x} {} {}", key.escape_debug(), value.escape_debug());
        Ok(())
    }

    fn reset(&mut self) {
        self.pending = None;
        self.answer = "none".into();
    }

    /// `set POOL KEY VALUE...`, `get POOL KEY`, `delete POOL KEY`, `enumerate POOL INDEX` ask the
    /// guest. `answer` is `none`, `pending`, or the guest's HRESULT, and KEY and VALUE of what was
    /// read. `ready` tells whether the guest can be asked.
    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        match words {
            ["answer"] => return Ok(self.answer.clone()),
            ["ready"] => return Ok(self.session.is_ready().to_string()),
            _ if !self.session.is_ready() => return Err("the guest has no KVP service".into()),
            _ if self.pending.is_some() => return Err("a question is under way".into()),
            _ => {}
        }
        let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{text} is no number"));
        let pool = |text: &str| text.parse::<u8>().map_err(|_| format!("{text} is no pool"));
        match words {
            ["set", number, key, value @ ..] if !value.is_empty() => {
                let (key, key_size) = text(key, KEY)?;
                let (value, value_size) = text(&value.join(" "), VALUE)?;
                let sizes = [TEXT, key_size, value_size].map(u32::to_le_bytes);
                let body = [sizes.as_flattened(), &key, &value].concat();
                self.ask(io, SET, pool(number)?, &body);
            }
            ["get", from, key] => {
                let (key, size) = text(key, KEY)?;
                // Room for the value, of which the guest tells the type and the size.
                let sizes = [TEXT, size, 0].map(u32::to_le_bytes);
                let body = [sizes.as_flattened(), &key, &[0; VALUE]].concat();
                self.ask(io, GET, pool(from)?, &body);
            }
            ["delete", number, key] => {
                let (key, size) = text(key, KEY)?;
                self.ask(io, DELETE, pool(number)?, &[&size.to_le_bytes()[..], &key].concat());
            }
            ["enumerate", from, index] => {
                let mut body = vec![0; 16 + KEY + VALUE];
                body[..4].copy_from_slice(&number(index)?.to_le_bytes());
                self.ask(io, ENUMERATE, pool(from)?, &body);
            }
            _ => return Err(format!("unknown command: {}", words.join(" "))),
        }
        Ok("asked".into())
    }
}

/// A field of `room` bytes, and the bytes that are used of it.
fn text(text: &str, room: usize) -> Result<(Vec<u8>, u32), String> {
    let mut field: Vec<u8> =
        text.encode_utf16().chain([0]).flat_map(|unit| unit.to_le_bytes()).collect();
    let size = field.len();
    if size > room {
        return Err(format!("{text} is too long"));
    }
    field.resize(room, 0);
    Ok((field, size as u32))
}

/// Key and value of an answer whose type of the value is at `at`.
fn record(body: &[u8], at: usize) -> Result<(String, String), Violation> {
    let short = || Violation::new(format!("a pair that ends at {} bytes", body.len()));
    let word = |at: usize| -> Result<usize, Violation> {
        let bytes = body.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(short)?;
        Ok(u32::from_le_bytes(*bytes) as usize)
    };
    let field = |at: usize, room: usize, size: usize| -> Result<String, Violation> {
        let bytes = body.get(at..at + room).ok_or_else(short)?;
        let bytes = bytes.get(..size).ok_or_else(|| {
            Violation::new(format!("a text of {size} bytes in a field of {room}"))
        })?;
        let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
        Ok(String::from_utf16_lossy(&units))
    };
    let kind = word(at)?;
    if kind != TEXT as usize {
        return Err(Violation::new(format!("a value of type {kind}")));
    }
    let (key, value) = (word(at + 4)?, word(at + 8)?);
    let at = at + 12;
    Ok((field(at, KEY, key)?, field(at + KEY, VALUE, value)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ic::guest::{answer, negotiate, take, HEADERS};
    use crate::mock::Bench;

    fn bench() -> Bench {
        let mut bench = Bench::new(Box::new(Kvp::new()));
        negotiate(&mut bench, Version::new(4, 0));
        bench
    }

    fn ask(bench: &mut Bench, words: &str) -> Vec<u8> {
        let words: Vec<_> = words.split(' ').collect();
        assert_eq!(bench.command(&words), Ok("asked".into()));
        assert_eq!(bench.command(&["answer"]), Ok("pending".into()));
        take(bench).unwrap()
    }

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn nothing_before_the_daemon() {
        let mut bench = Bench::new(Box::new(Kvp::new()));
        assert_eq!(bench.command(&["ready"]), Ok("false".into()));
        assert!(bench.command(&["enumerate", "2", "0"]).is_err());
        negotiate(&mut bench, Version::new(4, 0));
        assert_eq!(bench.command(&["ready"]), Ok("true".into()));
        assert_eq!(bench.command(&["answer"]), Ok("none".into()));
    }

    #[test]
    fn a_pair_is_set_and_deleted() {
        let mut bench = bench();
        let mut data = ask(&mut bench, "set 1 name some value");
        let body = &data[HEADERS..];
        assert_eq!(body[..8], [SET, 1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(body[8..16], [10, 0, 0, 0, 22, 0, 0, 0]);
        assert_eq!(body[16..26], utf16("name\0"));
        assert_eq!(body[16 + KEY..16 + KEY + 22], utf16("some value\0"));
        assert!(body.len() >= 16 + KEY + VALUE);
        // One at a time.
        assert!(bench.command(&["delete", "1", "name"]).is_err());
        data[HEADERS - 8..HEADERS - 4].copy_from_slice(&0x8007_0103u32.to_le_bytes());
        answer(&mut bench, data);
        assert_eq!(bench.command(&["answer"]), Ok("0x80070103".into()));

        let data = ask(&mut bench, "delete 1 name");
        let body = &data[HEADERS..];
        assert_eq!(body[..8], [DELETE, 1, 0, 0, 10, 0, 0, 0]);
        assert_eq!(body[8..18], utf16("name\0"));
        answer(&mut bench, data);
        assert_eq!(bench.command(&["answer"]), Ok("0x00000000".into()));
        let long = "x".repeat(256);
        assert!(bench.command(&["delete", "1", &long]).is_err());
        for words in ["set 1 name", "set 256 k v", "enumerate 1 x", "read 1 2"] {
            let words: Vec<_> = words.split(' ').collect();
            assert!(bench.command(&words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_value_is_asked_for() {
        let mut bench = bench();
        let mut data = ask(&mut bench, "get 3 name");
        let body = &mut data[HEADERS..];
        assert_eq!(body[..8], [GET, 3, 0, 0, 1, 0, 0, 0]);
        assert_eq!(body[8..16], [10, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(body[16..26], utf16("name\0"));
        assert!(body.len() >= 16 + KEY + VALUE);
        body[12..16].copy_from_slice(&8u32.to_le_bytes());
        body[16 + KEY..16 + KEY + 8].copy_from_slice(&utf16("a b\0"));
        answer(&mut bench, data);
        assert_eq!(bench.command(&["answer"]), Ok("0x00000000 name a b".into()));

        // No such key.
        let mut data = ask(&mut bench, "get 3 other");
        data[HEADERS - 8..HEADERS - 4].copy_from_slice(&0x8007_0103u32.to_le_bytes());
        answer(&mut bench, data);
        assert_eq!(bench.command(&["answer"]), Ok("0x80070103".into()));
        let long = "x".repeat(256);
        assert!(bench.command(&["get", "3", &long]).is_err());
        let mut data = ask(&mut bench, "get 3 name");
        data.truncate(HEADERS + 100);
        data[4..8].copy_from_slice(&120u32.to_le_bytes());
        answer(&mut bench, data);
        assert!(bench.dead());
    }

    fn enumerated(sizes: [u32; 3]) -> (Bench, Vec<u8>) {
        let mut bench = bench();
        let mut data = ask(&mut bench, "enumerate 2 5");
        assert_eq!(data[HEADERS..HEADERS + 8], [ENUMERATE, 2, 0, 0, 5, 0, 0, 0]);
        let body = &mut data[HEADERS..];
        body[8..20].copy_from_slice(sizes.map(u32::to_le_bytes).as_flattened());
        body[20..34].copy_from_slice(&utf16("OSName\0"));
        body[20 + KEY..20 + KEY + 8].copy_from_slice(&utf16("Li\n\0"));
        (bench, data)
    }

    #[test]
    fn a_pair_is_read() {
        let (mut bench, data) = enumerated([1, 14, 8]);
        answer(&mut bench, data);
        assert_eq!(bench.command(&["answer"]), Ok("0x00000000 OSName Li\\n".into()));
        // Sizes that are as large as they can be.
        let (mut bench, data) = enumerated([1, 512, 2048]);
        answer(&mut bench, data);
        assert_eq!(bench.command(&["answer"]), Ok("0x00000000 OSName Li\\n".into()));
        bench.reopen();
        assert_eq!(bench.command(&["answer"]), Ok("none".into()));
    }

    #[test]
    fn wrong_records_end_the_channel() {
        for sizes in [[4, 14, 8], [1, 513, 8], [1, 14, 2049], [1, 14, u32::MAX]] {
            let (mut bench, data) = enumerated(sizes);
            answer(&mut bench, data);
            assert!(bench.dead(), "{sizes:?}");
        }
        for len in [4, 19, 600] {
            let (mut bench, mut data) = enumerated([1, 14, 8]);
            data.truncate(HEADERS + len);
            data[4..8].copy_from_slice(&(20 + len as u32).to_le_bytes());
            answer(&mut bench, data);
            assert!(bench.dead(), "{len} bytes");
        }
    }
}
