// SPDX-License-Identifier: GPL-2.0

//! Commands: from the mid layer into a ring, and back with the host's answer.

use kernel::{
    prelude::*,
    scsi::{
        self,
        Busy,
        Command,
        Device,
        Direction,
        Flag,
        Geometry,
        HostStatus,
        Level as ScsiLevel,
        Mapped,
        Setup,
        Status,
        TimeoutAction,
        FRAME, //
    },
    sync::{
        rcu,
        Arc, //
    },
    time::msecs_to_jiffies,
    vmbus::{
        self,
        Incoming,
        Shape, //
    }, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    channels::Session,
    controller::Controller,
    errors::{
        is_probing,
        Outcome, //
    },
    events::Address,
    log::log_limited,
    parameters::{
        logs,
        Level, //
    },
    protocol::{
        operation_of,
        Execute,
        Operation,
        Packet,
        Srb,
        Version, //
    },
    Kind, //
};

/// How long the host may take for a command until it is given as long again (ms).
const TIMEOUT: u32 = 180_000;

/// What the host has to answer.
pub(crate) enum Request {
    /// A command, whose data the host may use until then.
    Command(Mapped),
    /// A question with this number; see `handshake.rs`.
    Control(u32),
}

impl vmbus::Request for Request {
    fn cancelled(self) {
        match self {
            Self::Command(mapped) => fail(mapped.unmap(), HostStatus::NoConnect),
            // Who waits for it has been told by the bus.
            Self::Control(_) => {}
        }
    }
}

/// Completes a command of which nothing was done.
fn fail(command: Command, status: HostStatus) {
    let len = command.len();

    command.done(status.into(), len);
}

/// Fills the request block for a command in; none if the mid layer breaks its promises.
#[inline]
fn fill(srb: &mut Srb, command: &Command, port: u8) -> Option<()> {
    let device = command.device();

    if device.tagged_supported() {
        srb.flags |= Srb::QUEUE_ACTION_ENABLE | Srb::NO_QUEUE_FREEZE;
        srb.queue_tag = Srb::UNTAGGED;
        srb.queue_action = Srb::SIMPLE_TAG;
    }
    srb.data_in = match command.direction() {
        Direction::ToDevice => {
            srb.flags |= Srb::DATA_OUT;
            Srb::WRITE
        }
        Direction::FromDevice => {
            srb.flags |= Srb::DATA_IN;
            Srb::READ
        }
        Direction::None => Srb::NO_DATA,
        Direction::Bidirectional => return None,
    };

    srb.port = port;
    srb.path = u8::try_from(device.channel()).ok()?;
    srb.target = u8::try_from(device.id()).ok()?;
    srb.lun = u8::try_from(device.lun()).ok()?;

    let cdb_len = command.cdb_len();
    if usize::from(cdb_len) > Srb::MAX_CDB {
        return None;
    }
    // CAST: At most 16.
    srb.cdb_length = cdb_len as u8;
    *srb.cdb_or_sense.first_chunk_mut()? = *command.cdb_prefix::<{ Srb::MAX_CDB }>();
    srb.transfer_length = command.len();
    Some(())
}

impl Controller {
    /// Sends a command, on this channel.
    #[inline]
    fn send(&self, session: &Session, mapped: Mapped, more: bool) -> Result<(), (Error, Mapped)> {
        let command = mapped.command();
        let len = command.len();
        let offset = mapped.offset();
        let shape = Shape {
            ranges: usize::from(len != 0),
            // CAST: A number of pages; 0 without data, which have no offset.
            pages: (u64::from(offset) + u64::from(len)).div_ceil(FRAME) as usize,
            payload: Packet::SIZE,
        };

        let mut packet = match session.writer().reserve(shape) {
            Ok(packet) => packet,
            Err(error) => return Err((error, mapped)),
        };
        let built = if len == 0 {
            Ok(())
        } else {
            packet.range(offset, len, mapped.frames())
        }
        .and_then(|()| {
            // CAST: The number of the host, as far as it fits, is what C says here, too.
            let port = self.host().host_no() as u8;
            let mut execute = Execute::new();

            fill(&mut execute.srb, command, port).ok_or(EINVAL)?;
            packet.payload(execute.as_bytes())
        });
        if let Err(error) = built {
            drop(packet);
            return Err((error, mapped));
        }
        packet.commit(Request::Command(mapped), more);
        Ok(())
    }

    /// Takes a command: sends it, completes it, or hands it back since there is no room now.
    #[inline]
    fn submit(
        &self,
        session: &Session,
        command: Command,
        more: bool,
    ) -> Result<(), (Busy, Command)> {
        let mapped = match command.map() {
            Ok(mapped) => mapped,
            Err((_, command)) => return Err((Busy::Host, command)),
        };

        self.send(session, mapped, more).or_else(|(error, mapped)| {
            let command = mapped.unmap();
            let status = match error {
                // Other disks have what is wanted: none of this one's commands need be under way.
                EAGAIN => return Err((Busy::Host, command)),
                ENODEV | EIO => HostStatus::NoConnect,
                _ => HostStatus::Error,
            };

            fail(command, status);
            Ok(())
        })
    }

    /// Takes a packet of the host. Softirq context.
    #[inline]
    pub(crate) fn receive(self: &Arc<Self>, session: &Session, packet: Incoming<'_, Request>) {
        match packet {
            Incoming::Completion {
                request: Request::Command(mapped),
                payload,
            } => self.complete(mapped.unmap(), payload),
            Incoming::Completion {
                request: Request::Control(number),
                payload,
            } => {
                self.control().completed(number, payload);
                session.notify();
            }
            Incoming::Data { id: 0, payload } => self.event(payload),
            Incoming::Owed { owed, payload } => {
                self.event(payload);
                // There is nothing to say; a host that wanted to hear it does not mind.
                let answer = Packet::new(Operation::CompleteIo);
                let _ = owed.complete(session.writer(), answer.as_bytes(), false);
            }
            Incoming::Data { .. } | Incoming::Other { .. } | Incoming::TransferPages { .. } => {
                log_limited!(Level::Error, self.device(), "a packet of an unknown kind\n");
            }
        }
    }

    /// Something that the host says by itself.
    fn event(self: &Arc<Self>, payload: &[u8]) {
        const REMOVE_DEVICE: u32 = Operation::RemoveDevice as u32;
        const ENUMERATE_BUS: u32 = Operation::EnumerateBus as u32;
        const FCHBA_DATA: u32 = Operation::FchbaData as u32;

        match (operation_of(payload), Packet::read_from_prefix(payload)) {
            (Some(REMOVE_DEVICE | ENUMERATE_BUS), _) => self.disks_changed(),
            (Some(FCHBA_DATA), Ok((packet, _))) if self.kind() == Kind::FibreChannel => {
                // A whole packet has them.
                let _ = self.rename(&packet);
            }
            (operation, _) => log_limited!(
                Level::Error,
                self.device(),
                "not an event: operation {:?}, {} bytes\n",
                operation,
                payload.len()
            ),
        }
    }

    /// The host has answered a command.
    #[inline]
    fn complete(self: &Arc<Self>, command: Command, payload: &[u8]) {
        // Payloads begin where a word does.
        match Execute::ref_from_prefix(payload) {
            Ok((answer, _)) if answer.operation == Operation::CompleteIo as u32 => {
                if answer.srb.is_success() {
                    let residue = command.len().saturating_sub(answer.srb.transfer_length);

                    command.done(Status::OK, residue);
                } else {
                    self.complete_failed(command, answer);
                }
            }
            _ => self.complete_unknown(command, payload),
        }
    }

    /// The host has answered a command, but not simply that it was done.
    #[cold]
    fn complete_failed(self: &Arc<Self>, mut command: Command, answer: &Execute) {
        let opcode = command.opcode();
        let len = command.len();
        let outcome = Outcome::new(&answer.srb, opcode, len, self.kind());

        if outcome.failed {
            self.say(&command, opcode, answer, &outcome);
            command.set_sense(outcome.sense);
            if let Some(action) = outcome.action {
                let device = command.device();
                let address = Address {
                    channel: device.channel(),
                    id: device.id(),
                    lun: device.lun(),
                };
                self.device_changed(address, action);
            }
        }
        command.done(outcome.status, len.saturating_sub(outcome.transferred));
    }

    /// The host has answered a command, and nobody knows what.
    #[cold]
    fn complete_unknown(&self, command: Command, payload: &[u8]) {
        log_limited!(
            Level::Error,
            self.device(),
            "no answer to a command: operation {:?}, {} bytes\n",
            operation_of(payload),
            payload.len()
        );
        fail(command, HostStatus::Error);
    }

    #[cold]
    fn say(&self, command: &Command, opcode: u8, answer: &Execute, outcome: &Outcome<'_>) {
        let level = if is_probing(opcode) {
            Level::Warn
        } else {
            Level::Error
        };

        log_limited!(
            level,
            self.device(),
            "tag#{} cmd {:#x} status: scsi {:#x} srb {:#x} host {:#x}\n",
            command.tag(),
            opcode,
            answer.srb.scsi_status,
            answer.srb.srb_status,
            answer.status
        );
        if let (true, Some(sense)) = (logs(Level::Warn), outcome.meaning) {
            log_limited!(
                Level::Warn,
                self.device(),
                "tag#{} sense key {:#x}, code {:#04x}, qualifier {:#04x}\n",
                command.tag(),
                sense.key,
                sense.asc,
                sense.ascq
            );
        }
    }
}

#[vtable]
impl scsi::Template for Controller {
    const NAME: &'static CStr = c"storvsc_host_t";
    const PROC_NAME: &'static CStr = c"storvsc_host";
    const CMD_PER_LUN: i16 = 2048;
    // CAST: 4096.
    const VIRT_BOUNDARY: usize = FRAME as usize;
    const NO_WRITE_SAME: bool = true;
    const TRACK_QUEUE_DEPTH: bool = true;

    #[inline]
    fn queuecommand(&self, command: Command) -> Result<(), (Busy, Command)> {
        let guard = rcu::read_lock();
        let Some(channels) = self.channels().load(&guard) else {
            if self.is_gone() {
                fail(command, HostStatus::NoConnect);
                return Ok(());
            }
            return Err((Busy::Host, command));
        };
        let Some((session, home)) =
            channels.select(command.hw_queue(), self.settings().low_water, &guard)
        else {
            fail(command, HostStatus::NoConnect);
            return Ok(());
        };

        // The signal to the host can wait for those that follow only if they will send it, or
        // `commit_rqs` does: on the channel of their queue.
        let at_home = core::ptr::eq(session, home);
        let last = command.is_last();
        let result = self.submit(session, command, at_home && !last);
        // Nothing is owed if the command itself took the signal there: that is quickly seen.
        if last {
            home.writer().flush();
        }
        result
    }

    fn commit_rqs(&self, hw_queue: usize) {
        let guard = rcu::read_lock();
        let channels = self.channels().load(&guard);

        if let Some(home) = channels
            .as_deref()
            .and_then(|channels| channels.of(hw_queue))
        {
            home.writer().flush();
        }
    }

    fn eh_timed_out(&self) -> TimeoutAction {
        // The host answers, sooner or later; or it takes the controller back, which ends all.
        TimeoutAction::ResetTimer
    }

    fn eh_host_reset(&self) -> Result {
        self.reset()
    }

    fn sdev_init(&self, dev: &mut Setup<'_>) -> Result {
        // The disks conform to newer standards than they say.
        dev.set_flags(Flag::ReportLun2 | Flag::TryVpdPages);
        Ok(())
    }

    fn sdev_configure(&self, dev: &mut Setup<'_>) -> Result {
        let version = self.version();
        let is_virtual = dev.vendor().starts_with(b"Msft");

        dev.set_timeout(msecs_to_jiffies(TIMEOUT));
        dev.set_no_report_opcodes(true);
        if is_virtual && version == Version::V6_0 {
            dev.set_level(ScsiLevel::Spc3);
        }
        dev.set_no_write_same(!(is_virtual && version >= Version::V6_2));
        Ok(())
    }

    fn change_queue_depth(&self, dev: &Device, depth: u32) -> Result<u32> {
        Ok(dev.set_queue_depth(depth.min(self.host().can_queue())))
    }

    fn bios_param(sectors: u64) -> Geometry {
        const HEADS: u32 = 255;
        const SECTORS: u32 = 63;
        /// The largest number that there is in old partition tables.
        const MAX: u32 = 0xffff;

        Geometry {
            heads: HEADS,
            sectors: SECTORS,
            cylinders: u32::try_from(sectors / u64::from(HEADS * SECTORS)).unwrap_or(MAX),
        }
    }
}
