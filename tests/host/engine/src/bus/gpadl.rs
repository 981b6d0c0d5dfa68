// SPDX-License-Identifier: GPL-2.0

//! Memory that the guest shares: GPADLs.

use zerocopy::FromBytes;

use super::*;

/// A GPADL whose page numbers are still coming.
pub(super) struct Partial {
    pub relid: u32,
    range_bytes: usize,
    bytes: Vec<u8>,
}

impl Host {
    pub(super) fn gpadl_header(&mut self, body: &[u8]) -> Result<(), Violation> {
        let (header, ranges) =
            msg::GpadlHeader::read_from_prefix(body).map_err(|_| Violation::new("cut short"))?;
        let (relid, gpadl, range_bytes) = (header.relid, header.gpadl, header.range_bytes.into());
        let at = self.channel(relid)?;
        if self.slot(at).gpadls.contains_key(&gpadl) || self.partial.contains_key(&gpadl) {
            let status = GPADL_REFUSED;
            self.post(kind::GPADL_CREATED, &msg::GpadlCreated { relid, gpadl, status });
            return Err(Violation::new(format!("GPADL {gpadl:#x} exists already")));
        }
        if header.range_count != 1 {
            let status = STATUS_INVALID_PARAMETER;
            self.post(kind::GPADL_CREATED, &msg::GpadlCreated { relid, gpadl, status });
            return Err(Violation::new("a GPADL of several ranges"));
        }
        self.interrupt_earlier(at, relid);
        self.partial.insert(gpadl, Partial { relid, range_bytes, bytes: Vec::new() });
        self.gpadl_more(gpadl, ranges)
    }

    pub(super) fn gpadl_body(&mut self, body: &[u8]) -> Result<(), Violation> {
        let (header, pages) =
            msg::GpadlBody::read_from_prefix(body).map_err(|_| Violation::new("cut short"))?;
        self.gpadl_more(header.gpadl, pages)
    }

    /// Takes more of a GPADL's range; answers when it is whole.
    pub(super) fn gpadl_more(&mut self, gpadl: u32, bytes: &[u8]) -> Result<(), Violation> {
        let Some(partial) = self.partial.get_mut(&gpadl) else {
            return Err(Violation::new(format!("GPADL_BODY for unknown {gpadl:#x}")));
        };
        let room = partial.range_bytes - partial.bytes.len();
        partial.bytes.extend(&bytes[..bytes.len().min(room)]);
        if partial.bytes.len() < partial.range_bytes {
            return Ok(());
        }
        let Some(Partial { relid, bytes, .. }) = self.partial.remove(&gpadl) else { return Ok(()) };
        let at = self.channel(relid)?;
        let range = match page_range(&bytes, &*self.mem) {
            Ok(Some((range, []))) if range.len > 0 => Ok(range),
            Ok(_) => Err(Violation::new("a GPADL whose length and page count differ")),
            Err(why) => Err(why),
        };
        let status = if range.is_ok() { STATUS_SUCCESS } else { STATUS_INVALID_PARAMETER };
        self.post(kind::GPADL_CREATED, &msg::GpadlCreated { relid, gpadl, status });
        let range: PageRange = range?;
        self.slot(at).gpadls.insert(gpadl, range);
        Ok(())
    }

    pub(super) fn gpadl_teardown(&mut self, teardown: msg::GpadlTeardown) -> Result<(), Violation> {
        let gpadl = teardown.gpadl;
        let at = self.channel(teardown.relid)?;
        let known = self.slot(at).gpadls.remove(&gpadl).is_some();
        if !known && !self.is_leaving(at) {
            return Err(Violation::new(format!("GPADL_TEARDOWN for unknown {gpadl:#x}")));
        }
        self.post(kind::GPADL_TORNDOWN, &msg::GpadlTorndown { gpadl });
        Ok(())
    }
}
