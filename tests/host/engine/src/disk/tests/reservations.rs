// SPDX-License-Identifier: GPL-2.0

//! Persistent reservations of two initiators.

use super::*;

const CONFLICT: Result<usize, Failure> = Err(Failure::Conflict);
const READ: [u8; 9] = [op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1];
const WRITE: [u8; 9] = [op::WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1];
const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;

/// PERSISTENT RESERVE OUT of the guest.
fn out(disk: &mut Disk, action: u8, kind: u8, key: u64, new: u64) -> Result<usize, Failure> {
    let list = [key.to_be_bytes(), new.to_be_bytes(), [0; 8]].concat();
    tell(disk, &[op::PERSISTENT_RESERVE_OUT, action, kind, 0, 0, 0, 0, 0, 24], &list)
}

/// PERSISTENT RESERVE IN: the bytes behind the header.
fn list(disk: &mut Disk, action: u8) -> Vec<u8> {
    let out = ask(disk, &[op::PERSISTENT_RESERVE_IN, action, 0, 0, 0, 0, 0, 0, 255], 255).unwrap();
    assert_eq!(be(&out, 4, 4) as usize + 8, out.len());
    out[8..].to_vec()
}

fn keys(disk: &mut Disk) -> Vec<u64> {
    list(disk, 0).chunks(8).map(|key| be(key, 0, 8)).collect()
}

fn rival(disk: &mut Disk, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    disk.rival(&words).unwrap();
}

#[test]
fn register_reserve_release() {
    let mut disk = disk();
    assert_eq!(out(&mut disk, RESERVE, 1, 0xa, 0), CONFLICT);
    assert_eq!(out(&mut disk, REGISTER, 0, 0xa, 0xb), CONFLICT);
    assert_eq!(out(&mut disk, REGISTER, 0, 0, 0xa), Ok(24));
    assert_eq!(out(&mut disk, REGISTER, 0, 0, 0xb), CONFLICT);
    assert_eq!(keys(&mut disk), [0xa]);
    assert_eq!(out(&mut disk, RESERVE, 1, 0xb, 0), CONFLICT);
    assert_eq!(out(&mut disk, RESERVE, 2, 0xa, 0), Err(check(5, 0x2400)));
    assert_eq!(out(&mut disk, RESERVE, 1, 0xa, 0), Ok(24));
    assert_eq!(out(&mut disk, RESERVE, 1, 0xa, 0), Ok(24));
    assert_eq!(out(&mut disk, RESERVE, 3, 0xa, 0), CONFLICT);
    let held = list(&mut disk, 1);
    assert_eq!((be(&held, 0, 8), held[13]), (0xa, 1));
    assert!(disk.rival(&["register", "f00"]).is_ok());
    assert!(disk.rival(&["reserve", "1"]).is_err());
    assert_eq!(out(&mut disk, RELEASE, 3, 0xa, 0), Err(check(5, 0x2604)));
    assert_eq!(out(&mut disk, RELEASE, 1, 0xa, 0), Ok(24));
    assert!(list(&mut disk, 1).is_empty());
    assert_eq!(out(&mut disk, RELEASE, 1, 0xa, 0), Ok(24));
    // Registering with key 0 ends the registration and the reservation.
    assert_eq!(out(&mut disk, RESERVE, 3, 0xa, 0), Ok(24));
    assert_eq!(out(&mut disk, REGISTER, 0, 0xa, 0), Ok(24));
    assert_eq!(keys(&mut disk), [0xf00]);
    assert!(list(&mut disk, 1).is_empty());
    // Lists of the wrong length, flags and actions that we lack.
    assert_eq!(
        tell(&mut disk, &[op::PERSISTENT_RESERVE_OUT, 0, 0, 0, 0, 0, 0, 0, 8], &[0; 8]),
        Err(check(5, 0x1a00))
    );
    assert_eq!(out(&mut disk, 7, 0, 0, 0), Err(check(5, 0x2400)));
    let mut flags = vec![0; 24];
    flags[20] = 1;
    let cdb = [op::PERSISTENT_RESERVE_OUT, 0, 0, 0, 0, 0, 0, 0, 24];
    assert_eq!(tell(&mut disk, &cdb, &flags), Err(check(5, 0x2600)));
    let cdb = [op::PERSISTENT_RESERVE_IN, 2, 0, 0, 0, 0, 0, 0, 8];
    assert_eq!(ask(&mut disk, &cdb, 8).unwrap(), [0, 8, 0, 0x80, 0xea, 1, 0, 0]);
    let cdb = [op::PERSISTENT_RESERVE_IN, 5, 0, 0, 0, 0, 0, 0, 8];
    assert_eq!(ask(&mut disk, &cdb, 8), Err(check(5, 0x2400)));
}

#[test]
fn what_a_reservation_forbids() {
    // Type; may the guest read and write, first as a stranger, then as a registrant.
    for (kind, stranger, registrant) in [
        (1, (true, false), (true, false)),
        (3, (false, false), (false, false)),
        (5, (true, false), (true, true)),
        (6, (false, false), (true, true)),
        (7, (true, false), (true, true)),
        (8, (false, false), (true, true)),
    ] {
        let mut disk = disk();
        rival(&mut disk, "register 1");
        rival(&mut disk, &format!("reserve {kind}"));
        let mut access = |wanted: (bool, bool)| {
            let reads = ask(&mut disk, &READ, 512) != Err(Failure::Conflict);
            let writes = tell(&mut disk, &WRITE, &[0; 512]) != CONFLICT;
            assert_eq!((reads, writes), wanted, "type {kind}");
            // These are always allowed.
            assert_eq!(tell(&mut disk, &[op::TEST_UNIT_READY], &[]), Ok(0));
            ask(&mut disk, &[op::READ_CAPACITY_10], 8).unwrap();
            ask(&mut disk, &[op::MODE_SENSE_6, 0, 0x3f, 0, 64], 64).unwrap();
        };
        access(stranger);
        assert_eq!(out(&mut disk, REGISTER, 0, 0, 0xa), Ok(24));
        let mut access = |wanted: (bool, bool)| {
            let reads = ask(&mut disk, &READ, 512) != Err(Failure::Conflict);
            let writes = tell(&mut disk, &WRITE, &[0; 512]) != CONFLICT;
            assert_eq!((reads, writes), wanted, "type {kind}, registered");
        };
        access(registrant);
        rival(&mut disk, &format!("release {kind}"));
        if kind > 4 {
            assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), Err(check(6, 0x2a04)));
        }
        assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), Ok(512));
    }
}

#[test]
fn preempt_and_clear() {
    let mut disk = disk();
    rival(&mut disk, "register bad");
    rival(&mut disk, "reserve 1");
    assert_eq!(out(&mut disk, REGISTER, 0, 0, 0xa), Ok(24));
    assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), CONFLICT);
    assert_eq!(out(&mut disk, PREEMPT, 1, 0xa, 0), Err(check(5, 0x2600)));
    assert_eq!(out(&mut disk, PREEMPT, 1, 0xa, 0x77), CONFLICT);
    assert_eq!(out(&mut disk, PREEMPT, 3, 0xa, 0xbad), Ok(24));
    assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), Ok(512));
    assert_eq!(keys(&mut disk), [0xa]);
    assert_eq!(list(&mut disk, 1)[13], 3);
    // The other way round: the guest hears of it.
    rival(&mut disk, "register bad");
    rival(&mut disk, "preempt a 1");
    assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), Err(check(6, 0x2a05)));
    assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), CONFLICT);
    assert_eq!(out(&mut disk, REGISTER, 0, 0, 0xa), Ok(24));
    rival(&mut disk, "clear");
    assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), Err(check(6, 0x2a03)));
    assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), Ok(512));
    assert!(keys(&mut disk).is_empty());
    // All registrants hold it: key 0 stands for all the others.
    assert_eq!(out(&mut disk, REGISTER, 0, 0, 0xa), Ok(24));
    rival(&mut disk, "register bad");
    assert_eq!(out(&mut disk, RESERVE, 8, 0xa, 0), Ok(24));
    rival(&mut disk, "preempt 0 1");
    assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), Err(check(6, 0x2a05)));
    assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), CONFLICT);
    rival(&mut disk, "clear");
    // Not registered: nothing to hear.
    assert_eq!(tell(&mut disk, &WRITE, &[0; 512]), Ok(512));
    assert_eq!(out(&mut disk, CLEAR, 0, 0, 0), CONFLICT);
}
