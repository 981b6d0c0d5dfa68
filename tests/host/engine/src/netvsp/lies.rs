// SPDX-License-Identifier: GPL-2.0

//! What a host says of itself that is not so, or when nobody can listen yet, and completions that
//! are another packet's.
//!
//! - `say OBJECT [HEX]`: asked about this object, the adapter answers that, or nothing.
//! - `say batch MESSAGES SHIFT`: messages of a packet, and to what each is padded.
//! - `say lso BYTES`: the largest frame that it segments.
//! - `say sections SIZE COUNT`, `say send-section SIZE`: what the buffers are cut into.
//! - `say truth`: an end of all that.
//! - `early packet`, `early answer`: the next time that the card is set up there is a packet of
//!   frames before the receive buffer, or the answer to an RNDIS question before there was one.
//! - `complete frame|control|exchange empty|rndis|buffer COUNT`: so many of the guest's packets of
//!   frames, its control messages, or its NVSP questions are completed with nothing, as RNDIS, or
//!   as if they had shared a buffer.

use super::counters::Counter;
use super::{
    message, Netvsp, CONTROL, NO_SECTION, PRIMARY, SEND_RNDIS_PACKET, SEND_RNDIS_PACKET_COMPLETE,
    SEND_SEND_BUFFER_COMPLETE, STATUS_SUCCESS,
};
use crate::device::Io;
use crate::rndis;

/// Transaction ids of packets that come too early: no buffer's.
const EARLY: u64 = 0x6561_726c_7900_0000;
/// What the guest calls its receive buffer.
const RECEIVE_BUFFER: u16 = 0xcafe;
/// A size of sections, for completions that are about no buffer.
const SECTION: u32 = 6144;

/// What a completion is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Frame,
    Control,
    Exchange,
}

/// What it is instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum With {
    Nothing,
    Rndis,
    Buffer,
}

#[derive(Default)]
pub(super) struct Lies {
    pub sections: Option<(u32, u32)>,
    pub send_section: Option<u32>,
    early_packet: bool,
    early_answer: bool,
    /// Packets that came early and are not completed.
    early: Vec<u64>,
    completions: Option<(Of, With, u32)>,
}

impl Lies {
    /// Whether the guest completes what came early.
    pub fn was_early(&mut self, id: u64) -> bool {
        let place = self.early.iter().position(|early| *early == id);
        place.map(|place| self.early.swap_remove(place)).is_some()
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

impl Netvsp {
    pub(super) fn say(&mut self, words: &[&str]) -> Result<(), String> {
        let number = |word: &str| crate::fault::number(word).map(|number| number as u32);
        let lies = &mut self.adapter.lies;
        match words {
            ["truth"] => {
                *lies = rndis::Lies::default();
                (self.lies.sections, self.lies.send_section) = (None, None);
            }
            ["batch", messages, shift] => lies.batch = Some((number(messages)?, number(shift)?)),
            ["lso", longest] => lies.lso = Some(number(longest)?),
            ["sections", size, count] => {
                self.lies.sections = Some((number(size)?, number(count)?));
            }
            ["send-section", size] => self.lies.send_section = Some(number(size)?),
            [object] => drop(lies.about.insert(number(object)?, Vec::new())),
            [object, hex] => {
                let value = bytes(hex).ok_or_else(|| format!("{hex} are no bytes"))?;
                lies.about.insert(number(object)?, value);
            }
            _ => return Err("say what?".into()),
        }
        Ok(())
    }

    pub(super) fn be_early(&mut self, what: &str) -> Result<(), String> {
        match what {
            "packet" => self.lies.early_packet = true,
            "answer" => self.lies.early_answer = true,
            _ => return Err("early packet, or answer".into()),
        }
        Ok(())
    }

    pub(super) fn mix_up(&mut self, of: &str, with: &str, count: u32) -> Result<(), String> {
        let of = match of {
            "frame" => Of::Frame,
            "control" => Of::Control,
            "exchange" => Of::Exchange,
            _ => return Err("complete frame, control, or exchange".into()),
        };
        let with = match with {
            "empty" => With::Nothing,
            "rndis" => With::Rndis,
            "buffer" => With::Buffer,
            _ => return Err("complete it empty, as rndis, or as buffer".into()),
        };
        self.lies.completions = (count > 0).then_some((of, with, count));
        Ok(())
    }

    /// Completes a packet as something else, if it was asked for.
    pub(super) fn complete_otherwise(
        &mut self,
        io: &mut Io<'_>,
        channel: usize,
        id: u64,
        of: Of,
    ) -> bool {
        let Some((_, with, count)) = self.lies.completions.filter(|lie| lie.0 == of) else {
            return false;
        };
        self.lies.completions = count.checked_sub(2).map(|left| (of, with, left + 1));
        match with {
            With::Nothing => io.complete(channel, id, &[]),
            With::Rndis => {
                self.complete(io, channel, id, &[SEND_RNDIS_PACKET_COMPLETE, STATUS_SUCCESS]);
            }
            With::Buffer => {
                let fields = [SEND_SEND_BUFFER_COMPLETE, STATUS_SUCCESS, SECTION];
                self.complete(io, channel, id, &fields);
            }
        }
        self.count_bad();
        true
    }

    /// A packet of frames, before the guest has shared a buffer for them.
    pub(super) fn send_early(&mut self, io: &mut Io<'_>) {
        if !std::mem::take(&mut self.lies.early_packet) {
            return;
        }
        let id = EARLY | self.counters.get(Counter::Bad);
        let announcement = message(&[SEND_RNDIS_PACKET, 0, NO_SECTION, 0]);
        self.lies.early.push(id);
        let data = &announcement[..super::OLD_MESSAGE];
        io.send_transfer_pages(PRIMARY, id, RECEIVE_BUFFER, &[(64, 0)], data);
        self.count_bad();
    }

    /// The answer to a question of RNDIS, before the guest has asked any.
    pub(super) fn answer_early(&mut self, io: &mut Io<'_>) {
        if !std::mem::take(&mut self.lies.early_answer) {
            return;
        }
        let size = self.session.message_size();
        let Some(receive) = &mut self.session.receive else { return };
        let Some(section) = receive.take() else { return };
        let Ok(range) = receive.fill(io, section, [&rndis::early_answer(), &[]], false) else {
            return;
        };
        let id = receive.lend(PRIMARY, &[section]);
        let announcement = message(&[SEND_RNDIS_PACKET, CONTROL, NO_SECTION, 0]);
        io.send_transfer_pages(PRIMARY, id, receive.id, &[range], &announcement[..size]);
        self.count_bad();
    }
}
