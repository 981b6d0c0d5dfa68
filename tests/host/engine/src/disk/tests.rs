// SPDX-License-Identifier: GPL-2.0

//! Commands given to a disk directly.

use super::*;

const BLOCKS: u64 = 4096;
const BLOCK: usize = 512;

/// A data phase in a vector, for either direction.
struct Data(Vec<u8>);

impl Transfer for Data {
    fn room(&self) -> usize {
        self.0.len()
    }

    fn give(&mut self, at: usize, from: &[u8]) -> Result<(), Failure> {
        put(&mut self.0, at, from);
        Ok(())
    }

    fn take(&mut self, at: usize, into: &mut [u8]) -> Result<(), Failure> {
        into.copy_from_slice(&self.0[at..at + into.len()]);
        Ok(())
    }
}

fn disk() -> Disk {
    let backing = MemoryBacking::new(BLOCKS * BLOCK as u64);
    Disk::new(Box::new(backing), DiskConfig::new(Address::lun(0), "S1"))
}

fn cdb(bytes: &[u8]) -> [u8; CDB] {
    let mut out = [0; CDB];
    put(&mut out, 0, bytes);
    out
}

/// A command with data in; returns the data.
fn ask(disk: &mut Disk, bytes: &[u8], room: usize) -> Result<Vec<u8>, Failure> {
    let mut data = Data(vec![0xee; room]);
    let n = disk.execute(&cdb(bytes), &mut data)?;
    data.0.truncate(n);
    Ok(data.0)
}

/// A command with data out; returns how much was taken.
fn tell(disk: &mut Disk, bytes: &[u8], data: &[u8]) -> Result<usize, Failure> {
    disk.execute(&cdb(bytes), &mut Data(data.to_vec()))
}

fn check(key: u8, code: u16) -> Failure {
    Failure::Check(Sense::new(key, code))
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 7 + i / 512 + seed) % 251 + 1) as u8).collect()
}

#[test]
fn all_sizes_of_read_and_write_agree() {
    let mut disk = disk();
    let writes: [&[u8]; 4] = [
        &[op::WRITE_6, 0, 0, 8, 2],
        &[op::WRITE_10, 0, 0, 0, 0, 10, 0, 0, 2],
        &[op::WRITE_12, 0, 0, 0, 0, 12, 0, 0, 0, 2],
        &[op::WRITE_16, 0x08, 0, 0, 0, 0, 0, 0, 0, 14, 0, 0, 0, 2],
    ];
    let all = pattern(8 * BLOCK, 0);
    for (write, data) in writes.iter().zip(all.chunks(2 * BLOCK)) {
        assert_eq!(tell(&mut disk, write, data), Ok(2 * BLOCK));
    }
    let reads: [&[u8]; 4] = [
        &[op::READ_6, 0, 0, 8, 8],
        &[op::READ_10, 0, 0, 0, 0, 8, 0, 0, 8],
        &[op::READ_12, 0, 0, 0, 0, 8, 0, 0, 0, 8],
        &[op::READ_16, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8],
    ];
    for read in reads {
        assert!(ask(&mut disk, read, 8 * BLOCK).unwrap() == all);
    }
    // READ(6) of 0 blocks reads 256.
    assert_eq!(ask(&mut disk, &[op::READ_6, 0, 0, 0, 0], 1 << 20).unwrap().len(), 256 * BLOCK);
}

#[test]
fn long_transfers_cross_chunks() {
    let mut disk = disk();
    let data = pattern(600 * BLOCK, 3);
    tell(&mut disk, &[op::WRITE_10, 0, 0, 0, 0, 77, 0, 2, 88], &data).unwrap();
    let back = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 77, 0, 2, 88], data.len()).unwrap();
    assert!(back == data);
    let verify = [op::VERIFY_10, 0x02, 0, 0, 0, 77, 0, 2, 88];
    assert_eq!(tell(&mut disk, &verify, &data), Ok(data.len()));
    assert_eq!(tell(&mut disk, &verify, &pattern(600 * BLOCK, 4)), Err(check(0xe, 0x1d00)));
    let verify = [op::VERIFY_16, 0, 0, 0, 0, 0, 0, 0, 0, 77, 0, 0, 2, 88];
    assert_eq!(tell(&mut disk, &verify, &[]), Ok(0));
    let hex: String = Sha256::digest(&data).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(disk.hash(77 * 512, 600 * 512), Ok(hex));
    assert!(disk.hash(BLOCKS * 512, 1).is_err());
    assert!(disk.hash(u64::MAX, u64::MAX).is_err());
}

#[test]
fn what_is_out_of_range_is_refused() {
    let mut disk = disk();
    let range = Err(check(5, 0x2100));
    let mut big = [0xff; CDB];
    for code in [op::READ_16, op::WRITE_16, op::VERIFY_16, op::WRITE_SAME_16] {
        (big[0], big[1]) = (code, 0);
        assert_eq!(tell(&mut disk, &big, &[0; BLOCK]), range);
    }
    assert_eq!(tell(&mut disk, &[op::READ_10, 0, 0, 0, 0x0f, 0xff, 0, 0, 2], &[]), range);
    assert_eq!(tell(&mut disk, &[op::READ_10, 0, 0, 0, 0x10, 0, 0, 0, 0], &[]), Ok(0));
    let sync = [op::SYNCHRONIZE_CACHE_10, 0, 0, 0, 0x10, 1];
    assert_eq!(tell(&mut disk, &sync, &[]), range);
    // Less room than the CDB names, protection information, unknown commands.
    let field = Err(check(5, 0x2400));
    assert_eq!(ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 2], 1023), Err(check(5, 0x2400)));
    assert_eq!(tell(&mut disk, &[op::WRITE_10, 0x20, 0, 0, 0, 0, 0, 0, 1], &[0; 512]), field);
    assert_eq!(tell(&mut disk, &[op::SERVICE_ACTION_IN_16, 0x11], &[]), field);
    for code in [0x1e, 0x7f, 0xa3, 0xff] {
        assert_eq!(tell(&mut disk, &[code], &[]), Err(check(5, 0x2000)), "{code:#x}");
    }
    let sense = Sense::LBA_OUT_OF_RANGE.bytes();
    assert_eq!((sense[0], sense[2], sense[7], sense[12], sense[13]), (0x70, 5, 10, 0x21, 0));
}

#[test]
fn unmapped_blocks_read_as_zeros() {
    let mut disk = disk();
    let data = pattern(512 * BLOCK, 0);
    tell(&mut disk, &[op::WRITE_10, 0, 0, 0, 0, 0, 0, 2, 0], &data).unwrap();
    // Blocks 3..203, more than a chunk, and 500..501; the second half-descriptor is ignored.
    let mut list = vec![0; 8 + 32 + 4];
    put(&mut list, 0, &[0, 42, 0, 36]);
    put(&mut list, 8, &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 200]);
    put(&mut list, 24, &[0, 0, 0, 0, 0, 0, 1, 0xf4, 0, 0, 0, 1]);
    let unmap = [op::UNMAP, 0, 0, 0, 0, 0, 0, 0, list.len() as u8];
    assert_eq!(tell(&mut disk, &unmap, &list), Ok(list.len()));
    let back = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 0, 0, 2, 0], data.len()).unwrap();
    for (n, (new, old)) in back.chunks(BLOCK).zip(data.chunks(BLOCK)).enumerate() {
        let gone = (3..203).contains(&n) || n == 500;
        assert!(if gone { new == [0; BLOCK] } else { new == old }, "block {n}");
    }
    // A bad descriptor leaves all as it was; limits; a list without a header.
    put(&mut list, 24, &[0xff; 12]);
    put(&mut list, 8, &[0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(tell(&mut disk, &unmap, &list), Err(check(5, 0x2100)));
    let first = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1], BLOCK).unwrap();
    assert!(first == data[..BLOCK]);
    assert_eq!(
        tell(&mut disk, &[op::UNMAP, 0, 0, 0, 0, 0, 0, 0, 4], &[0; 4]),
        Err(check(5, 0x1a00))
    );
    let mut many = vec![0; 8 + 257 * 16];
    put(&mut many, 2, &(257u16 * 16).to_be_bytes());
    let unmap = [op::UNMAP, 0, 0, 0, 0, 0, 0, 0x10, 0x18];
    assert_eq!(tell(&mut disk, &unmap, &many), Err(check(5, 0x2600)));
}

#[test]
fn write_same_repeats_a_block() {
    let mut disk = disk();
    let block = pattern(BLOCK, 9);
    let same = [op::WRITE_SAME_10, 0, 0, 0, 0, 5, 0, 1, 0];
    assert_eq!(tell(&mut disk, &same, &block), Ok(BLOCK));
    let back = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 4, 0, 1, 2], 258 * BLOCK).unwrap();
    assert!(back[BLOCK..257 * BLOCK].chunks(BLOCK).all(|b| b == block));
    assert!(back[..BLOCK] == [0; BLOCK] && back[257 * BLOCK..] == [0; BLOCK]);
    // UNMAP and NDOB: zeros without data.
    let same = [op::WRITE_SAME_16, 0x09, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 1, 0];
    assert_eq!(tell(&mut disk, &same, &[]), Ok(0));
    let back = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 4, 0, 1, 2], 258 * BLOCK).unwrap();
    assert!(back.iter().all(|&b| b == 0));
    // Zero blocks (WSNZ), the anchor, no data where there must be some.
    let same = [op::WRITE_SAME_16, 0x01];
    assert_eq!(tell(&mut disk, &same, &[]), Err(check(5, 0x2400)));
    let same = [op::WRITE_SAME_10, 0x10, 0, 0, 0, 5, 0, 0, 1];
    assert_eq!(tell(&mut disk, &same, &block), Err(check(5, 0x2400)));
    let same = [op::WRITE_SAME_10, 0, 0, 0, 0, 5, 0, 0, 1];
    assert_eq!(tell(&mut disk, &same, &[]), Err(check(5, 0x2400)));
}

#[test]
fn identity_and_limits() {
    let mut disk = disk();
    let inquiry = ask(&mut disk, &[op::INQUIRY, 0, 0, 0, 255], 255).unwrap();
    assert_eq!(&inquiry[8..], b"Msft    Virtual Disk    1.0 ");
    assert_eq!((inquiry[0], inquiry[2], inquiry[4] as usize + 5), (0, 5, inquiry.len()));
    let mut vpd = |page| ask(&mut disk, &[op::INQUIRY, 1, page, 0, 255], 255);
    for &page in &vpd(0).unwrap()[4..] {
        let bytes = vpd(page).unwrap();
        assert_eq!((bytes[1], be(&bytes, 2, 2) as usize + 4), (page, bytes.len()));
    }
    assert_eq!(vpd(0x80).unwrap()[4..], *b"S1");
    assert_eq!(vpd(0x83).unwrap()[4..12], [1, 3, 0, 16, 0x60, 0x02, 0x24, 0x80]);
    let limits = vpd(0xb0).unwrap();
    assert_eq!(limits.len(), 64);
    assert_eq!((be(&limits, 20, 4), be(&limits, 24, 4)), (4 << 20, 256));
    assert_eq!((be(&limits, 28, 4), be(&limits, 36, 8)), (8, 4 << 20));
    assert_eq!(vpd(0xb1).unwrap()[4..6], [0, 1]);
    assert_eq!(vpd(0xb2).unwrap()[5], 0xe4);
    assert_eq!(vpd(0xb9), Err(check(5, 0x2400)));
    // Truncated by the CDB, and by the room.
    assert_eq!(ask(&mut disk, &[op::INQUIRY, 0, 0, 0, 4], 255).unwrap().len(), 4);
    assert_eq!(ask(&mut disk, &[op::INQUIRY, 0, 0, 0, 255], 5).unwrap().len(), 5);
    assert_eq!(ask(&mut disk, &[op::INQUIRY, 0, 1], 5), Err(check(5, 0x2400)));

    let short = ask(&mut disk, &[op::READ_CAPACITY_10], 8).unwrap();
    assert_eq!((be(&short, 0, 4), be(&short, 4, 4)), (BLOCKS - 1, 512));
    let mut long = [op::SERVICE_ACTION_IN_16, 0x10].to_vec();
    long.resize(14, 0);
    long[13] = 32;
    let long = ask(&mut disk, &long, 32).unwrap();
    assert_eq!((be(&long, 0, 8), long[13], long[14]), (BLOCKS - 1, 3, 0xc0));
    assert_eq!(ask(&mut disk, &[op::REQUEST_SENSE, 0, 0, 0, 18], 18).unwrap()[0], 0x70);
}

#[test]
fn mode_pages() {
    let mut disk = disk();
    let page = ask(&mut disk, &[op::MODE_SENSE_6, 0, 0x08, 0, 255], 255).unwrap();
    assert_eq!((page.len(), page[0], page[2], page[3]), (32, 31, 0x10, 8));
    assert_eq!(page[12..15], [0x08, 18, 0x04]);
    let all = [op::MODE_SENSE_10, 8, 0x3f, 0, 0, 0, 0, 0, 255];
    let page = ask(&mut disk, &all, 255).unwrap();
    assert_eq!((page.len(), page[1], page[3], page[7]), (40, 38, 0x10, 0));
    assert_eq!((page[8], page[28]), (0x08, 0x0a));
    let page = ask(&mut disk, &[op::MODE_SENSE_6, 8, 0x48, 0, 255], 255).unwrap();
    assert_eq!(page[4..7], [0x08, 18, 0x04]);
    let mut refused = |cdb: &[u8], code| assert_eq!(ask(&mut disk, cdb, 64), Err(check(5, code)));
    refused(&[op::MODE_SENSE_6, 0, 0x1c, 0, 64], 0x2400);
    refused(&[op::MODE_SENSE_6, 0, 0x08, 1, 64], 0x2400);
    refused(&[op::MODE_SENSE_6, 0, 0xc8, 0, 64], 0x3900);
}

#[test]
fn memory_backing_keeps_its_bounds() {
    let mut backing = MemoryBacking::new(1000);
    backing.write_at(990, &[1; 10]).unwrap();
    assert!(backing.write_at(991, &[1; 10]).is_err());
    assert!(backing.read_at(u64::MAX, &mut [0; 2]).is_err());
    assert!(backing.zero_range(1, u64::MAX).is_err());
    let mut buf = [0xff; 12];
    backing.read_at(988, &mut buf).unwrap();
    assert_eq!(buf, [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
}

mod reservations;
mod settings;
