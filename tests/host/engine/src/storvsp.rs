// SPDX-License-Identifier: GPL-2.0

//! A SCSI controller: the host side of the protocol that `storvsc` speaks.
//!
//! Each packet of the guest is answered by a completion that repeats it with a status. The guest
//! first agrees on a version and reads the controller's properties; from then on its packets carry
//! SCSI commands, whose data lies in the guest's pages.

use std::collections::BTreeMap;

use serde_json::json;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::device::{Device, Io, Offer, Violation};
use crate::disk::{
    op, reply, standard_inquiry, Address, Disk, Failure, Sense, Transfer, CDB, SENSE,
};
use crate::guid::Guid;
use crate::memory::{GuestMemory, PageRange};
use crate::ring::{Packet, PacketKind};
use crate::trace::Level;

mod capture;
mod chaos;
mod control;
mod fault;
mod wire;

use capture::Capture;
use chaos::{Chaos, Madness};
use fault::Faults;
pub use wire::version;
use wire::*;

/// Interface of SCSI controllers.
pub const INTERFACE: Guid = Guid::new("ba6163d9-04a1-4d29-b605-72e2ffb1dc7f");
/// Interface of disks of an IDE controller: each is a device of its own.
const IDE: Guid = Guid::new("32412632-86cb-44a2-9b5c-50d1417354f5");
/// Interface of adapters of Fibre Channel.
const FIBRE_CHANNEL: Guid = Guid::new("2f9bcc4a-0069-4af3-b76b-6fd0be528cda");
/// Controller 0; the number is added to the first field, as on Hyper-V.
const INSTANCE: Guid = Guid::new("f8b3781a-1e82-4818-a1c3-63d806ec15bb");
/// IDE disk 0; the number is the second field.
const IDE_INSTANCE: Guid = Guid::new("00000000-0000-8899-0000-000000000000");
/// Adapter of Fibre Channel 0; the number is added to the first field.
const FIBRE_CHANNEL_INSTANCE: Guid = Guid::new("9b5c1c3a-2c41-4b70-8f3a-6f1bd1d3c8e0");
/// `chn_flags` of an offer: the device is for a driver.
const ENUMERATE_DEVICE_INTERFACE: u16 = 1;

/// What a controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scsi,
    /// A disk of an IDE controller, with this number.
    Ide(u8),
    FibreChannel,
}

/// Names of node and port of an adapter's active set.
#[derive(Debug, Clone, Copy)]
struct Names {
    node: u64,
    port: u64,
    /// It is the first of the two sets.
    first: bool,
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
    kind: Kind,
    instance: Guid,
    names: Names,
    versions: Vec<u16>,
    max_transfer: u32,
    sub_channels: u16,
    state: State,
    disks: BTreeMap<Address, Disk>,
    /// Disks that were removed, each at its address: they can come back with their data.
    shelf: BTreeMap<Address, Disk>,
    /// Disks that were added while the guest ran; their serial numbers tell them apart.
    added: u32,
    faults: Faults,
    chaos: Option<Chaos>,
    /// What commands look like, while somebody wants to know.
    capture: Option<Capture>,
    /// How many commands that read are kept without an answer from now on.
    keep: u32,
    /// Those, with their channels.
    kept: Vec<(usize, Packet)>,
}

impl Storvsp {
    /// Controller number `controller`; of disks with the same address the last one stays.
    pub fn new(controller: u8, disks: Vec<Disk>) -> Self {
        let mut instance = INSTANCE;
        instance.0[0] = instance.0[0].wrapping_add(controller);
        Self {
            kind: Kind::Scsi,
            instance,
            names: Names {
                node: 0xc003_ff00_0000_ffff,
                port: 0xc003_ff00_0000_0000 | u64::from(controller),
                first: true,
            },
            versions: DEFAULT_VERSIONS.to_vec(),
            max_transfer: DEFAULT_MAX_TRANSFER,
            sub_channels: 0,
            state: State::Begin,
            disks: disks.into_iter().map(|disk| (disk.address(), disk)).collect(),
            shelf: BTreeMap::new(),
            added: 0,
            faults: Faults::default(),
            chaos: None,
            capture: None,
            keep: 0,
            kept: Vec::new(),
        }
    }

    /// Disk `number` of the IDE controllers: a device of its own, with a target of that number.
    pub fn ide(number: u8, disk: Disk) -> Self {
        let mut instance = IDE_INSTANCE;
        instance.0[4] = number;
        Self { kind: Kind::Ide(number), instance, ..Self::new(0, vec![disk]) }
    }

    /// Adapter `number` of Fibre Channel with these disks.
    pub fn fibre_channel(number: u8, disks: Vec<Disk>) -> Self {
        let mut instance = FIBRE_CHANNEL_INSTANCE;
        instance.0[0] = instance.0[0].wrapping_add(number);
        Self { kind: Kind::FibreChannel, instance, ..Self::new(number, disks) }
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

    /// Allows this many sub-channels instead of none.
    pub fn with_sub_channels(mut self, count: u16) -> Self {
        self.sub_channels = count;
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
            (operation::FCHBA_DATA, State::End(_)) if self.kind == Kind::FibreChannel => {
                payload[..size_of::<Wwns>()].copy_from_slice(self.wwns().as_bytes());
            }
            // Linux asks after the end of the initialization, Windows before.
            (operation::CREATE_SUB_CHANNELS, State::End(version) | State::Ready(version))
                if version >= version::V5_1 =>
            {
                let count = u16::from_le_bytes([payload[0], payload[1]]);
                if count > self.sub_channels {
                    return status::INVALID_PARAMETER;
                }
                io.offer_sub_channels(count.into());
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
        let mem = io.mem;
        let mut data = Pages { mem, range, len: len as usize, direction: srb.data_in };
        let outcome = match checked_cdb(srb) {
            Some(cdb) if len <= self.max_transfer => self.dispatch(io, srb, &cdb, &mut data),
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
            Outcome::Failed(Failure::Conflict) => {
                (srb_status::ERROR, RESERVATION_CONFLICT, 0, None)
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
    fn dispatch(
        &mut self,
        io: &mut Io<'_>,
        srb: &Srb,
        cdb: &[u8; CDB],
        data: &mut Pages<'_>,
    ) -> Outcome {
        let address = srb.address();
        if cdb[0] == op::REPORT_LUNS {
            let all = self.disks.keys();
            let here = all.filter(|at| (at.path, at.target) == (address.path, address.target));
            return report_luns(here.map(|at| at.lun), cdb, data).into();
        }
        match self.disks.get_mut(&address) {
            Some(disk) => {
                let before = disk.flushes();
                let outcome = disk.execute(cdb, data).into();
                match disk.flushes() - before {
                    0 => {}
                    n => io.count("made_durable", n),
                }
                outcome
            }
            None if cdb[0] == op::INQUIRY => {
                let allocated = u16::from_be_bytes([cdb[3], cdb[4]]);
                reply(data, &standard_inquiry(NO_UNIT), allocated.into()).into()
            }
            None => Outcome::NoUnit,
        }
    }

    /// Does what a packet asks for and makes the packet its answer; returns the answer's status.
    fn answer(
        &mut self,
        io: &mut Io<'_>,
        channel: usize,
        message: &mut Message,
        ranges: &[PageRange],
    ) -> Result<u32, Violation> {
        let ready = matches!(self.state, State::Ready(_));
        match message.operation.get() {
            operation::EXECUTE_SRB if ready => {
                let (srb, _) = Srb::mut_from_prefix(&mut message.payload)
                    .map_err(|_| Violation::new("SRB cut short"))?;
                if channel > 0 {
                    io.count(&format!("sub_channel_{channel}_commands"), 1);
                }
                self.execute(io, srb, ranges)
            }
            operation::RESET_LUN | operation::RESET_ADAPTER | operation::RESET_BUS if ready => {
                io.count("resets", 1);
                Ok(status::SUCCESS)
            }
            operation @ (operation::EXECUTE_SRB..=operation::QUERY_PROPERTIES
            | operation::FCHBA_DATA
            | operation::CREATE_SUB_CHANNELS) => Ok(match channel {
                0 => self.handshake(io, operation, &mut message.payload),
                _ => status::INVALID_DEVICE_STATE,
            }),
            operation => Err(Violation::new(format!("storvsc operation {operation}"))),
        }
    }

    /// Whether this is a command whose data goes to the guest.
    fn reads(&self, message: &Message) -> bool {
        let srb = Srb::ref_from_prefix(&message.payload);
        matches!(self.state, State::Ready(_))
            && message.operation.get() == operation::EXECUTE_SRB
            && srb.is_ok_and(|(srb, _)| srb.data_in == DATA_IN)
    }

    /// Answers the commands that were kept.
    fn answer_kept(&mut self, io: &mut Io<'_>) -> Result<(), Violation> {
        self.keep = 0;
        io.keep_no_more();
        for (channel, packet) in std::mem::take(&mut self.kept) {
            self.packet(io, channel, packet)?;
        }
        Ok(())
    }

    fn wwns(&self) -> Wwns {
        let Names { node, port, first } = self.names;
        let [first_node, second_node] = if first { [node, 0] } else { [0, node] };
        let [first_port, second_port] = if first { [port, 0] } else { [0, port] };
        Wwns {
            first_is_active: first.into(),
            reserved: [0; 3],
            first_port: first_port.into(),
            first_node: first_node.into(),
            second_port: second_port.into(),
            second_node: second_node.into(),
        }
    }

    /// Sends a packet that answers nothing, if the guest's driver is there to hear it.
    fn notify(&self, io: &mut Io<'_>, operation: u32) {
        let State::Ready(version) = self.state else { return };
        let len = HEADER + srb_len(version);
        let mut message = Message::new_zeroed();
        message.operation = operation.into();
        if operation == operation::FCHBA_DATA {
            let wwns = self.wwns();
            message.payload[..size_of::<Wwns>()].copy_from_slice(wwns.as_bytes());
        }
        io.send(0, 0, false, &message.as_bytes()[..len]);
    }
}

impl Device for Storvsp {
    fn offer(&self) -> Offer {
        let interface = match self.kind {
            Kind::Scsi => INTERFACE,
            Kind::Ide(_) => IDE,
            Kind::FibreChannel => FIBRE_CHANNEL,
        };
        Offer { flags: ENUMERATE_DEVICE_INTERFACE, ..Offer::new(interface, self.instance) }
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
            State::Ready(version) => srb_len(version),
            _ => SHORT_SRB,
        };
        let len = packet.data.len().min(size_of::<Message>());
        if len < HEADER + srb_len {
            return Err(Violation::new(format!("storvsc packet of {len} bytes")));
        }
        let mut message = Message::new_zeroed();
        message.as_mut_bytes()[..len].copy_from_slice(&packet.data[..len]);
        if let Some(capture) = &mut self.capture {
            capture.see(&message);
        }
        if self.keep > 0 && self.reads(&message) && packet.completion_requested {
            self.keep -= 1;
            io.count("kept", 1);
            io.keep(channel, &packet.ranges);
            self.kept.push((channel, packet));
            return Ok(());
        }
        let fault = self.faults.pick(&message);
        let asked = message.clone();
        let status = match &fault {
            Some(fault) if fault.instead => status::UNSUCCESSFUL,
            _ => self.answer(io, channel, &mut message, &packet.ranges)?,
        };
        message.operation = operation::COMPLETE_IO.into();
        message.flags = U32::ZERO;
        message.status = status.into();
        if let Some(fault) = fault {
            io.count("faults", 1);
            fault.apply(&asked, &mut message);
        }
        if !packet.completion_requested {
            return Ok(());
        }
        let id = packet.transaction_id;
        match self.chaos.as_mut().map(|chaos| (chaos.pick(&asked), chaos)) {
            Some((Some(what), chaos)) => {
                io.count(&what.name(), 1);
                io.count("mad", 1);
                go_mad(io, chaos, what, (channel, id), &mut message, len);
            }
            _ => io.complete(channel, id, &message.as_bytes()[..len]),
        }
        Ok(())
    }

    fn closed(&mut self, _io: &mut Io<'_>, channel: usize) {
        self.kept.retain(|kept| kept.0 != channel);
        if let Some(chaos) = &mut self.chaos {
            chaos.unanswered.retain(|(of, ..)| *of != channel);
        }
        if channel == 0 {
            self.keep = 0;
            self.state = State::Begin;
        }
    }

    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        self.control(io, words)
    }
}

/// Answers a command in a mad way; `len` bytes of `message` are the right answer.
fn go_mad(
    io: &mut Io<'_>,
    chaos: &mut Chaos,
    what: Madness,
    (channel, id): (usize, u64),
    message: &mut Message,
    len: usize,
) {
    let bytes = chaos.bytes(what, message, len);
    match what {
        Madness::Never => return chaos.unanswered.push((channel, id, bytes)),
        Madness::Late => return io.complete_later(channel, id, &bytes, chaos.ms()),
        Madness::Twice => io.complete(channel, id, &bytes),
        Madness::Again => io.complete_later(channel, id, &bytes, chaos.ms()),
        Madness::Unknown => io.complete(channel, chaos.id(id), &bytes),
        Madness::Event => {
            let event = chaos.event();
            io.send(channel, if event[0] & 1 == 0 { 0 } else { chaos.id(id) }, false, &event);
        }
        _ => {}
    }
    io.complete(channel, id, &bytes);
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

fn report_luns(
    luns: impl Iterator<Item = u8>,
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
    for lun in luns.filter(|_| cdb[2] != WELL_KNOWN_ONLY) {
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
mod tests;
