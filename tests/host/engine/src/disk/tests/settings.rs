// SPDX-License-Identifier: GPL-2.0

//! What can be set on a disk, and what happens to it while it is in use.

use super::*;

const RANGE: Result<usize, Failure> = Err(Failure::Check(Sense::LBA_OUT_OF_RANGE));

#[test]
fn zeros_of_a_bigger_block() {
    let mut disk = Disk::new(
        Box::new(MemoryBacking::new(64 * 4096)),
        DiskConfig { block: 4096, ..DiskConfig::new(Address::lun(0), "S4K") },
    );
    let short = ask(&mut disk, &[op::READ_CAPACITY_10], 8).unwrap();
    assert_eq!((be(&short, 0, 4), be(&short, 4, 4)), (63, 4096));
    let data = pattern(2 * 4096, 1);
    tell(&mut disk, &[op::WRITE_10, 0, 0, 0, 0, 62, 0, 0, 2], &data).unwrap();
    assert_eq!(tell(&mut disk, &[op::WRITE_10, 0, 0, 0, 0, 63, 0, 0, 2], &data), RANGE);
    let same = [op::WRITE_SAME_16, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3];
    assert_eq!(tell(&mut disk, &same, &data[..4096]), Ok(4096));
    let back = ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 3, 0, 0, 1], 4096).unwrap();
    assert!(back == data[..4096]);
    let limits = ask(&mut disk, &[op::INQUIRY, 1, 0xb0, 0, 255], 255).unwrap();
    assert_eq!(be(&limits, 28, 4), 1);
    // Mode sense's descriptor, and a MODE SELECT that repeats it.
    let sense = ask(&mut disk, &[op::MODE_SENSE_6, 0, 0x08, 0, 255], 255).unwrap();
    assert_eq!((be(&sense, 4, 4), be(&sense, 8, 4)), (64, 4096));
    let mut list = sense.clone();
    (list[0], list[2]) = (0, 0);
    let select = [op::MODE_SELECT_6, 0x10, 0, 0, list.len() as u8];
    assert_eq!(tell(&mut disk, &select, &list), Ok(list.len()));
    list[10] = 2; // blocks of 512 bytes
    assert_eq!(tell(&mut disk, &select, &list), Err(check(5, 0x2600)));
}

#[test]
fn attention_comes_once() {
    let mut disk = disk();
    disk.attend(Sense::new(6, 0x2900));
    disk.attend(Sense::new(6, 0x2900));
    disk.attend(Sense::new(6, 0x3f0e));
    // These three do not take it, but REQUEST SENSE reports it.
    ask(&mut disk, &[op::INQUIRY, 0, 0, 0, 36], 36).unwrap();
    let sense = ask(&mut disk, &[op::REQUEST_SENSE, 0, 0, 0, 18], 18).unwrap();
    assert_eq!((sense[2], sense[12]), (6, 0x29));
    assert_eq!(tell(&mut disk, &[op::TEST_UNIT_READY], &[]), Err(check(6, 0x3f0e)));
    assert_eq!(tell(&mut disk, &[op::TEST_UNIT_READY], &[]), Ok(0));
}

#[test]
fn sizes_change() {
    let mut disk = disk();
    let last = [op::READ_10, 0, 0, 0, 0x0f, 0xff, 0, 0, 1];
    let write = [op::WRITE_10, 0, 0, 0, 0x0f, 0xff, 0, 0, 1];
    tell(&mut disk, &write, &pattern(512, 0)).unwrap();
    assert!(disk.resize(1000).is_err() && disk.resize(0).is_err());
    disk.resize(2048 * 512).unwrap();
    assert_eq!(ask(&mut disk, &last, 512), Err(check(6, 0x2a09)));
    assert_eq!(ask(&mut disk, &last, 512), Err(check(5, 0x2100)));
    // What was cut off is not there any more when it grows.
    disk.resize(8192 * 512).unwrap();
    let _ = ask(&mut disk, &last, 512);
    assert_eq!(ask(&mut disk, &last, 512), Ok(vec![0; 512]));
    let capacity = ask(&mut disk, &[op::READ_CAPACITY_10], 8).unwrap();
    assert_eq!(be(&capacity, 0, 4), 8191);
}

#[test]
fn a_protected_disk_is_not_written() {
    let config = DiskConfig { read_only: true, ..DiskConfig::new(Address::lun(0), "RO") };
    let mut disk = Disk::new(Box::new(MemoryBacking::new(1 << 20)), config);
    let writes = [0x0a, 0x2a, 0x41, 0x42, 0x8a, 0x93, 0xaa];
    for code in writes {
        assert_eq!(tell(&mut disk, &[code, 0, 0, 0, 1], &[0; 512]), Err(check(7, 0x2700)));
    }
    assert_eq!(ask(&mut disk, &[op::MODE_SENSE_6, 8, 0x3f, 0, 255], 255).unwrap()[2], 0x90);
    assert_eq!(ask(&mut disk, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1], 512).unwrap().len(), 512);
    // By software, on a disk that can be written.
    let mut disk = self::disk();
    let mut list = vec![0, 0, 0, 0, 0x0a, 10, 0, 0x10, 0x08];
    list.resize(16, 0);
    let select = [op::MODE_SELECT_6, 0x10, 0, 0, 16];
    assert_eq!(tell(&mut disk, &select, &list), Ok(16));
    assert_eq!(ask(&mut disk, &[op::MODE_SENSE_6, 8, 0x3f, 0, 255], 255).unwrap()[2], 0x90);
    assert_eq!(
        tell(&mut disk, &[op::WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 512]),
        Err(check(7, 0x2702))
    );
    list[8] = 0;
    assert_eq!(tell(&mut disk, &select, &list), Ok(16));
    assert_eq!(tell(&mut disk, &[op::WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 512]), Ok(512));
}

#[test]
fn the_write_cache_can_be_switched() {
    let mut disk = disk();
    let write = [op::WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1];
    tell(&mut disk, &write, &[1; 512]).unwrap();
    assert_eq!(disk.flushes(), 0);
    let forced = [op::WRITE_10, 0x18, 0, 0, 0, 0, 0, 0, 1];
    tell(&mut disk, &forced, &[1; 512]).unwrap();
    assert_eq!(disk.flushes(), 1);

    let mut list = vec![0, 0, 0, 0, 0, 0, 0, 0, 0x08, 18];
    list.resize(28, 0);
    let select = [op::MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, 0, 28];
    assert_eq!(tell(&mut disk, &select, &list), Ok(28));
    tell(&mut disk, &write, &[1; 512]).unwrap();
    assert_eq!(disk.flushes(), 2);
    let mut cache = |control: u8| {
        let page = ask(&mut disk, &[op::MODE_SENSE_6, 8, 0x08 | control << 6, 0, 255], 255);
        page.unwrap()[6]
    };
    assert_eq!((cache(0), cache(1), cache(2)), (0, 4, 4));

    // What cannot be changed, unknown pages, lists cut short, saved pages: nothing changes.
    list[10] = 4;
    let mut wrong = list.clone();
    wrong[12] = 1;
    assert_eq!(tell(&mut disk, &select, &wrong), Err(check(5, 0x2600)));
    wrong = list.clone();
    wrong[8] = 0x1c;
    assert_eq!(tell(&mut disk, &select, &wrong), Err(check(5, 0x2600)));
    for len in [4, 9, 27] {
        let select = [op::MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, 0, len];
        assert_eq!(tell(&mut disk, &select, &list), Err(check(5, 0x1a00)), "{len}");
    }
    for bits in [0x11, 0x00] {
        let select = [op::MODE_SELECT_10, bits, 0, 0, 0, 0, 0, 0, 28];
        assert_eq!(tell(&mut disk, &select, &list), Err(check(5, 0x2400)));
    }
    tell(&mut disk, &write, &[1; 512]).unwrap();
    assert_eq!(disk.flushes(), 3);
}

#[test]
fn diagnostics_and_starting() {
    let mut disk = disk();
    assert_eq!(tell(&mut disk, &[op::SEND_DIAGNOSTIC, 0x04], &[]), Ok(0));
    for bits in [0x00, 0x10, 0x24] {
        let field = Err(check(5, 0x2400));
        assert_eq!(tell(&mut disk, &[op::SEND_DIAGNOSTIC, bits], &[]), field);
    }
    assert_eq!(tell(&mut disk, &[op::START_STOP, 0, 0, 0, 1], &[]), Ok(0));
    assert_eq!(tell(&mut disk, &[op::START_STOP, 0, 0, 0, 2], &[]), Err(check(5, 0x2400)));
}

#[test]
fn which_blocks_have_storage() {
    let mut disk = disk();
    let status = |disk: &mut Disk, lba: u16, room: u8| {
        let [high, low] = lba.to_be_bytes();
        let cdb = [op::SERVICE_ACTION_IN_16, 0x12, 0, 0, 0, 0, 0, 0, high, low, 0, 0, 0, room];
        let out = ask(disk, &cdb, room.into())?;
        assert_eq!(be(&out, 0, 4) as usize + 4, out.len());
        let of = |d: &[u8]| (be(d, 0, 8), be(d, 8, 4), d[12]);
        Ok(out[8..].chunks_exact(16).map(of).collect::<Vec<_>>())
    };
    // A chunk is 128 blocks.
    tell(&mut disk, &[op::WRITE_10, 0, 0, 0, 1, 0, 0, 0, 1], &[1; 512]).unwrap();
    let all = vec![(0, 256, 1), (256, 128, 0), (384, 3712, 1)];
    assert_eq!(status(&mut disk, 0, 255), Ok(all.clone()));
    assert_eq!(status(&mut disk, 0, 40), Ok(all[..2].to_vec()));
    assert_eq!(status(&mut disk, 300, 24), Ok(vec![(300, 84, 0)]));
    assert_eq!(status(&mut disk, 4095, 24), Ok(vec![(4095, 1, 1)]));
    assert_eq!(status(&mut disk, 4096, 24), Err(check(5, 0x2100)));
    let same = [op::WRITE_SAME_16, 0x08, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 128];
    tell(&mut disk, &same, &[0; 512]).unwrap();
    assert_eq!(status(&mut disk, 0, 255), Ok(vec![(0, 4096, 1)]));
}

#[test]
fn words_of_the_command_line() {
    let mut config = DiskConfig::new(Address::lun(7), "S");
    assert_eq!(config.parse("64M:ro:4k:path=1:target=2:lun=3"), Ok("64M"));
    assert_eq!((config.read_only, config.block), (true, 4096));
    assert_eq!(config.address, "1:2:3".parse().unwrap());
    assert_eq!(config.address.to_string(), "1:2:3");
    for bad in ["1M:rw", "1M:lun=256", "1M:lun"] {
        assert!(config.parse(bad).is_err(), "{bad}");
    }
    for bad in ["", "1:2", "-1", "0:0:0:0", "256"] {
        assert!(bad.parse::<Address>().is_err(), "{bad}");
    }
    assert_eq!(parse_size("3K"), Some(3072));
    for bad in ["", "K", "0M", "12", "-1M", "99999999999999G", "1é"] {
        assert_eq!(parse_size(bad), None, "{bad}");
    }
    assert_eq!(Sense::parse("6/2a/9"), Some(Sense::CAPACITY_CHANGED));
    for bad in ["6/2a", "10/0/0", "1/2/3/4", "x/0/0"] {
        assert_eq!(Sense::parse(bad), None, "{bad}");
    }
}
