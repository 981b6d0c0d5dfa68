// SPDX-License-Identifier: GPL-2.0

//! Guest memory that the host may access (guest physical address descriptor lists).
//!
//! Memory of which it is not known whether the host still accesses it is never used for anything
//! else.

use crate::{
    channel::Channel,
    connection::Connection,
    log::warn_limited,
    message::{
        kind,
        GpadlBody,
        GpadlHeader,
        GpadlTeardown,
        Header, //
    },
    request::{
        Answer,
        NoAnswer,
        Subject, //
    },
    trace, //
};
use core::mem::size_of;
use kernel::prelude::*;
use zerocopy::{
    FromZeros,
    IntoBytes, //
};

/// Size of what the host calls a page, also where the guest's are larger.
pub(crate) const PAGE: usize = 4096;
/// The most pages whose range has a length of 16 bits.
const MAX_PAGES: usize = (u16::MAX as usize - RANGE) / size_of::<u64>();
/// Bytes of a range without its page numbers.
const RANGE: usize = 8;

/// Why memory is not shared.
pub(crate) enum Failed {
    /// The host knows nothing of it.
    Clean(Error),
    /// The host may know it, and access it.
    Unknown(Error),
}

/// The host has not confirmed that it does not access the memory any more.
pub(crate) struct Unconfirmed;

/// Tells the host of memory: pages in order, of which `bytes` count.
///
/// Returns the number of the GPADL. May sleep.
pub(crate) fn establish(
    connection: &Connection,
    channel: &Channel,
    pfns: &mut dyn Iterator<Item = u64>,
    bytes: usize,
) -> Result<u32, Failed> {
    let pages = bytes.div_ceil(PAGE);
    if pages == 0 || pages > MAX_PAGES {
        return Err(Failed::Clean(EINVAL));
    }
    let gpadl = connection.next_gpadl();
    let relid = channel.relid();
    let pending = connection
        .requests()
        .begin(Subject::GpadlCreated { relid, gpadl }, Some(channel))
        .map_err(Failed::Clean)?;

    // `pages` and `bytes` are below 2^32, as checked.
    let mut header = GpadlHeader::new_zeroed();
    header.header = Header::new(kind::GPADL_HEADER);
    header.relid = relid;
    header.gpadl = gpadl;
    header.range_length = (RANGE + pages * size_of::<u64>()) as u16;
    header.range_count = 1;
    header.byte_count = (pages * PAGE) as u32;
    let count = fill(&mut header.pfns, pfns, pages);
    let mut left = pages - count;

    let result = post(connection, header.as_bytes(), GpadlHeader::FIXED, count);
    trace::gpadl_header(&header, &result);
    result.map_err(Failed::Clean)?;

    // From here on the host knows the GPADL, at least in part.
    while left > 0 {
        let mut body = GpadlBody::new_zeroed();
        body.header = Header::new(kind::GPADL_BODY);
        body.gpadl = gpadl;
        let count = fill(&mut body.pfns, pfns, left);
        if count == 0 {
            return Err(take_back(connection, channel, gpadl, EINVAL));
        }
        left -= count;

        let result = post(connection, body.as_bytes(), GpadlBody::FIXED, count);
        trace::gpadl_body(&body, &result);
        if let Err(error) = result {
            return Err(take_back(connection, channel, gpadl, error));
        }
    }

    match pending.wait() {
        Ok(Answer::Status(0)) if !channel.is_rescinded() => Ok(gpadl),
        Ok(Answer::Status(0)) | Err(NoAnswer::Rescinded) => Err(Failed::Clean(ENODEV)),
        Ok(Answer::Status(status)) => {
            warn_limited!("the host refuses a GPADL: status {:#x}\n", status);
            Err(Failed::Clean(EDQUOT))
        }
        _ => Err(take_back(connection, channel, gpadl, ETIMEDOUT)),
    }
}

/// Puts as many page numbers into a message as fit, and says how many.
#[inline(never)]
fn fill(to: &mut [[u8; 8]], from: &mut dyn Iterator<Item = u64>, at_most: usize) -> usize {
    let mut count = 0;

    for (to, pfn) in to.iter_mut().take(at_most).zip(from) {
        *to = pfn.to_le_bytes();
        count += 1;
    }
    count
}

/// Posts a message with so many of its page numbers.
fn post(connection: &Connection, message: &[u8], fixed: usize, pfns: usize) -> Result {
    let bytes = message
        .get(..fixed + pfns * size_of::<u64>())
        .ok_or(EINVAL)?;

    connection.post(bytes)
}

/// Ends a GPADL that is incomplete.
fn take_back(connection: &Connection, channel: &Channel, gpadl: u32, why: Error) -> Failed {
    match teardown(connection, channel, gpadl) {
        Ok(()) => Failed::Clean(why),
        Err(Unconfirmed) => Failed::Unknown(why),
    }
}

/// Takes memory back from the host. May sleep.
///
/// A rescinded channel has no GPADLs: the host has forgotten them.
pub(crate) fn teardown(
    connection: &Connection,
    channel: &Channel,
    gpadl: u32,
) -> Result<(), Unconfirmed> {
    let pending = match connection
        .requests()
        .begin(Subject::GpadlTorndown { gpadl }, Some(channel))
    {
        Ok(pending) => pending,
        Err(error) if error == ENODEV => return Ok(()),
        Err(_) => return Err(Unconfirmed),
    };
    let message = GpadlTeardown {
        header: Header::new(kind::GPADL_TEARDOWN),
        relid: channel.relid(),
        gpadl,
    };
    let result = connection.send(&message);
    trace::gpadl_teardown(&message, &result);

    if result.is_err() {
        return if channel.is_rescinded() {
            Ok(())
        } else {
            Err(Unconfirmed)
        };
    }
    match pending.wait() {
        Ok(_) | Err(NoAnswer::Rescinded) => Ok(()),
        Err(NoAnswer::TimedOut) => Err(Unconfirmed),
    }
}
