// SPDX-License-Identifier: GPL-2.0

//! A DVD drive: what it answers besides a disk that cannot be written, and its tray. Numbers of
//! rows and fields are those of MMC-5.

use super::*;
use crate::fault::Rng;

/// Profile "DVD-ROM" of GET CONFIGURATION.
const DVD_ROM: u16 = 0x0010;
/// Class "media" of GET EVENT STATUS NOTIFICATION, as a number and as a bit.
const MEDIA: u8 = 4;
const MEDIA_BIT: u8 = 1 << MEDIA;
/// Mode page of capabilities.
const CAPABILITIES: u8 = 0x2a;
const ALL_PAGES: u8 = 0x3f;

/// Event codes of the class "media".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
enum Event {
    #[default]
    None = 0,
    New = 2,
    Removal = 3,
}

/// The tray of a drive.
#[derive(Default)]
pub(super) struct Tray {
    /// Nothing is in it.
    empty: bool,
    /// The initiator does not allow to take the medium out.
    locked: bool,
    /// What has happened since the initiator asked the last time.
    event: Event,
}

impl Disk {
    /// Puts a medium of `size` bytes that look random and follow from `seed` into the drive.
    pub fn insert(&mut self, size: u64, seed: u64) -> Result<(), String> {
        self.drive()?;
        if !self.tray.empty {
            return Err("there is a medium in the drive".into());
        }
        if size == 0 || !size.is_multiple_of(self.block()) {
            return Err(format!("{size} bytes are not a whole number of blocks"));
        }
        let mut medium = MemoryBacking::new(size);
        let mut rng = Rng::new(seed);
        for piece in blocks::pieces(size) {
            let buf = &mut self.buffer[..piece.len()];
            buf.chunks_mut(8).for_each(|word| {
                word.copy_from_slice(&rng.number().to_le_bytes()[..word.len()]);
            });
            medium.write_at(piece.start as u64, buf).map_err(|why| why.to_string())?;
        }
        self.backing = Box::new(medium);
        self.tray = Tray { empty: false, event: Event::New, ..self.tray };
        self.attend(Sense::MEDIUM_CHANGED);
        Ok(())
    }

    /// Takes the medium out, whatever the initiator allows.
    pub fn eject(&mut self) -> Result<(), String> {
        self.drive()?;
        self.take_out();
        Ok(())
    }

    fn drive(&self) -> Result<(), String> {
        if self.config.dvd {
            Ok(())
        } else {
            Err("that is no DVD drive".into())
        }
    }

    fn take_out(&mut self) {
        if !self.tray.empty {
            self.tray = Tray { empty: true, event: Event::Removal, ..self.tray };
        }
    }

    /// Does a command if it is one that drives do otherwise than disks.
    pub(super) fn dvd(
        &mut self,
        cdb: &[u8; CDB],
        data: &mut dyn Transfer,
    ) -> Result<Option<usize>, Failure> {
        let medium = || if self.tray.empty { Err(Sense::NO_MEDIUM) } else { Ok(()) };
        let answer = match cdb[0] {
            op::INQUIRY | op::REPORT_LUNS | op::REQUEST_SENSE => return Ok(None),
            op::TEST_UNIT_READY => {
                medium()?;
                return Ok(Some(0));
            }
            op::GET_EVENT_STATUS => self.events(cdb)?,
            op::PREVENT_ALLOW => {
                self.tray.locked = cdb[4] & 1 != 0;
                return Ok(Some(0));
            }
            op::START_STOP if cdb[4] & LOAD_EJECT != 0 && cdb[4] & 1 == 0 => {
                if self.tray.locked && !self.tray.empty {
                    return Err(Sense::REMOVAL_PREVENTED.into());
                }
                self.take_out();
                return Ok(Some(0));
            }
            op::START_STOP => return Ok(Some(0)),
            op::GET_CONFIGURATION => {
                let profile = if self.tray.empty { 0 } else { DVD_ROM };
                let [high, low] = profile.to_be_bytes();
                vec![0, 0, 0, 4, 0, 0, high, low]
            }
            op::MODE_SENSE_6 | op::MODE_SENSE_10 => self.capabilities(cdb)?,
            op::READ_TOC => {
                medium()?;
                self.contents(cdb)?
            }
            _ => {
                medium()?;
                return Ok(None);
            }
        };
        let allocated = match cdb[0] {
            op::MODE_SENSE_6 => cdb[4].into(),
            _ => be(cdb, 7, 2),
        };
        reply(data, &answer, allocated).map(Some)
    }

    /// GET EVENT STATUS NOTIFICATION.
    fn events(&mut self, cdb: &[u8; CDB]) -> Result<Vec<u8>, Sense> {
        const IMMEDIATE: u8 = 1;
        const NO_EVENT: u8 = 0x80;
        const PRESENT: u8 = 2;
        if cdb[1] & IMMEDIATE == 0 {
            return Err(Sense::BAD_FIELD);
        }
        if cdb[4] & MEDIA_BIT == 0 {
            return Ok(vec![0, 2, NO_EVENT, MEDIA_BIT]);
        }
        let event = std::mem::take(&mut self.tray.event) as u8;
        let status = if self.tray.empty { 0 } else { PRESENT };
        Ok(vec![0, 6, MEDIA, MEDIA_BIT, event, status, 0, 0])
    }

    /// MODE SENSE: the page of capabilities, of a drive that reads, ejects and locks.
    fn capabilities(&self, cdb: &[u8; CDB]) -> Result<Vec<u8>, Sense> {
        const READS_DVD_ROM: u8 = 1 << 3;
        const TRAY: u8 = 1 << 5;
        const EJECTS: u8 = 1 << 3;
        const LOCKS: u8 = 1 << 0;
        if !matches!(cdb[2] & 0x3f, CAPABILITIES | ALL_PAGES) {
            return Err(Sense::BAD_FIELD);
        }
        let mut page = vec![0; 22];
        put(&mut page, 0, &[CAPABILITIES, 20, READS_DVD_ROM]);
        page[6] = TRAY | EJECTS | LOCKS | if self.tray.locked { 2 } else { 0 };
        // 32 times the speed of a CD.
        put(&mut page, 8, &5632u16.to_be_bytes());
        put(&mut page, 14, &5632u16.to_be_bytes());
        let mut out = if cdb[0] == op::MODE_SENSE_6 {
            vec![page.len() as u8 + 3, 0, 0, 0]
        } else {
            vec![0, page.len() as u8 + 6, 0, 0, 0, 0, 0, 0]
        };
        out.extend(page);
        Ok(out)
    }

    /// READ TOC: one track of data.
    fn contents(&self, cdb: &[u8; CDB]) -> Result<Vec<u8>, Sense> {
        const DATA: u8 = 0x14;
        const LEAD_OUT: u8 = 0xaa;
        const MINUTES: u8 = 0x02;
        let format = cdb[2] & 0xf;
        if format > 1 || cdb[1] & MINUTES != 0 {
            return Err(Sense::BAD_FIELD);
        }
        let mut tracks = vec![0, DATA, 1, 0, 0, 0, 0, 0];
        if format == 0 {
            tracks.extend([0, DATA, LEAD_OUT, 0]);
            tracks.extend((self.blocks() as u32).to_be_bytes());
        }
        let mut out = (tracks.len() as u16 + 2).to_be_bytes().to_vec();
        out.extend([1, 1]);
        out.extend(tracks);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for the answers.
    struct Room(Vec<u8>);

    impl Transfer for Room {
        fn room(&self) -> usize {
            self.0.len()
        }

        fn give(&mut self, at: usize, from: &[u8]) -> Result<(), Failure> {
            self.0[at..at + from.len()].copy_from_slice(from);
            Ok(())
        }

        fn take(&mut self, _at: usize, _into: &mut [u8]) -> Result<(), Failure> {
            Err(Failure::Direction)
        }
    }

    fn drive() -> Disk {
        let mut config = DiskConfig::new(Address::lun(0), "S");
        config.parse("1M:dvd").unwrap();
        Disk::new(Box::new(MemoryBacking::new(1 << 20)), config)
    }

    fn run(disk: &mut Disk, cdb: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut whole = [0; CDB];
        whole[..cdb.len()].copy_from_slice(cdb);
        let mut room = Room(vec![0; 4096]);
        let moved = disk.execute(&whole, &mut room)?;
        room.0.truncate(moved);
        Ok(room.0)
    }

    #[test]
    fn media_come_and_go() {
        const READ: [u8; 10] = [op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        const READY: [u8; 6] = [0; 6];
        const EVENTS: [u8; 10] = [op::GET_EVENT_STATUS, 1, 0, 0, MEDIA_BIT, 0, 0, 0, 8, 0];
        let disk = &mut drive();
        assert_eq!(run(disk, &READ).unwrap().len(), 2048);
        assert_eq!(
            run(disk, &[op::WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
            Err(Sense::WRITE_PROTECTED.into())
        );

        disk.eject().unwrap();
        assert_eq!(run(disk, &READ), Err(Sense::NO_MEDIUM.into()));
        assert_eq!(run(disk, &READY), Err(Sense::NO_MEDIUM.into()));
        assert_eq!(run(disk, &EVENTS).unwrap()[4..6], [Event::Removal as u8, 0]);
        assert_eq!(run(disk, &EVENTS).unwrap()[4..6], [0, 0]);

        disk.insert(4096, 7).unwrap();
        assert!(disk.insert(4096, 7).is_err());
        assert_eq!(run(disk, &READY), Err(Sense::MEDIUM_CHANGED.into()));
        assert_eq!(run(disk, &EVENTS).unwrap()[4..6], [Event::New as u8, 2]);
        let mut rng = Rng::new(7);
        assert_eq!(run(disk, &READ).unwrap()[..8], rng.number().to_le_bytes());
        assert_eq!(run(disk, &[op::READ_CAPACITY_10]).unwrap(), [0, 0, 0, 1, 0, 0, 8, 0]);
        assert_eq!(run(disk, &[op::READ_TOC, 0, 0, 0, 0, 0, 0, 0, 20, 0]).unwrap().len(), 20);
    }

    #[test]
    fn a_locked_tray_stays_closed() {
        const EJECT: [u8; 6] = [op::START_STOP, 0, 0, 0, LOAD_EJECT, 0];
        let disk = &mut drive();
        run(disk, &[op::PREVENT_ALLOW, 0, 0, 0, 1, 0]).unwrap();
        assert_eq!(run(disk, &EJECT), Err(Sense::REMOVAL_PREVENTED.into()));
        run(disk, &[op::PREVENT_ALLOW, 0, 0, 0, 0, 0]).unwrap();
        run(disk, &EJECT).unwrap();
        assert_eq!(run(disk, &[0; 6]), Err(Sense::NO_MEDIUM.into()));
    }
}
