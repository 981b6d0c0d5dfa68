// SPDX-License-Identifier: GPL-2.0

//! What the guest's commands look like, for who wants to compare them with what they should be.

use zerocopy::FromBytes;

use super::{operation, Message, Srb};

/// The most commands that are written down.
const MOST: usize = 64;

/// The commands seen so far.
pub(super) struct Capture {
    /// Only those with this operation code.
    code: Option<u8>,
    seen: Vec<String>,
}

impl Capture {
    pub(super) fn new(code: Option<u8>) -> Self {
        Self { code, seen: Vec::new() }
    }

    /// Writes a command down: all fields that say how it is to be done, in hexadecimal but for
    /// lengths and seconds.
    pub(super) fn see(&mut self, message: &Message) {
        let Ok((srb, _)) = Srb::ref_from_prefix(&message.payload) else { return };
        let wanted = message.operation.get() == operation::EXECUTE_SRB
            && self.code.is_none_or(|code| code == srb.cdb[0]);
        if !wanted || self.seen.len() == MOST {
            return;
        }
        self.seen.push(format!(
            "opcode={:02x},lun={},cdb={},srb={},packet={:x},direction={},flags={:x},timeout={},\
             sense={},tag={:02x},action={:02x},data={}",
            srb.cdb[0],
            srb.address(),
            srb.cdb_length,
            srb.length,
            message.flags,
            srb.data_in,
            srb.flags,
            srb.timeout,
            srb.sense_length,
            srb.queue_tag,
            srb.queue_action,
            srb.data_length,
        ));
    }

    /// All of them, with spaces between.
    pub(super) fn end(self) -> String {
        self.seen.join(" ")
    }
}
