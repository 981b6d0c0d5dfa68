// SPDX-License-Identifier: GPL-2.0

//! The bus of Hyper-V's synthetic devices.
//!
//! The host offers channels, which are pairs of rings in the guest's memory; a channel, or one with
//! its sub-channels, is a device, for which a driver is found as on any bus.
//!
//! | file | what |
//! |---|---|
//! | `connection.rs`, `request.rs`, `message.rs` | talking with the host about channels |
//! | `offer.rs`, `relid.rs`, `channel.rs`, `lifecycle.rs` | channels that come and go |
//! | `open.rs`, `gpadl.rs`, `ring.rs`, `requestor.rs` | channels that are used |
//! | `affinity.rs` | which processor gets whose interrupts |
//! | `platform.rs`, `mmio.rs`, `power.rs` | where the bus hangs, and how it sleeps |
//! | `service.rs`, `debugfs.rs`, `trace.rs`, `log.rs` | small things |
//! | `hw/` | hypercalls, SynIC, interrupts: the only code that knows the hypervisor |
//! | `sys/` | the driver core and sysfs |
//! | `abi/`, `exports/` | what C drivers see; `parameters.c`, `trace.c` what Rust cannot say |
//!
//! C source: [`drivers/hv`](srctree/drivers/hv)

mod abi;
mod affinity;
mod channel;
mod connection;
mod debugfs;
mod gpadl;
mod hw;
mod lifecycle;
mod log;
mod message;
mod mmio;
mod offer;
mod open;
mod platform;
mod power;
mod relid;
mod request;
mod requestor;
mod ring;
mod service;
mod sys;
mod trace;

use connection::{
    Connection,
    Published, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        rcu,
        Arc, //
    }, //
};

module! {
    type: Module,
    name: "hv_vmbus",
    authors: ["The hvrust developers"],
    description: "Microsoft Hyper-V VMBus driver",
    license: "GPL",
    initcall: subsys,
}

/// The module.
struct Module {
    /// Probes the device that says that there is a bus, and with it everything else. None in a root
    /// partition, which has no host.
    _platform: Option<platform::Registration>,
    _after: Callbacks,
}

/// Waits, when it is dropped, for the callbacks that free channels: they are code of this module.
/// Statics, which nothing drops, are empty then.
struct Callbacks;

impl Drop for Callbacks {
    fn drop(&mut self) {
        rcu::rcu_barrier();
        abi::channel::forget();
    }
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: This is the first thing that the module does, and it does it once.
        unsafe { relid::init() };
        // SAFETY: As above.
        unsafe { abi::channel::init() };

        // First, so that it is there also if the rest fails.
        let after = Callbacks;
        let platform = if platform::is_needed()? {
            // SAFETY: The value lives in the module until its exit, and is dropped there.
            Some(unsafe { platform::Registration::new(module) }?)
        } else {
            None
        };
        Ok(Self {
            _platform: platform,
            _after: after,
        })
    }
}

/// Everything that a bus with a connection consists of, in the order in which it goes.
struct Connected {
    _kernel: hw::crash::Registration,
    _connection: Goodbye,
    _synic: hw::synic::Synic,
    _interrupt: hw::interrupt::Registration,
    _bus: Devices,
    _published: Published,
    _pages: abi::pages::Pages,
}

/// Tells the host goodbye when it is dropped.
struct Goodbye(Arc<Connection>);

impl Drop for Goodbye {
    fn drop(&mut self) {
        self.0.unload();
        self.0.settle();
        if self.0.is_unsure() {
            abi::pages::keep();
        }
    }
}

/// The bus type; when it is dropped, its devices are before it.
struct Devices {
    _bus: sys::bus::Registration,
}

impl Drop for Devices {
    fn drop(&mut self) {
        let mut all = KVec::<ARef<channel::Channel>>::new();

        for channel in relid::channels().iter() {
            // Nothing is left that could be done about it.
            let _ = all.push(channel.clone(), GFP_KERNEL);
        }
        // Sub-channels first, as a driver would.
        for channel in all.iter().rev() {
            channel.silence();
            channel.set_rescinded();
            if channel.primary().is_some() {
                lifecycle::finish(channel);
            } else {
                lifecycle::unregister(channel);
            }
        }
        relid::forget();
    }
}

/// Connects with the host. Called once, by the probe of the platform device. May sleep.
fn connect() -> Result<Connected> {
    hw::init()?;
    let bus = Devices {
        _bus: sys::bus::Registration::new()?,
    };
    let pages = abi::pages::Pages::new()?;
    let published = Published::new(Connection::new()?);
    let interrupt = hw::interrupt::Registration::new()?;
    let synic = hw::synic::Synic::new()?;
    let connection = Goodbye(connection::current().ok_or(ENODEV)?);

    connection.0.connect()?;
    let kernel = hw::crash::Registration::new()?;
    connection.0.request_offers()?;

    Ok(Connected {
        _kernel: kernel,
        _connection: connection,
        _interrupt: interrupt,
        _bus: bus,
        _synic: synic,
        _published: published,
        _pages: pages,
    })
}
