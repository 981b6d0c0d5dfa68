// SPDX-License-Identifier: GPL-2.0

//! Reading the packets of the host.
//!
//! A session has one [`Reader`] at a time, in whatever context its driver polls. While there is
//! one, and after it was dropped in the middle, the host sends no interrupts.
//!
//! C source: [`drivers/hv/ring_buffer.c`](srctree/drivers/hv/ring_buffer.c)

use super::{
    ends::{
        Consumer,
        Found,
        Next,
        Published, //
    },
    inflight::{
        Answered,
        Emptied,
        Request, //
    },
    link::Link,
    owed::Owed, //
};
use crate::{
    bindings,
    prelude::*,
    types::NotThreadSafe, //
};

/// A packet of the host, copied out of the ring.
///
/// Payloads are filled up to a multiple of 8 bytes. They say whatever the host wants them to say.
pub enum Incoming<'a, R> {
    /// Data for which no answer is asked.
    Data {
        /// Chosen by the host.
        id: u64,
        /// What it sent.
        payload: &'a [u8],
    },
    /// Data that has to be completed; also what was sent as transfer pages and has no sound list
    /// of them.
    Owed {
        /// What completes it.
        owed: Owed,
        /// What the host sent.
        payload: &'a [u8],
    },
    /// The answer to a request.
    Completion {
        /// What was given when the request was sent. It is in flight no more.
        request: R,
        /// The host's answer.
        payload: &'a [u8],
    },
    /// Data that the host has put into a [buffer](super::SharedMemory) that it got before. They are
    /// there until this is completed.
    TransferPages {
        /// What completes it.
        owed: Owed,
        /// Which buffer, as host and driver have agreed.
        pageset: u16,
        /// Where the data are.
        ranges: Ranges<'a>,
        /// What the host sent along.
        payload: &'a [u8],
    },
    /// A packet of another type.
    Other {
        /// The type (`enum vmbus_packet_type`).
        kind: u16,
        /// Chosen by the host.
        id: u64,
        /// What follows the descriptor and whatever this type has behind it.
        payload: &'a [u8],
    },
}

impl<'a, R> Incoming<'a, Answered<'_, R>> {
    /// Takes the request of a completion out of its place.
    #[inline]
    fn into_inner(self) -> Incoming<'a, R> {
        match self {
            Self::Data { id, payload } => Incoming::Data { id, payload },
            Self::Owed { owed, payload } => Incoming::Owed { owed, payload },
            Self::Completion { request, payload } => Incoming::Completion {
                request: request.into_inner(),
                payload,
            },
            Self::TransferPages {
                owed,
                pageset,
                ranges,
                payload,
            } => Incoming::TransferPages {
                owed,
                pageset,
                ranges,
                payload,
            },
            Self::Other { kind, id, payload } => Incoming::Other { kind, id, payload },
        }
    }
}

/// The ranges of a transfer-page packet, in a copy.
///
/// That there are so many was checked. What they say was not: it is the driver that knows the
/// buffer.
#[derive(Clone, Copy)]
pub struct Ranges<'a>(&'a [u8]);

/// Bytes of a range.
const RANGE: usize = size_of::<bindings::vmtransfer_page_range>();
/// Bytes before the ranges: page set, two bytes, number of ranges.
const RANGES: usize = 8;

impl<'a> Ranges<'a> {
    /// Splits what is between descriptor and payload of a transfer-page packet.
    #[inline]
    pub(super) fn parse(header: &'a [u8]) -> Option<(u16, Self)> {
        let (start, ranges) = header.split_first_chunk::<RANGES>()?;
        let [p0, p1, _, _, count @ ..] = *start;
        let len = (u32::from_le_bytes(count) as usize).checked_mul(RANGE)?;

        Some((u16::from_le_bytes([p0, p1]), Self(ranges.get(..len)?)))
    }

    /// Returns how many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len() / RANGE
    }

    /// Returns whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns offset and length of each, in bytes of the buffer, as the host says.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + 'a {
        self.0.chunks_exact(RANGE).filter_map(|range| {
            let (len, offset) = range.split_first_chunk::<4>()?;

            Some((
                u32::from_le_bytes(*offset.first_chunk()?),
                u32::from_le_bytes(*len),
            ))
        })
    }
}

/// Reads the packets of the host. There is one at a time.
///
/// Dropped before [`Reader::finish`], for example since a budget is used up, it gives room back to
/// the host; but the host does not interrupt: poll again.
pub struct Reader<'a, R: Request> {
    link: &'a Link<R>,
    consumer: &'a mut Consumer,
    emptied: Emptied,
    /// Packets that were skipped.
    refused: u32,
    _not_send: NotThreadSafe,
}

/// Packets that are skipped without the caller getting a chance to end its turn.
const PATIENCE: u32 = 128;

impl<'a, R: Request> Reader<'a, R> {
    #[inline]
    pub(super) fn new(link: &'a Link<R>, consumer: &'a mut Consumer) -> Self {
        consumer.mask();
        // Here it takes less than in `Reader::look()`. If the ring is spoilt `next()` says so.
        let _ = consumer.look();
        Self {
            link,
            consumer,
            emptied: Emptied::new(),
            refused: 0,
            _not_send: NotThreadSafe,
        }
    }

    /// Copies the next packet out of the ring; [`None`] if there is none. At the end of what was
    /// there when it last looked, this looks again, and if there is more gives room back to the
    /// host; at the end of all [`Reader::finish`] and [`Drop`] do that.
    ///
    /// Completions whose id is not that of a request in flight, and packets that are larger than
    /// was agreed on or inconsistent, are counted, logged at a limited rate, and skipped. What
    /// completes a request completes it all the same, with what there is of it. After many that were
    /// skipped this returns [`None`] too, so that a host that sends nothing else cannot keep a
    /// processor: [`Reader::finish`] says then that there is more.
    ///
    /// Returns [`EIO`] if the host has spoilt the ring. Nothing is ever read from this session
    /// again; it can be closed.
    // Packets are borrowed from the reader, which no iterator can express.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Incoming<'_, R>>> {
        Ok(self.next_in_place()?.map(Incoming::into_inner))
    }

    /// As [`Reader::next`], but leaves the request of a completion where it was, for those whose
    /// requests are large.
    #[inline]
    pub fn next_in_place(&mut self) -> Result<Option<Incoming<'_, Answered<'_, R>>>> {
        let link = self.link;
        let table = link.writer().table();

        loop {
            // SAFETY: The session is open as long as there is a reader.
            unsafe { link.channel().delay(false) };
            let found = match self.consumer.next() {
                Ok(Next::Packet(found)) => found,
                Ok(Next::Refused) => {
                    link.refuse("a packet that is none");
                    if self.has_enough() {
                        return Ok(None);
                    }
                    continue;
                }
                Ok(Next::End) => {
                    if self.look()? {
                        continue;
                    }
                    return Ok(None);
                }
                Err(error) => return Err(link.spoilt(error)),
            };

            if u32::from(found.descriptor.kind) != bindings::vmbus_packet_type_VM_PKT_COMP {
                return Ok(self.incoming(found, None));
            }
            // SAFETY: There is one reader at a time, and each gives back what it emptied: this one
            // not as long as it is borrowed by what is returned.
            match unsafe { table.take(found.descriptor.id, &mut self.emptied) } {
                None => {
                    link.refuse("a completion that nobody waits for");
                    if self.has_enough() {
                        return Ok(None);
                    }
                }
                request => return Ok(self.incoming(found, request)),
            }
        }
    }

    /// Counts a packet that is skipped; whether it was one too many.
    #[cold]
    fn has_enough(&mut self) -> bool {
        self.refused = self.refused.wrapping_add(1);
        self.refused % PATIENCE == 0
    }

    /// At the end of what was there, looks whether there is more now, and then gives room back.
    // Once for many packets: what `next()` needs for each stays in registers.
    #[inline(never)]
    fn look(&mut self) -> Result<bool> {
        self.link.writer().table().give_back(&mut self.emptied);
        match self.consumer.look() {
            // At the end of all whoever reads gives room back.
            Ok(false) => Ok(false),
            Ok(true) => {
                if self.consumer.is_behind() {
                    self.publish(false)?;
                }
                Ok(true)
            }
            Err(error) => Err(self.link.spoilt(error)),
        }
    }

    /// Shows the driver what was found.
    #[inline]
    fn incoming(
        &self,
        found: Found,
        request: Option<Answered<'a, R>>,
    ) -> Option<Incoming<'_, Answered<'_, R>>> {
        let body = self.consumer.buffer().get(..found.len)?;
        let (header, payload) = body.split_at_checked(found.header)?;
        let Found { descriptor, .. } = found;
        let id = descriptor.id;
        let owed = || Owed::new(id, self.link.writer().tag());

        if let Some(request) = request {
            return Some(Incoming::Completion { request, payload });
        }
        Some(match u32::from(descriptor.kind) {
            bindings::vmbus_packet_type_VM_PKT_DATA_INBAND if descriptor.wants_completion() => {
                Incoming::Owed {
                    owed: owed(),
                    payload,
                }
            }
            bindings::vmbus_packet_type_VM_PKT_DATA_INBAND => Incoming::Data { id, payload },
            bindings::vmbus_packet_type_VM_PKT_DATA_USING_XFER_PAGES => {
                match Ranges::parse(header) {
                    Some((pageset, ranges)) => Incoming::TransferPages {
                        owed: owed(),
                        pageset,
                        ranges,
                        payload,
                    },
                    // Whatever the host has lent for it, it waits for the completion.
                    None => {
                        self.link.refuse("ranges that are none");
                        Incoming::Owed {
                            owed: owed(),
                            payload,
                        }
                    }
                }
            }
            _ => Incoming::Other {
                kind: descriptor.kind,
                id,
                payload,
            },
        })
    }

    /// Gives room back to the host, and slots to the writer.
    #[inline]
    fn publish(&mut self, unmask: bool) -> Result<Published> {
        self.link.writer().table().give_back(&mut self.emptied);
        let published = self
            .consumer
            .publish(unmask)
            .map_err(|error| self.link.spoilt(error))?;

        if published.signal {
            // SAFETY: The session is open as long as there is a reader, whom we are.
            unsafe { self.link.channel().count_in_full() };
            // SAFETY: As above.
            unsafe { self.link.channel().signal() };
        }
        Ok(published)
    }

    /// Gives room back to the host, allows interrupts, and looks once more.
    ///
    /// Returns `true` if there is more to read, or if there may be, since another context wanted to
    /// read meanwhile: poll again. Otherwise the handler's waker will be called.
    ///
    /// What guards the polling context against running twice (`napi_complete_done()` for example)
    /// is to be released before this: the waker may be called from here on.
    ///
    /// Returns [`EIO`] as [`Reader::next`].
    #[inline]
    pub fn finish(mut self) -> Result<bool> {
        let published = self.publish(true);
        let link = self.link;

        // There is nothing to be published any more.
        core::mem::forget(self);
        let missed = link.release();
        Ok(published?.more || missed)
    }
}

impl<R: Request> Drop for Reader<'_, R> {
    #[inline]
    fn drop(&mut self) {
        if self.consumer.is_behind() {
            // If the ring is spoilt that was said; there is nothing else to do.
            let _ = self.publish(false);
        } else {
            self.link.writer().table().give_back(&mut self.emptied);
        }
        // Whoever did not finish polls again.
        self.link.release();
    }
}
