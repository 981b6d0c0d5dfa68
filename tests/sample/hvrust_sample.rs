// SPDX-License-Identifier: GPL-2.0

//! Sample VMBus driver, for the echo device of the test host (`tests/host/engine/src/echo.rs`).
//!
//! It is shaped like a network driver: a primary channel and sub-channels, each polled by a work
//! item with a budget, a receive buffer that the host fills, and requests in flight.
//!
//! Probe sends packets on every channel, half of them as requests, and waits until each has come
//! back as it was. With `reopen=N` it closes the channels N times amid that, and opens them again
//! with rings of other sizes. With `flood=1` sending goes on until the device is unbound. Packets
//! that the host sends by itself are answered all the time.
//! `/sys/kernel/debug/hvrust_sample-INSTANCE/figures` counts.

mod exchange;
mod line;

use kernel::{
    debugfs,
    device::{
        Bound,
        Core, //
    },
    prelude::*,
    str::CString,
    sync::Arc,
    vmbus::{
        self,
        Guid, //
    }, //
};

use exchange::Exchange;

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

/// Has the channels closed when probe fails or the device is unbound.
struct Opened(Arc<Exchange>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.close();
        self.0.free_buffer();
    }
}

struct Sample;

#[pin_data]
struct Data {
    // Closed first: the counters rest after that.
    opened: Opened,
    #[pin]
    figures: debugfs::File<Arc<Exchange>>,
    _dir: debugfs::Dir,
}

/// Opens the channels, sends the packets of probe and waits for them.
fn run(dev: &vmbus::Device<Bound>, info: &Info, exchange: &Arc<Exchange>) -> Result {
    let parameters = exchange::Parameters {
        packets: u64::from(module_parameters::packets.value()),
        size: usize::try_from(module_parameters::size.value())?,
        subs: module_parameters::subs.value(),
        sections: module_parameters::sections.value(),
    };

    exchange
        .exchange(dev, &parameters, exchange::PAGES)
        .inspect_err(|error| dev_info!(dev, "{}: no more answers: {:?}\n", info.name, error))?;
    dev_info!(
        dev,
        "{}: all came back: {}\n",
        info.name,
        exchange.figures()
    );

    for round in 0..module_parameters::reopen.value() {
        exchange
            .reopen(dev, &parameters, round)
            .inspect_err(|error| dev_info!(dev, "round {}: {:?}\n", round, error))?;
    }
    if exchange.figures().wrong != 0 {
        return Err(EIO);
    }
    if module_parameters::flood.value() {
        exchange.start(u64::MAX)?;
    }
    Ok(())
}

#[vtable]
impl vmbus::Driver for Sample {
    type IdInfo = Info;
    type Data<'bound> = Data;

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
                opened: Opened(exchange),
                _dir: dir,
                _: {
                    match info {
                        Some(info) => run(dev, info, &opened.0)?,
                        None => opened.0.open(dev, exchange::PAGES, 0)?,
                    }
                },
            }))
        })
    }

    fn unbind<'bound>(dev: &'bound vmbus::Device<Core<'_>>, this: Pin<&Data>) {
        this.opened.0.close();
        dev_info!(dev, "unbound: {}\n", this.opened.0.figures());
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
            description: "Packets that probe sends on each channel",
        },
        size: u32 {
            default: 16384,
            description: "Bytes of the largest one",
        },
        flood: bool {
            default: false,
            description: "Go on sending after probe",
        },
        subs: u32 {
            default: 0,
            description: "Sub-channels to ask for",
        },
        sections: u32 {
            default: 0,
            description: "Sections of the receive buffer, of 4 KiB each; 0: no buffer",
        },
        reopen: u32 {
            default: 0,
            description: "How often probe closes and opens the channels again",
        },
    },
}
