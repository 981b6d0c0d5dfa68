// SPDX-License-Identifier: GPL-2.0

//! Sample VMBus driver, for the echo device of the test host (`tests/host/engine/src/echo.rs`).
//!
//! Probe sends packets, half of them as requests, and waits until each has come back as it was.
//! With `flood=1` this goes on until the device is unbound. Packets that the host sends by itself
//! are sent back all the time. `/sys/kernel/debug/hvrust_sample-INSTANCE/figures` counts.

mod exchange;

use kernel::{
    debugfs,
    device::{
        Bound,
        Core, //
    },
    prelude::*,
    str::CString,
    sync::Arc,
    time::Delta,
    vmbus::{
        self,
        Guid,
        Sizes, //
    }, //
};

use exchange::Exchange;

/// Rings of 64 KiB, which the largest payload fills after a few packets.
const SIZES: Sizes = Sizes::new::<0x10000, 0x10000, { exchange::MAX_SIZE }>();

/// How long the host may take to echo what probe sends.
const PATIENCE: Delta = Delta::from_secs(60);

/// What is known of the devices of the table.
struct Info {
    name: &'static str,
}

kernel::vmbus_device_table!(
    VMBUS_TABLE,
    <Sample as vmbus::Driver>::IdInfo,
    [(
        vmbus::DeviceId::new(Guid::new(
            0xe5a3c1d7,
            0x6b0f,
            0x4e52,
            [0x9c, 0x84, 0x2f, 0x7d, 0x10, 0xb8, 0xa6, 0xe3],
        )),
        Info { name: "echo" }
    )]
);

/// The handler of the channel's packets.
struct Echo(Arc<Exchange>);

impl vmbus::Handler for Echo {
    fn receive(&self, sender: &vmbus::Sender, packet: vmbus::Packet<'_>) {
        self.0.receive(sender, packet);
    }

    fn idle(&self, sender: &vmbus::Sender) {
        self.0.pump(sender);
    }
}

struct Sample;

#[pin_data]
struct Data<'bound> {
    // Closed first: the counters rest after that.
    #[pin]
    session: vmbus::Session<'bound, Echo>,
    #[pin]
    figures: debugfs::File<Arc<Exchange>>,
    _dir: debugfs::Dir,
}

/// Sends the packets of probe and waits for them.
fn send_and_wait(
    dev: &vmbus::Device<Bound>,
    info: &Info,
    session: &vmbus::Session<'_, Echo>,
) -> Result {
    let exchange = &session.handler().0;

    exchange.start(
        u64::from(module_parameters::packets.value()),
        module_parameters::size.value(),
    )?;
    exchange.pump(session.sender());
    session
        .wait(PATIENCE, |echo| echo.0.is_settled())
        .inspect_err(|error| dev_info!(dev, "{}: no more answers: {:?}\n", info.name, error))?;

    let figures = exchange.figures();
    dev_info!(dev, "{}: all came back: {}\n", info.name, figures);
    if figures.wrong != 0 {
        return Err(EIO);
    }

    if module_parameters::flood.value() {
        exchange.start(u64::MAX, module_parameters::size.value())?;
        exchange.pump(session.sender());
    }
    Ok(())
}

impl vmbus::Driver for Sample {
    type IdInfo = Info;
    type Data<'bound> = Data<'bound>;

    const ID_TABLE: vmbus::IdTable<Self::IdInfo> = &VMBUS_TABLE;

    fn probe<'bound>(
        dev: &'bound vmbus::Device<Core<'_>>,
        info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        let dev: &'bound vmbus::Device<Bound> = dev;

        pin_init::pin_init_scope(move || {
            // Somebody else's device, bound by hand: whatever it says, we do not know its language.
            let exchange = Exchange::new(info.is_some())?;
            let name = CString::try_from_fmt(fmt!("hvrust_sample-{}", dev.instance()))?;
            let dir = debugfs::Dir::new(&name);

            match info {
                Some(info) => dev_info!(dev, "bound to {}\n", info.name),
                None => dev_info!(dev, "bound without an entry of the table\n"),
            }
            Ok(try_pin_init!(Data {
                figures <- dir.read_callback_file(c"figures", exchange.clone(), &|exchange, f| {
                    f.write_fmt(fmt!("{}\n", exchange.figures()))
                }),
                session <- dev.channel().open(SIZES, Ok::<_, Error>(Echo(exchange))),
                _dir: dir,
                _: {
                    if let Some(info) = info {
                        send_and_wait(dev, info, session.as_ref().get_ref())?;
                    }
                },
            }))
        })
    }

    fn unbind<'bound>(dev: &'bound vmbus::Device<Core<'_>>, this: Pin<&Data<'bound>>) {
        this.session.hang_up();
        dev_info!(dev, "unbound: {}\n", this.session.handler().0.figures());
    }
}

kernel::module_vmbus_driver! {
    type: Sample,
    name: "hvrust_sample",
    authors: ["The hvrust developers"],
    description: "Sample VMBus driver in Rust",
    license: "GPL",
    params: {
        packets: u32 {
            default: 64,
            description: "Packets that probe sends",
        },
        size: u32 {
            default: 16384,
            description: "Bytes of the largest one",
        },
        flood: bool {
            default: false,
            description: "Go on sending after probe",
        },
    },
}
