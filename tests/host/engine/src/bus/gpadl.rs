// SPDX-License-Identifier: GPL-2.0

//! Memory that the guest shares: GPADLs.

use zerocopy::FromBytes;

use super::*;
use crate::memory::PAGE;

/// A GPADL whose page numbers are still coming.
pub(super) struct Partial {
    pub relid: u32,
    range_bytes: usize,
    bytes: Vec<u8>,
}

/// Memory that the guest wants back and does not have yet.
pub(super) struct Pattern {
    pub relid: u32,
    /// Until when it is the host's.
    until: u64,
    range: PageRange,
}

/// How long the guest waits for its memory then: long enough for a mistake to show.
const PATTERN_MS: u64 = 20;
/// How often buffers that were kept are written to.
pub(super) const KEPT_MS: u64 = 5;
/// No pointer, no text, no zero.
const PATTERN: [u8; PAGE] = [0xd7; PAGE];

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
        if let Ok(range) = &range {
            // Nobody shares what he has not got back yet, but who does not know it.
            let mut others = self.devices.iter().flat_map(|entry| &entry.slots);
            let others = others.by_ref().flat_map(|slot| slot.gpadls.values());
            let mut theirs: Vec<u64> = others.flat_map(|other| &other.pfns).copied().collect();
            theirs.sort_unstable();
            let twice = range.pfns.iter().filter(|pfn| theirs.binary_search(pfn).is_ok()).count();
            if twice > 0 {
                self.trace.count("pages_shared_twice", twice as u64);
            }
            self.slot(at).gpadls.insert(gpadl, range.clone());
        }
        self.post(kind::GPADL_CREATED, &msg::GpadlCreated { relid, gpadl, status });
        range.map(|_| ())
    }

    pub(super) fn gpadl_teardown(&mut self, teardown: msg::GpadlTeardown) -> Result<(), Violation> {
        let gpadl = teardown.gpadl;
        let at = self.channel(teardown.relid)?;
        let known = self.slot(at).gpadls.remove(&gpadl);
        if known.is_none() && !self.is_leaving(at) {
            return Err(Violation::new(format!("GPADL_TEARDOWN for unknown {gpadl:#x}")));
        }
        let kept = match self.slot(at).open {
            Some(_) => Vec::new(),
            // The rings: with them goes what was asked for in them.
            None => std::mem::take(&mut self.slot(at).kept),
        };
        if let (Some(range), Some(list)) = (known, &mut self.patterns) {
            let until = self.faults.now + PATTERN_MS;
            let relid = teardown.relid;
            list.extend(kept.into_iter().chain([range]).map(|range| Pattern {
                relid,
                until,
                range,
            }));
            self.pattern_again();
            let message = msg::build(kind::GPADL_TORNDOWN, &msg::GpadlTorndown { gpadl });
            self.faults.late.push((until, message));
            return Ok(());
        }
        self.post(kind::GPADL_TORNDOWN, &msg::GpadlTorndown { gpadl });
        Ok(())
    }

    /// Writes over what is the host's a little longer.
    pub(super) fn pattern_again(&mut self) {
        let Some(list) = &mut self.patterns else { return };
        for pattern in &*list {
            self.trace.count("patterns", 1);
            write_over(&*self.mem, &pattern.range);
        }
        list.retain(|pattern| pattern.until > self.faults.now);
    }

    /// Whether a device keeps buffers of requests.
    pub(super) fn keeps_some(&self) -> bool {
        self.devices.iter().flat_map(|entry| &entry.slots).any(|slot| !slot.kept.is_empty())
    }

    /// Writes over buffers of requests that a device does not answer.
    pub(super) fn write_kept(&mut self) {
        for range in self.devices.iter().flat_map(|entry| &entry.slots).flat_map(|slot| &slot.kept)
        {
            self.trace.count("patterns_kept", 1);
            write_over(&*self.mem, range);
        }
    }
}

fn write_over(mem: &dyn GuestMemory, range: &PageRange) {
    for at in (0..range.len as usize).step_by(PAGE) {
        let n = PAGE.min(range.len as usize - at);
        // All of it was RAM when it was shared.
        let _ = range.write(mem, at, &PATTERN[..n]);
    }
}
