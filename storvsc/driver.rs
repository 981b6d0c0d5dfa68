// SPDX-License-Identifier: GPL-2.0

//! Controllers come and go.

use kernel::{
    cpu::num_online_cpus,
    device::{
        Bound,
        Core, //
    },
    prelude::*,
    scsi,
    sync::Arc,
    vmbus::{
        self,
        Guid,
        ProbeType, //
    }, //
};

use crate::{
    controller::Controller,
    events::Watch,
    handshake::Terms,
    parameters::{
        hw_queues,
        Settings, //
    },
    protocol::Srb,
    Kind, //
};

const FIBRE_CHANNEL: Guid = Guid::new(
    0x2f9bcc4a,
    0x0069,
    0x4af3,
    [0xb7, 0x6b, 0x6f, 0xd0, 0xbe, 0x52, 0x8c, 0xda],
);

kernel::vmbus_device_table!(
    VMBUS_TABLE,
    <Storvsc as vmbus::Driver>::IdInfo,
    [
        (
            vmbus::DeviceId::new(Guid::new(
                0xba6163d9,
                0x04a1,
                0x4d29,
                [0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f],
            )),
            Kind::Scsi
        ),
        (
            vmbus::DeviceId::new(Guid::new(
                0x32412632,
                0x86cb,
                0x44a2,
                [0x9b, 0x5c, 0x50, 0xd1, 0x41, 0x73, 0x54, 0xf5],
            )),
            Kind::Ide
        ),
        (vmbus::DeviceId::new(FIBRE_CHANNEL), Kind::FibreChannel)
    ]
);

/// Bytes of a sector, for the block layer.
const SECTOR: u32 = 512;

/// Most bytes of a command's data on Fibre Channel.
const FC_MAX_TRANSFER: u32 = 512 * 1024;

/// Slots for questions to the host, besides those for commands.
const QUESTIONS: u32 = 8;

/// Most commands that one channel can have under way.
const MAX_REQUESTS: u32 = 2048;

impl Kind {
    /// Channels, targets on each, logical units of each.
    fn addresses(self) -> (u32, u32, u64) {
        match self {
            Self::Scsi => (8, 2, 255),
            Self::Ide => (1, 1, 64),
            Self::FibreChannel => (8, 128, 255),
        }
    }
}

/// The driver.
pub(crate) struct Storvsc;

/// A bound controller. What is left to be done at its end is done in the order of the fields.
pub(crate) struct Data {
    _registration: scsi::Registration<Controller>,
    connection: Connection,
}

/// A controller with channels, which are closed at the end, and with work, which is done then.
struct Connection(Arc<Controller>);

impl Connection {
    /// The device is being unbound.
    fn leave(&self) {
        match self.0.primary() {
            Some(primary) if !primary.is_rescinded() => self.0.watch(true),
            // What is under way will never be answered, and what waits for a channel, since the
            // system hibernates, will never get one.
            _ => self.0.close(),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.unwatch();
        self.0.close();
        self.0.stop_events();
    }
}

/// Sets the limits that the host has told us.
fn set_limits(
    host: &mut scsi::NewHost<Controller>,
    kind: Kind,
    settings: &Settings,
    terms: &Terms,
) -> Result {
    // CAST: 4096.
    const FRAME: u32 = scsi::FRAME as u32;

    let most = match kind {
        Kind::FibreChannel => FC_MAX_TRANSFER,
        Kind::Scsi | Kind::Ide => u32::MAX,
    };
    let pages = (terms.max_transfer.min(most) / FRAME).min(settings.max_pages());
    if pages == 0 {
        return Err(EINVAL);
    }

    // A page more, if the data do not begin with one.
    host.set_transfer_limits(
        pages * (FRAME / SECTOR),
        u16::try_from(pages + 1).unwrap_or(u16::MAX),
    );
    Ok(())
}

/// Makes a controller of a device: its disks are there when this returns.
fn bring_up(dev: &vmbus::Device<Bound>, kind: Kind) -> Result<Data> {
    let settings = Settings::new()?;
    let mut host = scsi::NewHost::<Controller>::new()?;
    let queues = match kind {
        Kind::Ide => 1,
        Kind::Scsi | Kind::FibreChannel => hw_queues(),
    };
    let can_queue = settings.can_queue(num_online_cpus(), kind != Kind::Ide);
    let requests = can_queue.saturating_mul(queues).min(MAX_REQUESTS) + QUESTIONS;

    let connection = Connection(Controller::new(
        dev,
        &host,
        kind,
        settings,
        usize::try_from(requests)?,
    )?);
    let controller = &connection.0;
    let terms = controller.connect(dev.channel())?;

    let (channels, targets, luns) = kind.addresses();
    host.set_addresses(channels, targets, luns);
    // CAST: 16.
    host.set_max_cmd_len(Srb::MAX_CDB as u16);
    host.set_can_queue(can_queue);
    host.set_nr_hw_queues(queues);
    #[cfg(CONFIG_SCSI_FC_ATTRS)]
    if let Some(names) = controller.names() {
        host.set_fc(names.clone())?;
    }
    set_limits(&mut host, kind, &settings, &terms).inspect_err(|_| {
        dev_err!(
            dev,
            "the host allows transfers of {} bytes\n",
            terms.max_transfer
        )
    })?;

    // From here on tasks wait for commands.
    let watch = Watch::new(controller);
    let registration = host.register(dev.as_ref(), controller.clone())?;
    match kind {
        Kind::Scsi | Kind::FibreChannel => registration.scan(),
        Kind::Ide => {
            // The host says in the name of the device which of the disks it stands for.
            let [_, _, _, _, low, high, ..] = *dev.instance().as_bytes();

            registration.add_device(0, u16::from_le_bytes([low, high]).into(), 0)?;
        }
    }
    drop(watch);

    Ok(Data {
        _registration: registration,
        connection,
    })
}

#[vtable]
impl vmbus::Driver for Storvsc {
    type IdInfo = Kind;
    type Data<'bound> = Data;

    const ID_TABLE: vmbus::IdTable<Self::IdInfo> = &VMBUS_TABLE;
    const PROBE: ProbeType = ProbeType::PreferAsynchronous;

    fn probe<'bound>(
        dev: &'bound vmbus::Device<Core<'_>>,
        info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Data, Error> + 'bound {
        let dev: &'bound vmbus::Device<Bound> = dev;

        pin_init::pin_init_scope(move || {
            let kind = match info {
                Some(kind) => *kind,
                // Bound by hand.
                None if dev.class() == FIBRE_CHANNEL => Kind::FibreChannel,
                None => Kind::Scsi,
            };

            let data = bring_up(dev, kind)?;
            Ok(Ok::<_, Error>(data))
        })
    }

    fn unbind<'bound>(_dev: &'bound vmbus::Device<Core<'_>>, this: Pin<&Data>) {
        this.get_ref().connection.leave();
    }

    fn suspend<'bound>(_dev: &'bound vmbus::Device<Core<'_>>, this: Pin<&Data>) -> Result {
        this.connection.0.suspend()
    }

    fn resume<'bound>(dev: &'bound vmbus::Device<Core<'_>>, this: Pin<&Data>) -> Result {
        let dev: &vmbus::Device<Bound> = dev;

        let controller = &this.connection.0;

        // Its disks were told so.
        if controller.is_gone() {
            return Err(ENODEV);
        }
        // Commands that wait must not wait for ever.
        controller
            .connect(dev.channel())
            .inspect_err(|_| controller.close())?;
        Ok(())
    }
}
