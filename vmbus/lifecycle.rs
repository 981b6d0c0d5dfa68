// SPDX-License-Identifier: GPL-2.0

//! How a channel becomes a device or a sub-channel, and how it goes.
//!
//! Both run as work items, because both wait for drivers, which in turn wait for the host. What
//! is removed runs concurrently: a driver that takes its time holds up nobody else.

use crate::{
    abi::fields::State,
    affinity,
    channel::{
        Channel,
        Life,
        Stage,
        NO_RELID, //
    },
    connection::{
        self,
        Connection, //
    },
    log::warn_limited,
    message::Rescind,
    platform,
    relid,
    request::DEADLINE,
    sys::{
        self,
        device::Device, //
    },
    trace, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    workqueue::WorkItem, //
};

/// How long to sleep between two looks at a channel.
const PAUSE: Delta = Delta::from_millis(1);

/// Lets a channel that was entered in the table become usable.
pub(crate) fn add(connection: &Arc<Connection>, channel: ARef<Channel>) {
    let queue = if channel.primary().is_none() {
        connection.primaries()
    } else {
        connection.subs()
    };

    // It is queued once in its life: a device that came back after a hibernation is there.
    if channel.life.lock().stage == Stage::Offered {
        let _ = queue.enqueue::<_, 1>(channel);
    }
}

impl WorkItem<1> for Channel {
    type Pointer = ARef<Channel>;

    fn run(this: ARef<Channel>) {
        let mut life = this.life.lock();
        life.stage = Stage::Adding;
        let rescinded = life.remove;
        drop(life);

        let added = if rescinded {
            Err(ENODEV)
        } else if this.primary().is_none() {
            add_device(&this)
        } else {
            add_sub_channel(&this)
        };
        this.set_probe_done();

        match added {
            Ok(()) => {
                let mut life = this.life.lock();
                if life.remove {
                    remove(&this, &mut life);
                } else {
                    life.stage = Stage::Ready;
                }
            }
            Err(error) => {
                if !rescinded {
                    warn_limited!("relid {} cannot be used: {:?}\n", this.relid(), error);
                }
                finish(&this);
            }
        }
    }
}

/// Makes the device of a primary channel; a driver for it is probed.
fn add_device(channel: &ARef<Channel>) -> Result {
    let device = Device::create(channel.clone(), platform::root())?;

    channel.life.lock().device = Some(device.clone());
    device.register()
}

/// Shows a sub-channel, and tells the driver of its primary.
fn add_sub_channel(channel: &ARef<Channel>) -> Result {
    let primary = channel.primary().ok_or(EINVAL)?;
    let device = primary.life.lock().device.clone().ok_or(ENODEV)?;

    sys::kobject::add(&device, channel)?;
    channel.announce();
    Ok(())
}

/// The host takes a channel back. Called by the work item that handles control messages. May sleep,
/// but waits for no driver.
pub(crate) fn rescinded(connection: &Arc<Connection>, message: &Rescind) {
    trace::on_rescind(message);

    let Some(channel) = relid::channels().get(message.relid).cloned() else {
        warn_limited!("relid {} rescinded, which was not offered\n", message.relid);
        return;
    };
    rescind(connection, &channel);
}

/// Takes a channel from its driver: as the host did, or as if it did.
pub(crate) fn rescind(connection: &Connection, channel: &ARef<Channel>) {
    if channel.is_rescinded() {
        warn_limited!("relid {} rescinded twice\n", channel.relid());
        return;
    }
    // No callback of the driver runs any more when it can see that the channel is gone.
    channel.silence();
    channel.set_rescinded();
    connection.requests().rescinded(channel);

    let mut life = channel.life.lock();
    match life.stage {
        Stage::Offered | Stage::Adding => life.remove = true,
        Stage::Ready => remove(channel, &mut life),
        Stage::Removing | Stage::Gone => {}
    }
}

/// Queues the removal.
fn remove(channel: &ARef<Channel>, life: &mut Life) {
    life.stage = Stage::Removing;
    if let Some(connection) = connection::current() {
        let _ = connection.removals().enqueue::<_, 2>(channel.clone());
    }
}

impl WorkItem<2> for Channel {
    type Pointer = ARef<Channel>;

    fn run(this: ARef<Channel>) {
        if this.primary().is_some() {
            // An open one goes when its driver closes it: see `closed()`.
            let open = this.link.lock().is_connected();
            if !open {
                finish(&this);
            }
        } else if !this.tell_rescind() {
            unregister(&this);
        }
    }
}

/// A sub-channel was closed by its driver: forgets it if the host has taken it back. May sleep.
///
/// One that is still being added, or whose removal is queued, is forgotten at the end of that.
pub(crate) fn closed(channel: &ARef<Channel>) {
    let removing = channel.life.lock().stage == Stage::Removing;

    if removing {
        finish(channel);
    }
}

/// Unregisters the device of a primary channel, which unbinds its driver, and forgets the channel.
///
/// May sleep for long.
pub(crate) fn unregister(channel: &ARef<Channel>) {
    let device = channel.life.lock().device.clone();

    if let Some(device) = device {
        device.unregister();
    }
    finish(channel);
}

/// Forgets a channel that nobody uses any more, and lets the host use its relative id again.
///
/// May sleep. Does nothing the second time.
pub(crate) fn finish(channel: &ARef<Channel>) {
    let mut life = channel.life.lock();
    if life.stage == Stage::Gone {
        return;
    }
    life.stage = Stage::Gone;
    let device = life.device.take();
    drop(life);

    // Only who is left in the table needs the relative id.
    channel.silence();
    channel.kill_tasklet();
    let relid = channel.relid();
    let reference = {
        let _cpus = crate::hw::cpus_read_lock();
        let mut channels = relid::channels();
        let reference = channels.remove(channel);

        affinity::release(channel, &channels);
        reference
    };
    channel.unlink_from_primary();
    sys::kobject::remove(channel);
    channel.set_state(State::Offered);
    if let Some(connection) = connection::current() {
        if relid != NO_RELID {
            connection.release_relid(relid);
        }
    }
    drop(device);
    drop(reference);
}

/// Waits until a channel was announced to its driver and taken back by the host, and unregisters
/// its device then: what the end of a Hyper-V socket does, which the host confirms by a rescind.
///
/// May sleep; not longer than the host may take to answer. Signals do not shorten it: whoever
/// closes a socket may have some pending.
pub(crate) fn unregister_when_rescinded(channel: &ARef<Channel>) {
    let began = Instant::<Monotonic>::now();

    while !matches!(channel.life.lock().stage, Stage::Removing | Stage::Gone) {
        if began.elapsed() > Delta::from_millis(DEADLINE.into()) {
            warn_limited!("relid {} is not rescinded\n", channel.relid());
            break;
        }
        fsleep(PAUSE);
    }
    unregister(channel);
}
