// SPDX-License-Identifier: GPL-2.0

//! The control line's commands for a controller.
//!
//! `disk LUN hash OFFSET LEN` (or `hash LUN OFFSET LEN`): SHA-256 of bytes of a disk.
//! `add LUN [SIZE[:ro][:4k]] [EVENT]`: a new disk of zeros; without size the one that was removed.
//! `remove LUN [EVENT]`, `resize LUN SIZE [EVENT]`.
//! `attention LUN KEY/ASC/ASCQ`: the disk's next command fails with this.
//! `rival LUN WORDS`: persistent reservations of another initiator.
//! `notify OPERATION [COUNT]`: packets with this operation that answer nothing.
//! `fail COUNT ...`, `alter COUNT ...`: the next commands are not done and fail, or are done and
//! answered wrongly, see [`Fault::parse`]; `faults` says how many are left, `faults off` ends them.
//! `chaos RATE SEED [LUN]`: of 1000 commands so many are answered in a mad way, see [`Chaos`], until
//! `chaos off`, which answers those that were not.
//! `capture [OPCODE]`: what commands (of this operation code) look like, the first 64 of them, which
//! `captured` says, and ends that.
//! `keep COUNT`: so many of the next commands that read are not answered, and their buffers are
//! written over until `answer`, or until the guest has the rings back.
//! `set versions [V.V ...]`, `set max-transfer BYTES`, `set sub-channels N`: what the controller
//! says at the next handshake.
//!
//! `medium LUN insert SIZE SEED`, `medium LUN eject`: what is in a DVD drive.
//! `names NODE PORT [first|second]`: an adapter's world wide names, in hexadecimal, and in which of
//! its two sets; the guest hears of them.
//!
//! A LUN may be PATH:TARGET:LUN. An EVENT says how the guest hears of it: `enumerate`,
//! `remove-device` or `silent`; adding and removing enumerate by themselves, and resizing is silent
//! because the disk's unit attention tells it.

use super::capture::Capture;
use super::chaos::Chaos;
use super::fault::{hex, sense, Fault};
use super::{operation, Names, Storvsp};
use crate::device::Io;
use crate::disk::{parse_size, Address, Disk, DiskConfig, MemoryBacking};

/// The most packets that one `notify` sends.
const MAX_NOTIFY: u32 = 1000;

impl Storvsp {
    /// Carries out a command; returns the answer's text.
    pub(super) fn control(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        let done = |()| String::new();
        match *words {
            ["disk", lun, "hash", at, len] | ["hash", lun, at, len] => {
                self.disk(lun)?.hash(number(at)?, number(len)?)
            }
            ["add", lun, ref rest @ ..] => self.add(io, lun, rest).map(done),
            ["remove", lun, ref rest @ ..] => self.remove(io, lun, rest).map(done),
            ["resize", lun, size, ref rest @ ..] => {
                let event = event(rest, None)?;
                let bytes = parse_size(size).ok_or_else(|| format!("not a size: {size}"))?;
                self.disk(lun)?.resize(bytes)?;
                self.tell(io, event);
                Ok(String::new())
            }
            ["attention", lun, word] => {
                let sense = sense(word)?;
                self.disk(lun)?.attend(sense);
                Ok(String::new())
            }
            ["medium", lun, "insert", size, seed] => {
                let bytes = parse_size(size).ok_or_else(|| format!("not a size: {size}"))?;
                let seed = number(seed)?;
                self.disk(lun)?.insert(bytes, seed).map(done)
            }
            ["medium", lun, "eject"] => self.disk(lun)?.eject().map(done),
            ["names", node, port] => self.rename(io, node, port, true).map(done),
            ["names", node, port, "first"] => self.rename(io, node, port, true).map(done),
            ["names", node, port, "second"] => self.rename(io, node, port, false).map(done),
            ["rival", lun, ref rest @ ..] => self.disk(lun)?.rival(rest).map(done),
            ["notify", what] => self.repeat(io, what, 1).map(done),
            ["notify", what, count] => {
                let count = count.parse().map_err(|_| format!("not a number: {count}"))?;
                self.repeat(io, what, count).map(done)
            }
            [word @ ("fail" | "alter"), ref rest @ ..] => {
                self.faults.add(Fault::parse(word == "fail", rest)?);
                Ok(String::new())
            }
            ["faults"] => Ok(self.faults.left().to_string()),
            ["faults", "off"] => {
                self.faults.clear();
                Ok(String::new())
            }
            ["chaos", "off"] => {
                let unanswered = self.chaos.take().map(|chaos| chaos.unanswered);
                for (channel, id, bytes) in unanswered.unwrap_or_default() {
                    io.complete(channel, id, &bytes);
                }
                Ok(String::new())
            }
            ["chaos", rate, seed, ref lun @ ..] => {
                let lun = match *lun {
                    [] => None,
                    [lun] => Some(lun.parse().map_err(|_| format!("not a number: {lun}"))?),
                    _ => return Err("chaos is for one disk or for all".into()),
                };
                self.chaos = Some(Chaos::new(number(rate)?, number(seed)?, lun));
                Ok(String::new())
            }
            ["capture"] => {
                self.capture = Some(Capture::new(None));
                Ok(String::new())
            }
            ["capture", code] => {
                let code = u8::try_from(hex(code)?).map_err(|_| format!("no code: {code}"))?;
                self.capture = Some(Capture::new(Some(code)));
                Ok(String::new())
            }
            ["captured"] => {
                let capture = self.capture.take().ok_or("nothing is being captured")?;
                Ok(capture.end())
            }
            ["keep", count] => {
                self.keep = count.parse().map_err(|_| format!("not a number: {count}"))?;
                Ok(String::new())
            }
            ["answer"] => self.answer_kept(io).map(done).map_err(|why| why.to_string()),
            ["set", what, ref rest @ ..] => self.set(what, rest).map(done),
            _ => Err(format!("unknown command: {}", words.join(" "))),
        }
    }

    fn disk(&mut self, lun: &str) -> Result<&mut Disk, String> {
        let address: Address = lun.parse()?;
        self.disks.get_mut(&address).ok_or_else(|| format!("no disk {lun}"))
    }

    fn add(&mut self, io: &mut Io<'_>, lun: &str, words: &[&str]) -> Result<(), String> {
        let address: Address = lun.parse()?;
        if self.disks.contains_key(&address) {
            return Err(format!("there is a disk {lun} already"));
        }
        let (spec, words) = match words {
            [spec, rest @ ..] if spec.starts_with(|c: char| c.is_ascii_digit()) => {
                (Some(spec), rest)
            }
            _ => (None, words),
        };
        let event = event(words, Some(operation::ENUMERATE_BUS))?;
        let disk = match spec {
            Some(spec) => {
                let mut config = DiskConfig::new(address, format!("ADDED{:03}", self.added));
                let text = config.parse(spec)?;
                config.address = address;
                let size = parse_size(text).ok_or_else(|| format!("not a size: {text}"))?;
                self.added = self.added.wrapping_add(1);
                Disk::new(Box::new(MemoryBacking::new(size)), config)
            }
            None => {
                self.shelf.remove(&address).ok_or_else(|| format!("no disk {lun} was removed"))?
            }
        };
        self.disks.insert(address, disk);
        self.tell(io, event);
        Ok(())
    }

    fn remove(&mut self, io: &mut Io<'_>, lun: &str, words: &[&str]) -> Result<(), String> {
        let address: Address = lun.parse()?;
        let event = event(words, Some(operation::ENUMERATE_BUS))?;
        let disk = self.disks.remove(&address).ok_or_else(|| format!("no disk {lun}"))?;
        self.shelf.insert(address, disk);
        self.tell(io, event);
        Ok(())
    }

    /// Gives an adapter of Fibre Channel other names.
    fn rename(
        &mut self,
        io: &mut Io<'_>,
        node: &str,
        port: &str,
        first: bool,
    ) -> Result<(), String> {
        let name = |word| u64::from_str_radix(word, 16).map_err(|_| format!("no name: {word}"));
        self.names = Names { node: name(node)?, port: name(port)?, first };
        self.notify(io, operation::FCHBA_DATA);
        Ok(())
    }

    fn tell(&self, io: &mut Io<'_>, event: Option<u32>) {
        if let Some(operation) = event {
            self.notify(io, operation);
        }
    }

    fn repeat(&self, io: &mut Io<'_>, what: &str, count: u32) -> Result<(), String> {
        let operation = hex(what)?;
        if count > MAX_NOTIFY {
            return Err(format!("at most {MAX_NOTIFY} at a time"));
        }
        (0..count).for_each(|_| self.notify(io, operation));
        Ok(())
    }

    fn set(&mut self, what: &str, words: &[&str]) -> Result<(), String> {
        match (what, words) {
            ("versions", words) => {
                let versions: Option<Vec<u16>> = words.iter().copied().map(version).collect();
                self.versions = versions.ok_or("versions are written like 6.0")?;
            }
            ("max-transfer", [bytes]) => {
                self.max_transfer = bytes.parse().map_err(|_| format!("not a number: {bytes}"))?;
            }
            ("sub-channels", [count]) => {
                self.sub_channels = count.parse().map_err(|_| format!("not a number: {count}"))?;
            }
            _ => return Err(format!("cannot set {what} {}", words.join(" "))),
        }
        Ok(())
    }
}

/// How the guest hears of a change: the operation of a packet, or none.
fn event(words: &[&str], default: Option<u32>) -> Result<Option<u32>, String> {
    match words {
        [] => Ok(default),
        ["enumerate"] => Ok(Some(operation::ENUMERATE_BUS)),
        ["remove-device"] => Ok(Some(operation::REMOVE_DEVICE)),
        ["silent"] => Ok(None),
        _ => Err(format!("unknown event: {}", words.join(" "))),
    }
}

/// Reads `6.0`.
fn version(word: &str) -> Option<u16> {
    let (major, minor) = word.split_once('.')?;
    Some(u16::from_be_bytes([major.parse().ok()?, minor.parse().ok()?]))
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}
