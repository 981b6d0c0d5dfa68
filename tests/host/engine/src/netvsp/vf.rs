// SPDX-License-Identifier: GPL-2.0

//! The virtual function of a real card that stands beside this one. The device itself is not
//! here: the host only tells the guest which one it is, and hears from it which of the two it
//! uses. A new session begins on the synthetic path, and is told again.
//!
//! - `vf on SERIAL`, `vf off`: the virtual function is there, or is not any more.
//! - `vf say ALLOCATED SERIAL`: an association that need not be true.
//! - `vf path`: `vf` or `synthetic`.
//! - `vf lose N`, `vf late N`: so many requests to switch are not answered, or only when `vf answer`
//!   is said.

use super::counters::Counter;
use super::{message, Netvsp, PRIMARY, SEND_VF_ASSOCIATION};
use crate::device::{Io, Violation};

/// What carries the guest's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    Synthetic,
    Vf,
}

impl Path {
    pub fn from_wire(path: u32) -> Option<Self> {
        match path {
            0 => Some(Self::Synthetic),
            1 => Some(Self::Vf),
            _ => None,
        }
    }
}

/// The virtual function as the host knows it.
#[derive(Default)]
pub(super) struct Vf {
    /// The number of its slot.
    pub serial: Option<u32>,
    /// The guest has to be told.
    pub due: bool,
    /// Something was said about one, true or not, so that the guest may ask for it.
    said: bool,
    lose: u32,
    late: u32,
    /// Requests that wait for their answer.
    waiting: Vec<u64>,
}

fn number(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

impl Netvsp {
    /// Takes a request of the guest to send by another path.
    pub(super) fn switch(&mut self, io: &mut Io<'_>, id: u64, path: Path) -> Result<(), Violation> {
        if path == Path::Vf && !self.vf.said {
            return Err(Violation::new("there is no virtual function to switch to"));
        }
        self.session.path = path;
        let counter = if path == Path::Vf { Counter::ToVf } else { Counter::ToSynthetic };
        self.counters.add(counter, 1);
        if self.vf.lose > 0 {
            self.vf.lose -= 1;
            self.count_bad();
        } else if self.vf.late > 0 {
            self.vf.late -= 1;
            self.vf.waiting.push(id);
        } else {
            io.complete(PRIMARY, id, &[]);
        }
        Ok(())
    }

    /// Whether the guest is to use the other path.
    pub(super) fn on_vf(&self) -> bool {
        self.session.path == Path::Vf
    }

    /// Tells the guest about the virtual function, once it can be told.
    pub(super) fn send_association_if_due(&mut self, io: &mut Io<'_>) {
        if self.vf.due && self.session.sriov && self.adapter.is_initialized() {
            self.vf.due = false;
            let (allocated, serial) = match self.vf.serial {
                Some(serial) => (1, serial),
                None => (0, 0),
            };
            self.associate(io, allocated, serial);
        }
    }

    fn associate(&mut self, io: &mut Io<'_>, allocated: u32, serial: u32) {
        let size = self.session.message_size();
        self.vf.said |= allocated != 0;
        let association = message(&[SEND_VF_ASSOCIATION, allocated, serial]);
        io.send(PRIMARY, 0, false, &association[..size]);
    }

    /// Does what the control line asks for.
    pub(super) fn vf(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        match words {
            ["on", serial] => {
                self.vf.serial = Some(number(serial)?);
                self.vf.due = true;
                self.send_association_if_due(io);
            }
            ["off"] => {
                self.vf.serial = None;
                self.vf.due = true;
                self.send_association_if_due(io);
            }
            ["say", allocated, serial] => {
                if !self.session.sriov || !self.adapter.is_initialized() {
                    return Err("the guest does not want to hear it".into());
                }
                self.associate(io, number(allocated)?, number(serial)?);
                self.count_bad();
            }
            ["path"] => return Ok(if self.on_vf() { "vf" } else { "synthetic" }.into()),
            ["lose", count] => self.vf.lose = number(count)?,
            ["late", count] => self.vf.late = number(count)?,
            ["answer"] => {
                for id in std::mem::take(&mut self.vf.waiting) {
                    io.complete(PRIMARY, id, &[]);
                }
            }
            _ => return Err("vf on SERIAL, off, say A S, path, lose N, late N, answer".into()),
        }
        Ok(String::new())
    }
}
