// SPDX-License-Identifier: GPL-2.0

//! Hibernation.
//!
//! First the drivers suspend their devices, which closes the channels; the host takes back those
//! that it offered after an open, the sub-channels. Then the bus itself is stopped: the host
//! forgets the connection, and with it the relative ids. Afterwards, in the same kernel or in the
//! one that was loaded from the image, the bus connects with the same version of the protocol, and
//! the offers tell the new relative ids of the devices, which are known by their instance. At last
//! the drivers resume their devices.
//!
//! All of this happens while the interrupts of other devices are off, because PCI devices that are
//! passed through want their bus to work then. VMBus's own is no interrupt of a device. Suspend to
//! idle changes nothing: the devices have to wake the virtual machine.
//!
//! C source: `drivers/hv/vmbus_drv.c`, `vmbus_pm` and `vmbus_bus_pm`.

use crate::{
    abi::plat::DevicePm,
    channel::{
        Channel,
        Stage,
        NO_RELID, //
    },
    connection::{
        self,
        Connection, //
    },
    lifecycle,
    relid,
    request::DEADLINE, //
};
use kernel::{
    device::Device,
    pm,
    prelude::*,
    sync::aref::ARef,
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    vmbus::Guid, //
};

/// How long to sleep between two looks at a channel.
const PAUSE: Delta = Delta::from_millis(10);

/// What the bus type does with a device.
pub(crate) static DEVICE_PM: pm::Ops = pm::Ops::hibernate_noirq::<DevicePm>();

/// What the platform driver does with the bus.
pub(crate) static BUS_PM: pm::Ops = pm::Ops::hibernate_noirq::<BusPm>();

struct BusPm;

#[vtable]
impl pm::Hibernate for BusPm {
    fn quiesce(_dev: &Device) -> Result {
        let connection = connection::current().ok_or(ENODEV)?;

        connection.ignore_offers(true);
        let result = suspend(&connection);
        if result.is_err() {
            // Power management does not restart a device that refused.
            connection.ignore_offers(false);
        }
        result
    }

    fn restart(_dev: &Device) -> Result {
        let connection = connection::current().ok_or(ENODEV)?;

        connection.ignore_offers(false);
        connection.reconnect()?;
        connection.request_offers()?;

        for channel in missing()? {
            pr_err!(
                "channel {}/{} not present after resume.\n",
                Guid::from_raw(channel.class()),
                Guid::from_raw(channel.instance())
            );
        }
        Ok(())
    }

    /// Takes the devices that are gone from their drivers.
    ///
    /// That must not happen while drivers resume devices, so it is done at the very end.
    fn complete(_dev: &Device) {
        let Some(connection) = connection::current() else {
            return;
        };

        match missing() {
            Ok(missing) => {
                for channel in missing {
                    lifecycle::rescind(&connection, &channel);
                }
            }
            Err(_) => pr_warn!("no memory to remove devices that are gone\n"),
        }
    }
}

/// Stops the bus, whose devices were suspended.
fn suspend(connection: &Connection) -> Result {
    // What came before offers were ignored is finished.
    connection.settle();

    // A socket does not survive: the host would not know the other end any more. Its owner in user
    // space may keep it for as long as it likes, rescinded.
    for channel in select(|channel| channel.is_hvsock() && !channel.is_rescinded())? {
        lifecycle::rescind(connection, &channel);
    }
    connection.settle();

    // The host takes back the sub-channels, now that they are closed. If they stayed, those that
    // it will offer later could not be told from them.
    let began = Instant::now();
    for channel in select(|channel| channel.primary().is_some())? {
        wait_until_gone(&channel, began).inspect_err(|_| {
            pr_err!("sub-channel {} was not rescinded\n", channel.relid());
        })?;
    }
    connection.settle();

    let mut channels = relid::channels();
    for channel in select_from(&channels, |_| true)? {
        channels.unmap(&channel);
        channel.set_relid(NO_RELID);
    }
    drop(channels);

    connection.unload();
    Ok(())
}

/// Devices that the host has not offered again.
fn missing() -> Result<KVec<ARef<Channel>>> {
    select(|channel| channel.relid() == NO_RELID && !channel.is_hvsock() && !channel.is_rescinded())
}

/// The channels that `wanted` says yes to. May sleep.
fn select(wanted: impl Fn(&Channel) -> bool) -> Result<KVec<ARef<Channel>>> {
    select_from(&relid::channels(), wanted)
}

fn select_from(
    channels: &relid::Channels,
    wanted: impl Fn(&Channel) -> bool,
) -> Result<KVec<ARef<Channel>>> {
    let mut selected = KVec::new();

    for channel in channels.iter().filter(|channel| wanted(channel)) {
        selected.push(channel.clone(), GFP_KERNEL)?;
    }
    Ok(selected)
}

/// Waits until nobody uses the channel any more. Fails with `ETIMEDOUT` at the deadline.
fn wait_until_gone(channel: &Channel, began: Instant<Monotonic>) -> Result {
    // Whoever makes the system hibernate may be impatient, but signals must not shorten this.
    while channel.life.lock().stage != Stage::Gone {
        if began.elapsed() > Delta::from_millis(DEADLINE.into()) {
            return Err(ETIMEDOUT);
        }
        fsleep(PAUSE);
    }
    Ok(())
}
