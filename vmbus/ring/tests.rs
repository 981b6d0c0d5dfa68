// SPDX-License-Identifier: GPL-2.0

//! What is written comes out as it was, and what a host does wrongly ends.
//!
//! The rings are in ordinary memory, and what is tested plays the host as well: the ring that the
//! writer fills is the one that the reader empties.

use super::{
    reader::Reader,
    writer::{
        NoRoom,
        Packet, //
    },
    *, //
};
use kernel::alloc::KVec;

const PAGES: usize = 3;
const KIND: u16 = 6;

/// A ring, and the words that its reader needs.
struct Bench {
    memory: Memory,
    words: Memory,
}

impl Bench {
    fn new() -> Result<Self> {
        let memory = Memory::private(PAGES * PAGE_SIZE, 2 * PAGE_SIZE, false)?;
        let words = Memory::private(2 * PAGE_SIZE, 2 * PAGE_SIZE, true)?;
        memory.outbound()?;

        Ok(Self { memory, words })
    }

    fn ring(&self) -> Result<Ring<'_>> {
        self.memory.outbound_as_is()
    }

    fn reader(&self) -> Result<Reader<'_>> {
        let words = self.words.outbound_as_is()?.data;

        Ok(Reader::new(
            self.ring()?,
            io_project!(words, [try: 64..128]).try_cast()?,
            io_project!(words, [try: 0..4]).try_cast()?,
        ))
    }

    fn write(&self, payload: &[u8], id: u64) -> Result<bool, NoRoom> {
        self.ring()
            .map_err(|_| NoRoom::Spoilt)?
            .write(&packet(payload), id)
    }

    /// Reads one packet as `vmbus_recvpacket()` does.
    fn read(&self, buffer: &mut [u8]) -> Result<Received> {
        self.reader()?.receive(buffer, false)
    }
}

fn packet(payload: &[u8]) -> Packet<'_> {
    Packet {
        kind: KIND,
        flags: 0,
        header: [&[], &[]],
        payload,
    }
}

fn pattern(seed: usize, len: usize) -> Result<KVec<u8>> {
    let mut bytes = KVec::new();

    for n in 0..len {
        bytes.push((seed.wrapping_mul(31) ^ n) as u8, GFP_KERNEL)?;
    }
    Ok(bytes)
}

#[kunit_tests(hv_vmbus_ring)]
mod cases {
    use super::*;

    #[test]
    fn comes_out_as_it_was() -> Result {
        let bench = Bench::new()?;
        let mut buffer = KVec::from_elem(0u8, 4096, GFP_KERNEL)?;

        // Many times around the ring, at all offsets.
        for n in 0..1000 {
            let payload = pattern(n, n * 7 % 2900)?;
            assert_eq!(bench.write(&payload, n as u64), Ok(true));

            let received = bench.read(&mut buffer)?;
            let padded = payload.len().next_multiple_of(8);
            assert_eq!(received.len as usize, padded);
            assert_eq!(received.id, n as u64);
            assert!(!received.too_large);
            assert!(buffer.starts_with(&payload));
            assert!(buffer
                .get(payload.len()..padded)
                .is_some_and(|padding| padding.iter().all(|byte| *byte == 0)));
        }
        assert_eq!(bench.read(&mut buffer)?, Received::NOTHING);
        Ok(())
    }

    #[test]
    fn iterates_in_order() -> Result {
        let bench = Bench::new()?;
        let mut buffer = [0; 64];
        for id in 1..=3u8 {
            // Only the first one finds the ring empty.
            assert_eq!(bench.write(&[id; 8], id.into()), Ok(id == 1));
        }

        let mut reader = bench.reader()?;
        assert!(reader.first(&mut buffer));
        // Looking again changes nothing.
        assert!(reader.first(&mut buffer));
        for id in 1..=3u8 {
            assert!(buffer.starts_with(&[KIND as u8, 0, 2, 0, 3, 0, 0, 0, id, 0]));
            assert!(buffer.get(16..24) == Some(&[id; 8]));
            assert_eq!(reader.next(&mut buffer), id < 3);
        }
        // Nobody has told the host yet.
        assert_eq!(bench.ring()?.inspect().readable, 3 * 32);
        reader.publish();
        assert_eq!(bench.ring()?.inspect().readable, 0);
        assert!(!reader.finish().report);
        Ok(())
    }

    #[test]
    fn never_full_to_the_end() -> Result {
        let bench = Bench::new()?;
        let size = bench.ring()?.size as usize;
        let mut buffer = KVec::from_elem(0u8, 4096, GFP_KERNEL)?;
        let payload = pattern(1, 1000)?;
        let each = 16 + 1000 + 8;
        let mut packets = 0;

        while bench.write(&payload, 0).is_ok() {
            packets += 1;
        }
        assert_eq!(bench.write(&payload, 0), Err(NoRoom::Full));
        assert_eq!(packets, (size - 1) / each);

        let before = bench.ring()?.inspect();
        assert_eq!(before.readable as usize, packets * each);
        assert_eq!((before.readable + before.writable) as usize, size);
        assert!(bench.read(&mut buffer)?.len > 0);
        assert_eq!(bench.write(&payload, 0), Ok(false));

        let huge = pattern(1, size - 24)?;
        assert_eq!(bench.write(&huge, 0), Err(NoRoom::Never));
        Ok(())
    }

    #[test]
    fn masked_interrupts() -> Result {
        let bench = Bench::new()?;
        let ring = bench.ring()?;

        ring.mask();
        assert_eq!(bench.write(&[0; 8], 0), Ok(false));
        assert!(bench.reader()?.unmask());
        assert_eq!(io_read!(ring.control, .interrupt_mask), 0);
        assert!(bench.read(&mut [0; 64])?.len > 0);
        assert!(!bench.reader()?.unmask());
        Ok(())
    }

    #[test]
    fn signals_when_there_is_enough_room() -> Result {
        let bench = Bench::new()?;
        let ring = bench.ring()?;
        let payload = pattern(1, 1000)?;
        let mut buffer = KVec::from_elem(0u8, 4096, GFP_KERNEL)?;

        while bench.write(&payload, 0).is_ok() {}
        // Two packets make room for this, one does not.
        let room = ring.inspect().writable;
        io_write!(ring.control, .pending_send_size, room + 1024);

        for expected in [false, true, false] {
            let mut reader = bench.reader()?;
            assert!(reader.receive(&mut buffer, false)?.len > 0);
            assert_eq!(reader.finish().signal, expected);
        }
        Ok(())
    }

    #[test]
    fn impossible_indices() -> Result {
        let bench = Bench::new()?;
        let ring = bench.ring()?;
        let mut buffer = [0; 64];

        for index in [ring.size, ring.size + 8, 4, u32::MAX, u32::MAX - 7] {
            ring.reset()?;
            io_write!(ring.control, .write_index, index);
            let mut reader = bench.reader()?;
            assert!(!reader.first(&mut buffer));
            assert!(reader.finish().spoilt);
            assert!(!bench.reader()?.unmask());
            assert_eq!(bench.write(&[0; 8], 0), Err(NoRoom::Spoilt));

            ring.reset()?;
            io_write!(ring.control, .read_index, index);
            assert_eq!(bench.write(&[0; 8], 0), Err(NoRoom::Spoilt));
        }
        Ok(())
    }

    #[test]
    fn impossible_lengths() -> Result {
        for len in [0u16, 1, 5, 0x8000, u16::MAX] {
            let bench = Bench::new()?;
            let ring = bench.ring()?;
            let mut buffer = [0; 64];

            assert_eq!(bench.write(&[1; 16], 1), Ok(true));
            ring.copy_in(4, &len.to_le_bytes())?;
            let mut reader = bench.reader()?;
            assert!(!reader.first(&mut buffer));
            let outcome = reader.finish();
            assert!(outcome.report && !outcome.spoilt);
            // The host knows that all was read, and goes on.
            assert_eq!(ring.inspect().readable, 0);
            assert_eq!(bench.write(&[2; 16], 2), Ok(true));
            assert_eq!(bench.read(&mut buffer)?.id, 2);
        }
        Ok(())
    }

    #[test]
    fn payload_outside() -> Result {
        for offset in [0u16, 1, 5, u16::MAX] {
            let bench = Bench::new()?;
            let mut buffer = [0; 64];

            assert_eq!(bench.write(&[1; 16], 1), Ok(true));
            assert_eq!(bench.write(&[2; 16], 2), Ok(false));
            bench.ring()?.copy_in(2, &offset.to_le_bytes())?;
            // That packet is dropped, the next one is not.
            assert_eq!(bench.read(&mut buffer)?.id, 2);
            assert!(buffer.starts_with(&[2; 16]));
        }
        Ok(())
    }

    #[test]
    fn too_large_for_the_reader() -> Result {
        let bench = Bench::new()?;
        let mut small = [0; 40];

        assert_eq!(bench.write(&[1; 48], 1), Ok(true));
        assert_eq!(bench.write(&[2; 24], 2), Ok(false));
        let mut reader = bench.reader()?;
        assert!(reader.first(&mut small));
        assert_eq!(small.get(8), Some(&2));
        assert!(!reader.next(&mut small));
        assert!(reader.finish().report);
        assert_eq!(bench.ring()?.inspect().readable, 0);

        // Nothing but a packet that is dropped: who gets none would not tell the host.
        assert_eq!(bench.write(&[3; 48], 3), Ok(true));
        assert!(!bench.reader()?.first(&mut small));
        assert_eq!(bench.ring()?.inspect().readable, 0);
        Ok(())
    }

    #[test]
    fn stays_for_a_larger_buffer() -> Result {
        let bench = Bench::new()?;

        assert_eq!(bench.write(&[1; 48], 1), Ok(true));
        assert_eq!(bench.write(&[2; 8], 2), Ok(false));
        let first = bench.read(&mut [0; 16])?;
        assert!(first.too_large && first.len == 48 && first.id == 1);
        let larger = bench.read(&mut [0; 48])?;
        assert!(!larger.too_large && larger.len == 48);
        assert_eq!(bench.read(&mut [0; 16])?.id, 2);

        // Whoever does not bring one gets the next packet.
        assert_eq!(bench.write(&[3; 48], 3), Ok(true));
        assert_eq!(bench.write(&[4; 8], 4), Ok(false));
        assert!(bench.read(&mut [0; 16])?.too_large);
        assert_eq!(bench.read(&mut [0; 16])?.id, 4);
        assert_eq!(bench.ring()?.inspect().readable, 0);
        Ok(())
    }

    #[test]
    fn our_own_index_is_ours() -> Result {
        let bench = Bench::new()?;
        let ring = bench.ring()?;

        assert_eq!(bench.write(&[1; 8], 1), Ok(true));
        assert_eq!(bench.read(&mut [0; 64])?.id, 1);
        io_write!(ring.control, .read_index, 8u32);
        let mut reader = bench.reader()?;
        assert!(!reader.first(&mut [0; 64]));
        assert!(reader.finish().report);
        assert_eq!(ring.inspect().readable, 0);
        Ok(())
    }

    #[test]
    fn pages_for_the_host() -> Result {
        const PER_PAGE: usize = PAGE_SIZE / 4096;

        for contiguous in [false, true] {
            let memory = Memory::private(4 * PAGE_SIZE, 2 * PAGE_SIZE, contiguous)?;
            let mut pfns = KVec::new();
            for pfn in memory.pfns() {
                pfns.push(pfn, GFP_KERNEL)?;
            }

            assert_eq!(memory.is_contiguous(), contiguous);
            assert_eq!(pfns.len(), 2 + 4 * PER_PAGE);
            assert_eq!(memory.size(), pfns.len() * 4096);
            assert_eq!(memory.receive_offset(), (1 + 3 * PER_PAGE) * 4096);
        }
        for (send, receive) in [(0, 0), (PAGE_SIZE, 2 * PAGE_SIZE), (2 * PAGE_SIZE, 5000)] {
            assert!(Memory::private(send, receive, false).is_err());
        }
        Ok(())
    }
}
