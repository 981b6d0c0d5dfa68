// SPDX-License-Identifier: GPL-2.0

//! A SCSI controller: the host side of the protocol that `storvsc` speaks.
//!
//! Each packet of the guest is answered by a completion that repeats it with a status. The guest
//! first agrees on a version and reads the controller's properties; from then on its packets carry
//! SCSI commands, whose data lies in the guest's pages.

use std::collections::BTreeMap;

use serde_json::json;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::device::{Device, Io, Offer, Violation};
use crate::disk::{op, reply, standard_inquiry, Disk, Failure, Sense, Transfer, CDB, SENSE};
use crate::guid::Guid;
use crate::memory::{GuestMemory, PageRange};
use crate::ring::{Packet, PacketKind};
use crate::trace::Level;

/// Interface of SCSI controllers.
pub const INTERFACE: Guid = Guid::new("ba6163d9-04a1-4d29-b605-72e2ffb1dc7f");
/// Controller 0; the number is added to the first field, as on Hyper-V.
const INSTANCE: Guid = Guid::new("f8b3781a-1e82-4818-a1c3-63d806ec15bb");
/// `chn_flags` of an offer: the device is for a driver.
const ENUMERATE_DEVICE_INTERFACE: u16 = 1;

/// Protocol versions, the major one in the high byte.
pub mod version {
    /// Windows Server 2008.
    pub const V2_0: u16 = 0x0200;
    /// Windows Server 2008 R2.
    pub const V4_2: u16 = 0x0402;
    /// Windows Server 2012: longer SRBs and sub-channels.
    pub const V5_1: u16 = 0x0501;
    /// Windows Server 2012 R2.
    pub const V6_0: u16 = 0x0600;
    /// Windows Server 2016.
    pub const V6_2: u16 = 0x0602;
}

const DEFAULT_VERSIONS: [u16; 4] = [version::V2_0, version::V4_2, version::V5_1, version::V6_0];
const DEFAULT_MAX_TRANSFER: u32 = 256 << 10;

mod operation {
    pub const COMPLETE_IO: u32 = 1;
    pub const EXECUTE_SRB: u32 = 3;
    pub const RESET_LUN: u32 = 4;
    pub const RESET_ADAPTER: u32 = 5;
    pub const RESET_BUS: u32 = 6;
    pub const BEGIN_INITIALIZATION: u32 = 7;
    pub const END_INITIALIZATION: u32 = 8;
    pub const QUERY_VERSION: u32 = 9;
    pub const QUERY_PROPERTIES: u32 = 10;
    pub const CREATE_SUB_CHANNELS: u32 = 13;
}

mod status {
    pub const SUCCESS: u32 = 0;
    pub const UNSUCCESSFUL: u32 = 0xc000_0001;
    pub const INVALID_PARAMETER: u32 = 0xc000_000d;
    pub const REVISION_MISMATCH: u32 = 0xc000_0059;
    pub const INVALID_DEVICE_STATE: u32 = 0xc000_0184;
}

mod srb_status {
    pub const SUCCESS: u8 = 0x01;
    pub const ERROR: u8 = 0x04;
    pub const INVALID_REQUEST: u8 = 0x06;
    pub const INVALID_LUN: u8 = 0x20;
    pub const AUTOSENSE_VALID: u8 = 0x80;
}

const GOOD: u8 = 0;
const CHECK_CONDITION: u8 = 2;

// Values of `Srb::data_in`.
const DATA_OUT: u8 = 0;
const DATA_IN: u8 = 1;

/// Peripheral qualifier and type of a logical unit that does not exist.
const NO_UNIT: u8 = 0x7f;

const MULTI_CHANNEL: u32 = 1;

const PAYLOAD: usize = 0x34;
/// The part of an SRB before 5.1.
const SHORT_SRB: usize = 0x24;
const HEADER: usize = 12;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Message {
    operation: U32,
    flags: U32,
    status: U32,
    payload: [u8; PAYLOAD],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Srb {
    length: U16,
    srb_status: u8,
    scsi_status: u8,
    port: u8,
    path: u8,
    target: u8,
    lun: u8,
    cdb_length: u8,
    sense_length: u8,
    data_in: u8,
    reserved: u8,
    data_length: U32,
    /// The CDB; in the answer the sense data.
    cdb: [u8; 20],
    reserved2: U16,
    queue_tag: u8,
    queue_action: u8,
    flags: U32,
    timeout: U32,
    sort_key: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Properties {
    reserved: U32,
    max_sub_channels: U16,
    reserved2: U16,
    flags: U32,
    max_transfer: U32,
    reserved3: [u8; 8],
}

/// How far the handshake is; the version is known from `Properties` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Version,
    Properties(u16),
    End(u16),
    Ready(u16),
}

/// A SCSI controller with its disks.
pub struct Storvsp {
    instance: Guid,
    versions: Vec<u16>,
    max_transfer: u32,
    sub_channels: u16,
    state: State,
    disks: BTreeMap<u8, Disk>,
}

impl Storvsp {
    /// Controller number `controller`; of disks with the same LUN the last one stays.
    pub fn new(controller: u8, disks: Vec<Disk>) -> Self {
        let mut instance = INSTANCE;
        instance.0[0] = instance.0[0].wrapping_add(controller);
        Self {
            instance,
            versions: DEFAULT_VERSIONS.to_vec(),
            max_transfer: DEFAULT_MAX_TRANSFER,
            sub_channels: 0,
            state: State::Begin,
            disks: disks.into_iter().map(|disk| (disk.lun(), disk)).collect(),
        }
    }

    /// Accepts these protocol versions instead of 2.0, 4.2, 5.1 and 6.0.
    pub fn with_versions(mut self, versions: &[u16]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    /// Allows this many bytes per command instead of 256 KiB.
    pub fn with_max_transfer(mut self, bytes: u32) -> Self {
        self.max_transfer = bytes;
        self
    }

    /// The steps of the handshake; returns the answer's status.
    fn handshake(&mut self, io: &mut Io<'_>, operation: u32, payload: &mut [u8; PAYLOAD]) -> u32 {
        match (operation, self.state) {
            (operation::BEGIN_INITIALIZATION, State::Begin) => self.state = State::Version,
            (operation::QUERY_VERSION, State::Version) => {
                let version = u16::from_le_bytes([payload[0], payload[1]]);
                let accepted = self.versions.contains(&version);
                let fields = json!({ "device": io.name, "version": version, "accepted": accepted });
                io.trace.event(Level::Messages, "storvsp version", fields);
                if !accepted {
                    return status::REVISION_MISMATCH;
                }
                self.state = State::Properties(version);
            }
            (operation::QUERY_PROPERTIES, State::Properties(version)) => {
                let several = version >= version::V5_1 && self.sub_channels > 0;
                let properties = Properties {
                    reserved: U32::ZERO,
                    max_sub_channels: if several { self.sub_channels } else { 0 }.into(),
                    reserved2: U16::ZERO,
                    flags: if several { MULTI_CHANNEL } else { 0 }.into(),
                    max_transfer: self.max_transfer.into(),
                    reserved3: [0; 8],
                };
                payload[..size_of::<Properties>()].copy_from_slice(properties.as_bytes());
                self.state = State::End(version);
            }
            // Linux asks after the end of the initialization, Windows before.
            (operation::CREATE_SUB_CHANNELS, State::End(version) | State::Ready(version))
                if version >= version::V5_1 =>
            {
                if u16::from_le_bytes([payload[0], payload[1]]) > self.sub_channels {
                    return status::INVALID_PARAMETER;
                }
            }
            (operation::END_INITIALIZATION, State::End(version)) => {
                self.state = State::Ready(version);
            }
            _ => {
                io.count("out_of_order", 1);
                return status::INVALID_DEVICE_STATE;
            }
        }
        status::SUCCESS
    }

    /// Does the command of an SRB and makes the SRB its answer; returns the answer's status.
    fn execute(
        &mut self,
        io: &mut Io<'_>,
        srb: &mut Srb,
        ranges: &[PageRange],
    ) -> Result<u32, Violation> {
        let none = PageRange::default();
        let range = match ranges {
            [] => &none,
            [range] => range,
            _ => return Err(Violation::new(format!("SRB with {} ranges", ranges.len()))),
        };
        let len = srb.data_length.get();
        if range.len < len {
            let have = range.len;
            return Err(Violation::new(format!("SRB for {len} bytes with a range of {have}")));
        }
        let code = srb.cdb[0];
        let mut data = Pages { mem: io.mem, range, len: len as usize, direction: srb.data_in };
        let outcome = match checked_cdb(srb) {
            Some(cdb) if len <= self.max_transfer => self.dispatch(srb, &cdb, &mut data),
            _ => Outcome::Invalid,
        };
        let (srb_status, scsi_status, moved, sense) = match outcome {
            Outcome::Done(moved) => (srb_status::SUCCESS, GOOD, moved, None),
            Outcome::Invalid | Outcome::Failed(Failure::Direction) => {
                (srb_status::INVALID_REQUEST, GOOD, 0, None)
            }
            Outcome::NoUnit => (srb_status::INVALID_LUN, CHECK_CONDITION, 0, None),
            Outcome::Failed(Failure::Check(sense)) => {
                (srb_status::ERROR, CHECK_CONDITION, 0, Some(sense))
            }
            Outcome::Failed(Failure::Memory(bad)) => return Err(bad.into()),
        };
        srb.srb_status = srb_status;
        srb.scsi_status = scsi_status;
        // `moved` is at most `len`.
        srb.data_length = (moved as u32).into();
        let wanted = usize::from(std::mem::take(&mut srb.sense_length)).min(SENSE);
        if let Some(sense) = sense.filter(|_| wanted > 0) {
            srb.srb_status |= srb_status::AUTOSENSE_VALID;
            srb.sense_length = wanted as u8;
            srb.cdb[..wanted].copy_from_slice(&sense.bytes()[..wanted]);
        }
        if srb_status == srb_status::SUCCESS {
            count(io, code, moved as u64);
            return Ok(status::SUCCESS);
        }
        io.count("errors", 1);
        if io.trace.wants(Level::Messages) {
            let (key, asc) = sense.map_or((0, 0), |s| (s.key, s.code));
            let fields = json!({
                "device": io.name, "lun": srb.lun, "opcode": code, "srb": srb.srb_status,
                "key": key, "asc": asc,
            });
            io.trace.event(Level::Messages, "scsi error", fields);
        }
        Ok(status::UNSUCCESSFUL)
    }

    /// Finds the unit that a command is for and does it.
    fn dispatch(&mut self, srb: &Srb, cdb: &[u8; CDB], data: &mut Pages<'_>) -> Outcome {
        let here = (srb.path, srb.target) == (0, 0);
        if cdb[0] == op::REPORT_LUNS {
            return report_luns(self.disks.keys().filter(|_| here), cdb, data).into();
        }
        match self.disks.get_mut(&srb.lun).filter(|_| here) {
            Some(disk) => disk.execute(cdb, data).into(),
            None if cdb[0] == op::INQUIRY => {
                let allocated = u16::from_be_bytes([cdb[3], cdb[4]]);
                reply(data, &standard_inquiry(NO_UNIT), allocated.into()).into()
            }
            None => Outcome::NoUnit,
        }
    }
}

impl Device for Storvsp {
    fn offer(&self) -> Offer {
        Offer { flags: ENUMERATE_DEVICE_INTERFACE, ..Offer::new(INTERFACE, self.instance) }
    }

    fn opened(&mut self, _io: &mut Io<'_>, channel: usize) {
        if channel == 0 {
            self.state = State::Begin;
        }
    }

    fn packet(&mut self, io: &mut Io<'_>, channel: usize, packet: Packet) -> Result<(), Violation> {
        if !matches!(packet.kind, PacketKind::InBand | PacketKind::GpaDirect) {
            return Err(Violation::new(format!("{:?} packet to a disk", packet.kind)));
        }
        let srb_len = match self.state {
            State::Ready(version) if version >= version::V5_1 => PAYLOAD,
            _ => SHORT_SRB,
        };
        let len = packet.data.len().min(size_of::<Message>());
        if len < HEADER + srb_len {
            return Err(Violation::new(format!("storvsc packet of {len} bytes")));
        }
        let mut message = Message::new_zeroed();
        message.as_mut_bytes()[..len].copy_from_slice(&packet.data[..len]);
        let ready = matches!(self.state, State::Ready(_));
        let status = match message.operation.get() {
            operation::EXECUTE_SRB if ready => {
                let (srb, _) = Srb::mut_from_prefix(&mut message.payload)
                    .map_err(|_| Violation::new("SRB cut short"))?;
                self.execute(io, srb, &packet.ranges)?
            }
            operation::RESET_LUN | operation::RESET_ADAPTER | operation::RESET_BUS if ready => {
                io.count("resets", 1);
                status::SUCCESS
            }
            operation @ (operation::EXECUTE_SRB..=operation::QUERY_PROPERTIES
            | operation::CREATE_SUB_CHANNELS) => {
                if channel == 0 {
                    self.handshake(io, operation, &mut message.payload)
                } else {
                    status::INVALID_DEVICE_STATE
                }
            }
            operation => return Err(Violation::new(format!("storvsc operation {operation}"))),
        };
        message.operation = operation::COMPLETE_IO.into();
        message.flags = U32::ZERO;
        message.status = status.into();
        if packet.completion_requested {
            io.complete(channel, packet.transaction_id, &message.as_bytes()[..len]);
        }
        Ok(())
    }

    fn closed(&mut self, _io: &mut Io<'_>, channel: usize) {
        if channel == 0 {
            self.state = State::Begin;
        }
    }

    /// `disk LUN hash OFFSET LEN`, also `hash LUN OFFSET LEN`: SHA-256 of bytes of a disk.
    fn command(&mut self, _io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        let (lun, at, len) = match *words {
            ["disk", lun, "hash", at, len] | ["hash", lun, at, len] => (lun, at, len),
            _ => return Err(format!("unknown command: {}", words.join(" "))),
        };
        let number = |word: &str| word.parse::<u64>().map_err(|_| format!("not a number: {word}"));
        let disk = u8::try_from(number(lun)?).ok().and_then(|lun| self.disks.get_mut(&lun));
        disk.ok_or_else(|| format!("no disk {lun}"))?.hash(number(at)?, number(len)?)
    }
}

/// How a command ended.
enum Outcome {
    Done(usize),
    Failed(Failure),
    /// Nothing has this address.
    NoUnit,
    /// The request makes no sense.
    Invalid,
}

impl From<Result<usize, Failure>> for Outcome {
    fn from(result: Result<usize, Failure>) -> Self {
        result.map_or_else(Self::Failed, Self::Done)
    }
}

/// The CDB with zeros behind its end; `None` if its length is wrong for the command.
fn checked_cdb(srb: &Srb) -> Option<[u8; CDB]> {
    let len = usize::from(srb.cdb_length);
    let need = match srb.cdb[0] >> 5 {
        1 | 2 => 10,
        4 => 16,
        5 => 12,
        _ => 6,
    };
    if len < need {
        return None;
    }
    let mut cdb = [0; CDB];
    // A length above 16 finds no place in it.
    cdb.get_mut(..len)?.copy_from_slice(&srb.cdb[..len]);
    Some(cdb)
}

fn report_luns<'a>(
    luns: impl Iterator<Item = &'a u8>,
    cdb: &[u8; CDB],
    data: &mut Pages<'_>,
) -> Result<usize, Failure> {
    const SHORTEST: u32 = 16;
    const WELL_KNOWN_ONLY: u8 = 1;
    let allocated = u32::from_be_bytes([cdb[6], cdb[7], cdb[8], cdb[9]]);
    if allocated < SHORTEST {
        return Err(Sense::BAD_FIELD.into());
    }
    let mut list = Vec::new();
    for &lun in luns.filter(|_| cdb[2] != WELL_KNOWN_ONLY) {
        list.extend([0, lun, 0, 0, 0, 0, 0, 0]);
    }
    let mut out = (list.len() as u64).rotate_left(32).to_be_bytes().to_vec();
    out.extend(list);
    reply(data, &out, allocated.into())
}

/// Counts a command that was done.
fn count(io: &mut Io<'_>, code: u8, bytes: u64) {
    let what = match code {
        op::READ_6 | op::READ_10 | op::READ_12 | op::READ_16 => {
            io.count("bytes_read", bytes);
            "reads"
        }
        op::WRITE_6 | op::WRITE_10 | op::WRITE_12 | op::WRITE_16 => {
            io.count("bytes_written", bytes);
            "writes"
        }
        op::SYNCHRONIZE_CACHE_10 | op::SYNCHRONIZE_CACHE_16 => "flushes",
        op::UNMAP => "unmaps",
        op::WRITE_SAME_10 | op::WRITE_SAME_16 => "write_sames",
        _ => "other_commands",
    };
    io.count(what, 1);
}

/// The guest's pages as the data phase of a command.
struct Pages<'a> {
    mem: &'a dyn GuestMemory,
    range: &'a PageRange,
    len: usize,
    direction: u8,
}

impl Transfer for Pages<'_> {
    fn room(&self) -> usize {
        self.len
    }

    fn give(&mut self, at: usize, from: &[u8]) -> Result<(), Failure> {
        if self.direction != DATA_IN {
            return Err(Failure::Direction);
        }
        Ok(self.range.write(self.mem, at, from)?)
    }

    fn take(&mut self, at: usize, into: &mut [u8]) -> Result<(), Failure> {
        if self.direction != DATA_OUT {
            return Err(Failure::Direction);
        }
        Ok(self.range.read(self.mem, at, into)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskConfig, MemoryBacking};
    use crate::mock::Bench;

    const MIB: u64 = 1 << 20;

    fn controller() -> Storvsp {
        let disk = |lun| {
            let config = DiskConfig { lun, serial: format!("S{lun}") };
            Disk::new(Box::new(MemoryBacking::new(4 * MIB)), config)
        };
        Storvsp::new(0, vec![disk(0), disk(3)])
    }

    fn message(operation: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Message::new_zeroed();
        out.operation = operation.into();
        out.flags = 1.into();
        out.payload[..payload.len()].copy_from_slice(payload);
        out.as_bytes().to_vec()
    }

    /// Sends a packet; returns the completion.
    fn ask(bench: &mut Bench, ranges: &[PageRange], data: &[u8]) -> Option<Message> {
        let kind = if ranges.is_empty() { PacketKind::InBand } else { PacketKind::GpaDirect };
        bench.guest_send(kind, 0x1234, true, ranges, data);
        let answer = bench.guest_recv()?;
        assert_eq!((answer.kind, answer.transaction_id), (PacketKind::Completion, 0x1234));
        assert_eq!(answer.data.len(), data.len());
        let mut out = Message::new_zeroed();
        out.as_mut_bytes()[..data.len()].copy_from_slice(&answer.data);
        assert_eq!(out.operation.get(), operation::COMPLETE_IO);
        Some(out)
    }

    fn step(bench: &mut Bench, operation: u32, payload: &[u8]) -> u32 {
        ask(bench, &[], &message(operation, payload)).unwrap().status.get()
    }

    /// A controller after Linux's handshake.
    fn ready() -> Bench {
        let mut bench = Bench::new(Box::new(controller()));
        assert_eq!(step(&mut bench, operation::BEGIN_INITIALIZATION, &[]), status::SUCCESS);
        let query = operation::QUERY_VERSION;
        assert_eq!(step(&mut bench, query, &[0x02, 0x06]), status::REVISION_MISMATCH);
        assert_eq!(step(&mut bench, query, &[0x00, 0x06]), status::SUCCESS);
        let answer = ask(&mut bench, &[], &message(operation::QUERY_PROPERTIES, &[])).unwrap();
        let (properties, _) = Properties::read_from_prefix(&answer.payload).unwrap();
        assert_eq!(properties.max_transfer.get(), 256 << 10);
        assert_eq!((properties.flags.get(), properties.max_sub_channels.get()), (0, 0));
        assert_eq!(step(&mut bench, operation::END_INITIALIZATION, &[]), status::SUCCESS);
        bench
    }

    fn srb(lun: u8, direction: u8, len: usize, cdb: &[u8]) -> Vec<u8> {
        let mut srb = Srb::new_zeroed();
        srb.length = (PAYLOAD as u16).into();
        srb.lun = lun;
        srb.cdb_length = cdb.len() as u8;
        srb.sense_length = 0x14;
        srb.data_in = direction;
        srb.data_length = (len as u32).into();
        srb.cdb[..cdb.len()].copy_from_slice(cdb);
        message(operation::EXECUTE_SRB, srb.as_bytes())
    }

    fn execute(bench: &mut Bench, ranges: &[PageRange], data: &[u8]) -> (u32, Srb) {
        let answer = ask(bench, ranges, data).unwrap();
        (answer.status.get(), Srb::read_from_bytes(&answer.payload).unwrap())
    }

    /// A command with data in.
    fn fetch(bench: &mut Bench, lun: u8, len: usize, cdb: &[u8]) -> (Srb, Vec<u8>) {
        let range = bench.alloc(len);
        let (_, answer) =
            execute(bench, std::slice::from_ref(&range), &srb(lun, DATA_IN, len, cdb));
        let mut data = vec![0; answer.data_length.get() as usize];
        range.read(&*bench.mem, 0, &mut data).unwrap();
        (answer, data)
    }

    #[test]
    fn layouts() {
        assert_eq!((size_of::<Message>(), size_of::<Srb>()), (0x40, PAYLOAD));
        let offer = Storvsp::new(2, vec![]).offer();
        assert_eq!(offer.instance.to_string(), "f8b3781c-1e82-4818-a1c3-63d806ec15bb");
    }

    #[test]
    fn steps_out_of_order_are_refused() {
        let mut bench = Bench::new(Box::new(controller()));
        let wrong = status::INVALID_DEVICE_STATE;
        for operation in [3, 4, 5, 6, 8, 9, 10, 13] {
            assert_eq!(step(&mut bench, operation, &[0, 6]), wrong, "{operation}");
        }
        let mut bench = ready();
        for operation in [7, 8, 9, 10] {
            assert_eq!(step(&mut bench, operation, &[0, 6]), wrong, "{operation}");
        }
        assert_eq!(step(&mut bench, operation::CREATE_SUB_CHANNELS, &[0, 0]), status::SUCCESS);
        let refused = status::INVALID_PARAMETER;
        assert_eq!(step(&mut bench, operation::CREATE_SUB_CHANNELS, &[1, 0]), refused);
        for operation in 4..=6 {
            assert_eq!(step(&mut bench, operation, &[]), status::SUCCESS);
        }
        assert_eq!(bench.trace.counter("dev.resets"), 3);
        bench.reopen();
        assert_eq!(step(&mut bench, operation::BEGIN_INITIALIZATION, &[]), status::SUCCESS);
    }

    #[test]
    fn what_no_guest_sends_ends_the_channel() {
        let page = Bench::new(Box::new(controller())).alloc(4096);
        let read = srb(0, DATA_IN, 512, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        let more = srb(0, DATA_IN, 4097, &[op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        type Case<'a> = (PacketKind, &'a [PageRange], &'a [u8]);
        let cases: [Case<'_>; 7] = [
            (PacketKind::GpaDirect, &[page.clone(), page.clone()], &read),
            (PacketKind::GpaDirect, std::slice::from_ref(&page), &more),
            (PacketKind::InBand, &[], &read),
            (PacketKind::InBand, &[], &read[..0x30]),
            (PacketKind::InBand, &[], &message(11, &[])),
            (PacketKind::Completion, &[], &read),
            (PacketKind::InBand, &[], &[]),
        ];
        for (n, (kind, ranges, data)) in cases.into_iter().enumerate() {
            let mut bench = ready();
            bench.guest_send(kind, 1, true, ranges, data);
            assert!(bench.dead() && bench.guest_recv().is_none(), "case {n}");
            assert_eq!(bench.trace.counter("violations"), 1);
        }
    }

    #[test]
    fn data_goes_to_the_disk_and_back() {
        let mut bench = ready();
        let len = 200 << 10;
        let mut range = bench.alloc(len + 512);
        // Begin in mid-page and take the pages in another order.
        (range.offset, range.len) = (512, len as u32);
        range.pfns.reverse();
        let data: Vec<u8> = (0..len).map(|i| (i / 3) as u8 ^ (i >> 9) as u8).collect();
        range.write(&*bench.mem, 0, &data).unwrap();
        let write = srb(3, DATA_OUT, len, &[op::WRITE_10, 0, 0, 0, 0, 7, 0, 1, 0x90, 0]);
        let (status, answer) = execute(&mut bench, &[range], &write);
        assert_eq!((status, answer.srb_status, answer.scsi_status), (status::SUCCESS, 1, GOOD));
        assert_eq!((answer.data_length.get() as usize, answer.sense_length), (len, 0));

        // More room than the command fills: the rest is residual.
        let read = [op::READ_16, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 1, 0x90, 0, 0];
        let (answer, back) = fetch(&mut bench, 3, len + 4096, &read);
        assert_eq!(answer.srb_status, srb_status::SUCCESS);
        assert!(back == data);
        let (_, back) = fetch(&mut bench, 0, len, &read);
        assert!(back.iter().all(|&b| b == 0));
        assert_eq!(bench.trace.counter("dev.bytes_read"), 2 * len as u64);
        assert_eq!(bench.trace.counter("dev.writes"), 1);

        use sha2::{Digest, Sha256};
        let hex: String = Sha256::digest(&data).iter().map(|b| format!("{b:02x}")).collect();
        let len = len.to_string();
        assert_eq!(bench.command(&["disk", "3", "hash", "3584", &len]), Ok(hex.clone()));
        assert_eq!(bench.command(&["hash", "3", "3584", &len]), Ok(hex));
        for words in
            [["hash", "1", "0", "1"], ["hash", "3", "0", "-1"], ["hash", "3", "0", "9999999"]]
        {
            assert!(bench.command(&words).is_err());
        }
    }

    #[test]
    fn errors_carry_sense_data() {
        let mut bench = ready();
        let mut read = srb(0, DATA_IN, 0, &[op::READ_10, 0, 0xff, 0, 0, 0, 0, 0, 1, 0]);
        let (status, answer) = execute(&mut bench, &[], &read);
        assert_eq!((status, answer.srb_status), (status::UNSUCCESSFUL, 0x84));
        assert_eq!((answer.scsi_status, answer.sense_length, answer.cdb[12]), (2, 18, 0x21));
        assert_eq!(answer.data_length.get(), 0);
        // No room for sense data, a CDB that is too short, one that is too long.
        read[HEADER + 9] = 0;
        assert_eq!(execute(&mut bench, &[], &read).1.srb_status, srb_status::ERROR);
        for len in [9, 17, 255] {
            read[HEADER + 8] = len;
            assert_eq!(execute(&mut bench, &[], &read).1.srb_status, srb_status::INVALID_REQUEST);
        }
        // Wrong direction; more than the controller's limit.
        let page = bench.alloc(4096);
        let cdb = [op::READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        for direction in [DATA_OUT, 2] {
            let read = srb(0, direction, 4096, &cdb);
            let (_, answer) = execute(&mut bench, std::slice::from_ref(&page), &read);
            assert_eq!(answer.srb_status, srb_status::INVALID_REQUEST);
        }
        let (answer, _) = fetch(&mut bench, 0, (256 << 10) + 1, &cdb);
        assert_eq!(answer.srb_status, srb_status::INVALID_REQUEST);
        assert!(!bench.dead());
    }

    #[test]
    fn units_that_are_there_and_that_are_not() {
        let mut bench = ready();
        let mut cdb = [0; 12];
        (cdb[0], cdb[9]) = (op::REPORT_LUNS, 64);
        let (_, luns) = fetch(&mut bench, 9, 256, &cdb);
        assert_eq!(luns.len(), 24);
        assert_eq!((luns[3], luns[9], luns[17]), (16, 0, 3));
        let inquiry = [op::INQUIRY, 0, 0, 0, 36, 0];
        let (answer, data) = fetch(&mut bench, 1, 36, &inquiry);
        assert_eq!((answer.srb_status, data[0]), (srb_status::SUCCESS, NO_UNIT));
        assert_eq!(fetch(&mut bench, 3, 36, &inquiry).1[0], 0);
        let ready = [op::TEST_UNIT_READY, 0, 0, 0, 0, 0];
        let (status, answer) = execute(&mut bench, &[], &srb(1, 2, 0, &ready));
        assert_eq!((status, answer.srb_status), (status::UNSUCCESSFUL, srb_status::INVALID_LUN));
        assert_eq!(answer.scsi_status, CHECK_CONDITION);
        // Another target and another path have no units at all.
        for at in [5, 6] {
            let mut data = srb(0, 2, 0, &ready);
            data[HEADER + at] = 1;
            let (_, answer) = execute(&mut bench, &[], &data);
            assert_eq!(answer.srb_status, srb_status::INVALID_LUN);
        }
    }

    #[test]
    fn an_old_guest_sends_short_packets() {
        let mut bench = Bench::new(Box::new(controller().with_versions(&[version::V4_2])));
        let short = |data: Vec<u8>| data[..HEADER + SHORT_SRB].to_vec();
        for (operation, payload) in [(7, [0, 0]), (9, [2, 4]), (10, [0, 0]), (8, [0, 0])] {
            let answer = ask(&mut bench, &[], &short(message(operation, &payload))).unwrap();
            assert_eq!(answer.status.get(), status::SUCCESS);
        }
        let ready = short(srb(0, 2, 0, &[op::TEST_UNIT_READY, 0, 0, 0, 0, 0]));
        let answer = ask(&mut bench, &[], &ready).unwrap();
        assert_eq!((answer.status.get(), answer.payload[2]), (status::SUCCESS, 1));
        let refused = step(&mut bench, operation::CREATE_SUB_CHANNELS, &[0, 0]);
        assert_eq!(refused, status::INVALID_DEVICE_STATE);
    }

    #[test]
    fn no_packet_makes_it_panic() {
        let codes = [
            0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x1b, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41, 0x42,
            0x5a, 0x88, 0x8a, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xff,
        ];
        let mut seed = 1u64;
        let mut random = move || {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (seed >> 33) as usize
        };
        let mut bench = ready();
        let range = bench.alloc(64 << 10);
        for _ in 0..20_000 {
            let mut cdb = [0; CDB];
            // Mostly small numbers: they get further.
            for byte in &mut cdb {
                *byte = if random() % 3 == 0 { random() as u8 } else { 0 };
            }
            cdb[0] = codes[random() % codes.len()];
            let (lun, direction, len) = (random() % 2, random() % 3, random() % (64 << 10));
            let mut data = srb(lun as u8, direction as u8, len, &cdb);
            if random() % 8 == 0 {
                data[HEADER + random() % PAYLOAD] = random() as u8;
            }
            let ranges = std::slice::from_ref(&range);
            bench.guest_send(PacketKind::GpaDirect, 1, true, ranges, &data);
            if bench.dead() {
                bench = ready();
                bench.alloc(64 << 10);
            } else {
                assert!(bench.guest_recv().is_some());
            }
        }
    }
}
