// SPDX-License-Identifier: GPL-2.0

//! What is written comes out as it was, what a host does wrongly ends, and each answer finds its
//! request once.
//!
//! The ring is in ordinary memory, and what is tested plays the host as well: what the writing end
//! fills the reading end empties. Nothing here needs the bus driver's module.

use super::{
    ends::{
        Consumer,
        Next,
        Producer, //
    },
    inflight::{
        Answered,
        Emptied,
        Table, //
    },
    reader::Ranges,
    ring::{
        Descriptor,
        Ring,
        Size,
        DESCRIPTOR,
        TRAILER, //
    }, //
};
use crate::{
    alloc::KVVec,
    bindings,
    cpu::CpuId,
    io::Io,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc,
    vmap::{
        Pages,
        VMap, //
    }, //
};

/// Pages of data.
const DATA: usize = 2;
const BYTES: u32 = (DATA * PAGE_SIZE) as u32;
const KIND: u16 = 6;

/// Memory of a ring.
struct Bench(VMap);

impl Bench {
    fn new() -> Result<Self> {
        let pages = Pages::new(1 + DATA, CpuId::current(), GFP_KERNEL | __GFP_ZERO)?;
        let pages = Arc::new(pages, GFP_KERNEL)?;

        Ok(Self(VMap::new(&pages, &[0..1 + DATA, 1..1 + DATA])?))
    }

    fn ring(&self) -> Result<Ring> {
        let size = Size::new(BYTES).ok_or(EINVAL)?;

        // SAFETY: A control page is followed by the data, twice. They stay mapped: each test drops
        // what it makes of this before the bench.
        Ok(unsafe { Ring::new(self.0.view().as_ptr().cast(), size) })
    }

    fn producer(&self) -> Result<Producer> {
        Ok(Producer::new(self.ring()?))
    }

    fn consumer(&self, buffer: usize) -> Result<Consumer> {
        let buffer = KVVec::from_elem(0u8, buffer, GFP_KERNEL)?;

        Ok(Consumer::new(self.ring()?, buffer))
    }
}

/// Writes a packet as a `Packet` does; returns whether the host is to be signalled.
fn write(producer: &mut Producer, payload: &[u8], id: u64) -> Result<bool> {
    let len = (DESCRIPTOR + payload.len() as u32).next_multiple_of(8);
    let descriptor = Descriptor {
        kind: KIND,
        flags: 0,
        offset: DESCRIPTOR,
        len,
        id,
    };

    producer.reserve(len + TRAILER)?;
    put(producer, descriptor, payload);
    Ok(producer.publish(len + TRAILER))
}

/// Writes a descriptor, right or wrong, and what follows it.
fn put(producer: &Producer, descriptor: Descriptor, payload: &[u8]) {
    let start = producer.index();

    for (at, word) in [0, 8].into_iter().zip(descriptor.to_words()) {
        // SAFETY: An index is a multiple of 8 and below the size, which is more than 16.
        unsafe { producer.ring.word(start + at) }.write_val(word);
    }
    // SAFETY: Tests write less than the size.
    unsafe { producer.ring.copy_in(start + DESCRIPTOR, payload) };
}

/// The id and the length of the next packet's payload.
fn read(consumer: &mut Consumer) -> Result<Option<(u64, usize)>> {
    match consumer.next()? {
        Next::Packet(found) => Ok(Some((found.descriptor.id, found.len - found.header))),
        Next::End => Ok(None),
        Next::Refused => Err(EBADMSG),
    }
}

#[kunit_tests(rust_vmbus)]
mod cases {
    use super::*;

    #[test]
    fn indices_wrap() -> Result {
        let size = Size::new(64).ok_or(EINVAL)?;

        assert!(Size::new(0).is_none() && Size::new(12).is_none());
        assert_eq!(size.distance(8, 8), 0);
        assert_eq!(size.distance(8, 40), 32);
        assert_eq!(size.distance(40, 8), 32);
        assert_eq!(size.room(0, 0), 64);
        assert_eq!(size.room(40, 32), 8);
        assert_eq!(size.behind(40, 24), 0);
        assert_eq!(size.behind(40, 32), 8);
        assert_eq!(size.behind(40, 16), 56);
        assert_eq!(size.check(56), Some(56));
        assert!([64, 4, u32::MAX]
            .iter()
            .all(|index| size.check(*index).is_none()));
        Ok(())
    }

    #[test]
    fn descriptors_are_words() {
        let descriptor = Descriptor {
            kind: 0x1122,
            flags: 1,
            offset: 24,
            len: 8 * 0xffff,
            id: 0x0102_0304_0506_0708,
        };
        let words = descriptor.to_words();

        assert_eq!(words[0], 0x0001_ffff_0003_1122u64.to_le());
        assert_eq!(Descriptor::parse(words), descriptor);
        assert!(descriptor.wants_completion() && descriptor.is_sound());
        assert!(!descriptor.fits(8 * 0xffff) && descriptor.fits(8 * 0xffff + 8));
        let short = Descriptor {
            len: 8,
            ..descriptor
        };
        assert!(!short.fits(64) && !short.is_sound());
    }

    #[test]
    fn packets_come_out_as_they_were() -> Result {
        let bench = Bench::new()?;
        let mut producer = bench.producer()?;
        let mut consumer = bench.consumer(4096)?;
        let mut bytes = KVVec::from_elem(0u8, 4096, GFP_KERNEL)?;

        // Each wraps somewhere else.
        for id in 1..200 {
            let len = (id * 37 % 4000) as usize;
            let payload = bytes.get_mut(..len).ok_or(EINVAL)?;

            payload.fill(id as u8);
            // The ring is empty, as both know.
            assert!(write(&mut producer, payload, id)?);
            assert!(consumer.publish(false)?.more);
            assert_eq!(read(&mut consumer)?, Some((id, len.next_multiple_of(8))));
            assert_eq!(consumer.buffer().get(..len), Some(&*payload));
            assert_eq!(read(&mut consumer)?, None);
            assert!(consumer.is_behind());
            assert!(!consumer.publish(true)?.more);
        }
        Ok(())
    }

    #[test]
    fn signals_follow_what_the_reader_said() -> Result {
        let bench = Bench::new()?;
        let mut producer = bench.producer()?;
        let mut consumer = bench.consumer(64)?;

        assert!(write(&mut producer, b"first", 1)?);
        // It was not empty.
        assert!(!write(&mut producer, b"second", 2)?);
        // A signal that is owed is still to be sent, until the reader has come by itself.
        assert!(producer.is_unseen());
        consumer.mask();
        assert!(!producer.is_unseen());
        consumer.publish(false)?;
        assert_eq!(read(&mut consumer)?, Some((1, 8)));
        assert_eq!(read(&mut consumer)?, Some((2, 8)));
        // The reader has not said so yet.
        assert!(!write(&mut producer, b"third", 3)?);
        assert!(consumer.publish(false)?.more);
        assert_eq!(read(&mut consumer)?, Some((3, 8)));
        consumer.publish(false)?;
        // The reader looks by itself.
        assert!(!write(&mut producer, b"fourth", 4)?);
        assert!(consumer.publish(true)?.more);
        assert_eq!(read(&mut consumer)?, Some((4, 8)));
        assert!(producer.is_unseen());
        assert!(!consumer.publish(true)?.more);
        assert!(!producer.is_unseen());
        assert!(write(&mut producer, b"fifth", 5)?);
        Ok(())
    }

    #[test]
    fn a_full_ring_asks_for_room() -> Result {
        let bench = Bench::new()?;
        let mut producer = bench.producer()?;
        let mut consumer = bench.consumer(1000)?;
        let payload = [1; 1000];
        let mut sent = 0;

        while write(&mut producer, &payload, sent).is_ok() {
            sent += 1;
        }
        // A packet has 1024 bytes, and one less than would fill the ring fits.
        assert_eq!(sent, u64::from(BYTES / 1024 - 1));
        assert_eq!(write(&mut producer, &payload, 0), Err(EAGAIN));
        assert_eq!(bench.ring()?.pending(), 1024);
        assert_eq!(producer.reserve(BYTES), Err(EMSGSIZE));

        consumer.publish(false)?;
        assert_eq!(read(&mut consumer)?, Some((0, 1000)));
        // There were 1024 bytes of room already, of which one has to stay free.
        assert!(consumer.publish(false)?.signal);
        assert_eq!(read(&mut consumer)?, Some((1, 1000)));
        assert!(!consumer.publish(false)?.signal);
        assert!(!write(&mut producer, &payload, sent)?);
        assert_eq!(bench.ring()?.pending(), 0);
        Ok(())
    }

    #[test]
    fn a_wrong_length_ends_reading() -> Result {
        let good = Descriptor {
            kind: KIND,
            flags: 0,
            offset: DESCRIPTOR,
            len: 32,
            id: 1,
        };

        for len in [0, 8, 40, 8 * 0xffff] {
            let bench = Bench::new()?;
            let mut producer = bench.producer()?;
            let mut consumer = bench.consumer(64)?;

            producer.reserve(32 + TRAILER)?;
            put(&producer, Descriptor { len, ..good }, &[0; 16]);
            producer.publish(32 + TRAILER);
            assert!(consumer.publish(false)?.more);
            assert!(matches!(consumer.next(), Err(EIO)));
            // For good.
            assert!(matches!(consumer.next(), Err(EIO)));
            assert!(consumer.publish(true).is_err());
        }
        Ok(())
    }

    #[test]
    fn what_is_no_packet_is_skipped() -> Result {
        let bench = Bench::new()?;
        let mut producer = bench.producer()?;
        let mut consumer = bench.consumer(16)?;
        let good = Descriptor {
            kind: KIND,
            flags: 0,
            offset: DESCRIPTOR,
            len: 32,
            id: 1,
        };

        for offset in [0, 8, 40] {
            producer.reserve(32 + TRAILER)?;
            put(&producer, Descriptor { offset, ..good }, &[0; 16]);
            producer.publish(32 + TRAILER);
        }
        write(&mut producer, &[7; 24], 2)?;
        write(&mut producer, &[7; 16], 3)?;
        assert!(consumer.publish(false)?.more);
        for _ in 0..4 {
            assert!(matches!(consumer.next()?, Next::Refused));
        }
        assert_eq!(read(&mut consumer)?, Some((3, 16)));
        Ok(())
    }

    #[test]
    fn an_answer_is_one_whatever_it_looks_like() -> Result {
        let bench = Bench::new()?;
        let mut producer = bench.producer()?;
        let mut consumer = bench.consumer(16)?;
        let good = Descriptor {
            // CAST: The types of packets fit.
            kind: bindings::vmbus_packet_type_VM_PKT_COMP as u16,
            flags: 0,
            offset: DESCRIPTOR,
            len: 48,
            id: 1,
        };

        // Too long; its payload before it, in it but behind what is kept, behind it.
        for (offset, payload) in [(DESCRIPTOR, 16), (8, 0), (40, 0), (48, 0), (64, 0)] {
            producer.reserve(48 + TRAILER)?;
            put(&producer, Descriptor { offset, ..good }, &[0; 32]);
            producer.publish(48 + TRAILER);
            assert!(consumer.publish(false)?.more);
            let Next::Packet(found) = consumer.next()? else {
                return Err(EBADMSG);
            };
            assert_eq!(found.len - found.header, payload);
        }
        Ok(())
    }

    #[test]
    fn indices_of_the_host_are_checked() -> Result {
        let bench = Bench::new()?;
        let mut producer = bench.producer()?;
        let mut consumer = bench.consumer(16)?;

        for wrong in [BYTES, 4, u32::MAX] {
            bench.ring()?.set_write_index(wrong);
            assert!(bench.consumer(16)?.publish(false).is_err());
        }
        bench.ring()?.set_write_index(0);
        assert!(!consumer.publish(false)?.more);
        while producer.reserve(1024).is_ok() {
            producer.publish(1024);
        }
        bench.ring()?.set_read_index(4);
        assert_eq!(producer.reserve(1024), Err(EIO));
        Ok(())
    }

    #[test]
    fn answers_find_their_requests_once() -> Result {
        let (table, mut free) = Table::<u32>::new(2)?;
        let mut emptied = Emptied::new();

        // SAFETY: Both come from the same call, here and below.
        let first = unsafe { table.insert(&mut free, 10) }.map_err(|_| EAGAIN)?;
        // SAFETY: As above.
        let second = unsafe { table.insert(&mut free, 20) }.map_err(|_| EAGAIN)?;
        // SAFETY: As above.
        assert_eq!(unsafe { table.insert(&mut free, 30) }, Err(30));
        assert_eq!(table.len(), 2);

        for wrong in [0, 3, first ^ 1 << 32, u64::MAX, u64::from(u32::MAX)] {
            // SAFETY: There is no other thread.
            assert!(unsafe { table.take(wrong, &mut emptied) }.is_none());
        }
        // SAFETY: As above.
        assert_eq!(
            unsafe { table.take(second, &mut emptied) }.map(Answered::into_inner),
            Some(20)
        );
        // SAFETY: As above.
        assert!(unsafe { table.take(second, &mut emptied) }.is_none());
        // The slot is not given back yet.
        assert!(!table.has_free(&mut free));
        table.give_back(&mut emptied);
        assert_eq!(table.len(), 1);

        // SAFETY: As for the first one.
        let third = unsafe { table.insert(&mut free, 40) }.map_err(|_| EAGAIN)?;
        // The same slot, but another generation.
        assert_eq!(third as u32, second as u32);
        assert_ne!(third, second);
        // SAFETY: There is no other thread.
        assert!(unsafe { table.take(second, &mut emptied) }.is_none());

        let mut left = KVec::new();
        // SAFETY: There is no other thread, and nothing is inserted any more.
        unsafe { table.drain(|request| left.push(request, GFP_KERNEL).unwrap_or(())) };
        assert_eq!(&*left, &[10, 40]);
        assert_eq!(table.len(), 0);
        Ok(())
    }

    #[test]
    fn a_table_without_slots_is_always_full() -> Result {
        let (table, mut free) = Table::<u32>::new(0)?;

        assert!(!table.has_free(&mut free));
        // SAFETY: Both come from the same call.
        assert_eq!(unsafe { table.insert(&mut free, 1) }, Err(1));
        Ok(())
    }

    #[test]
    fn ranges_are_counted() -> Result {
        let mut header = [0u8; 24];
        let bytes = [0x80, 0xec, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0x10, 0, 0];
        header.get_mut(..16).ok_or(EINVAL)?.copy_from_slice(&bytes);

        let (pageset, ranges) = Ranges::parse(&header).ok_or(EINVAL)?;
        assert_eq!(pageset, 0xec80);
        assert_eq!(ranges.len(), 2);
        assert!(ranges.iter().eq([(0x1000, 5), (0, 0)]));
        assert!(Ranges::parse(header.get(..16).ok_or(EINVAL)?).is_none());
        assert!(Ranges::parse(header.get(..4).ok_or(EINVAL)?).is_none());
        for byte in header.get_mut(4..8).ok_or(EINVAL)? {
            *byte = 0xff;
        }
        assert!(Ranges::parse(&header).is_none());
        Ok(())
    }
}
