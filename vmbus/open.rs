// SPDX-License-Identifier: GPL-2.0

//! Opening and closing channels, and where their interrupts go.
//!
//! C source: [`drivers/hv/channel.c`](srctree/drivers/hv/channel.c)

use crate::{
    abi::fields::{
        Callback,
        State, //
    },
    affinity,
    channel::{
        Channel,
        NO_RELID, //
    },
    connection::{
        self,
        Connection,
        V4_1,
        V5_3, //
    },
    gpadl::{
        self,
        Failed,
        Unconfirmed, //
    },
    hw,
    lifecycle,
    log::warn_limited,
    message::{
        self,
        kind,
        Header, //
    },
    relid,
    request::{
        Answer,
        NoAnswer,
        Subject, //
    },
    requestor,
    ring,
    trace, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// Bytes that a driver may hand to the host's side of the channel.
pub(crate) const USER_DATA: usize = bindings::MAX_USER_DEFINED_BYTES as usize;

/// The rings of a channel, and what the host knows of them.
pub(crate) enum Link {
    /// There are none.
    None,
    /// They are there, and the host does not know them.
    Allocated(ring::Memory),
    /// The host has them.
    Connected { memory: ring::Memory, gpadl: u32 },
}

impl Link {
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self, Link::Connected { .. })
    }

    /// Whether the rings are one block of memory.
    fn is_contiguous(&self) -> bool {
        match self {
            Link::None => false,
            Link::Allocated(memory) | Link::Connected { memory, .. } => memory.is_contiguous(),
        }
    }
}

/// Allocates the rings of a channel. May sleep.
///
/// Returns [`EINVAL`] if the sizes are not whole pages, [`EBUSY`] if there are rings already, and
/// [`ENOMEM`].
pub(crate) fn allocate(channel: &Channel, send: usize, receive: usize, contiguous: bool) -> Result {
    // What maps the rings of a primary channel maps those of its sub-channels as well.
    let contiguous = contiguous
        || channel
            .primary()
            .is_some_and(|primary| primary.link.lock().is_contiguous());
    let mut link = channel.link.lock();

    if !matches!(*link, Link::None) {
        return Err(EBUSY);
    }
    *link = Link::Allocated(ring::Memory::new(channel, send, receive, contiguous)?);
    Ok(())
}

/// Frees the rings of a channel that is not connected. May sleep.
pub(crate) fn free(channel: &Channel) {
    let mut link = channel.link.lock();

    if let Link::Allocated(_) = *link {
        if let Link::Allocated(mut memory) = core::mem::replace(&mut *link, Link::None) {
            memory.detach(channel);
        }
    }
}

/// Gives the rings of a channel to the host, whose packets `callback` gets from then on. May sleep.
///
/// Returns [`EINVAL`] if there are no rings or the channel is open, [`ENODEV`] if it is rescinded
/// or was not offered again, [`EAGAIN`] if the host refuses to open it and [`EDQUOT`] if it refuses
/// the rings, and [`ETIMEDOUT`] if it does not answer.
pub(crate) fn connect(channel: &Channel, user_data: &[u8], callback: Callback) -> Result {
    let connection = connection::current().ok_or(ENODEV)?;
    let mut link = channel.link.lock();

    if user_data.len() > USER_DATA || channel.state() != State::Closed {
        return Err(EINVAL);
    }
    // The host has not offered it again after a hibernation, and would not answer.
    if channel.relid() == NO_RELID {
        return Err(ENODEV);
    }
    let Link::Allocated(mut memory) = core::mem::replace(&mut *link, Link::None) else {
        return Err(EINVAL);
    };
    if let Err(error) = requestor::allocate(channel) {
        *link = Link::Allocated(memory);
        return Err(error);
    }
    channel.set_state(State::Opening);

    match share(&connection, channel, &mut memory, user_data, callback) {
        Ok(gpadl) => {
            *link = Link::Connected { memory, gpadl };
            channel.set_state(State::Opened);
            Ok(())
        }
        Err(failed) => {
            // Nobody calls the driver any more, and the next attempt begins with nothing.
            channel.silence();
            requestor::free(channel);
            channel.set_state(State::Closed);
            match failed {
                Failed::Clean(error) => {
                    *link = Link::Allocated(memory);
                    Err(error)
                }
                Failed::Unknown(error) => {
                    memory.detach(channel);
                    leak(channel, memory);
                    Err(error)
                }
            }
        }
    }
}

/// Keeps memory for ever that the host may write to.
fn leak(channel: &Channel, memory: ring::Memory) {
    warn_limited!(
        "the host may still use the rings of relid {}: {} KiB of memory are lost\n",
        channel.relid(),
        memory.size() / 1024
    );
    core::mem::forget(memory);
}

/// Establishes the GPADL of the rings, and opens the channel with it.
fn share(
    connection: &Connection,
    channel: &Channel,
    memory: &mut ring::Memory,
    user_data: &[u8],
    callback: Callback,
) -> Result<u32, Failed> {
    memory.attach(channel).map_err(Failed::Clean)?;
    // That of rings which the host has not given back is no concern of these.
    channel.set_ring_gpadl(0);
    let gpadl = gpadl::establish(connection, channel, &mut memory.pfns(), memory.size())?;
    channel.set_ring_gpadl(gpadl);

    // The host may signal as soon as it has opened the channel, which is before it says so.
    channel.set_callback(callback);
    match request_open(connection, channel, memory, gpadl, user_data) {
        Ok(()) => Ok(gpadl),
        Err(error) => {
            channel.silence();
            if error == ETIMEDOUT {
                // If it was opened after all, it is not any more.
                let _ = send_close(connection, channel);
            }
            Err(match gpadl::teardown(connection, channel, gpadl) {
                Ok(()) => {
                    channel.set_ring_gpadl(0);
                    Failed::Clean(error)
                }
                // As long as the handle is there drivers know what the host may still use.
                Err(Unconfirmed) => Failed::Unknown(error),
            })
        }
    }
}

fn request_open(
    connection: &Connection,
    channel: &Channel,
    memory: &ring::Memory,
    gpadl: u32,
    user_data: &[u8],
) -> Result {
    let relid = channel.relid();
    // The host repeats it in its answer. The rings have a handle of their own each time: a late
    // answer to an open that was given up is not taken for that to a later one.
    let open_id = gpadl;
    let subject = Subject::Open { relid, open_id };
    let pending = connection.requests().begin(subject, Some(channel))?;
    let mut message = message::Open {
        header: Header::new(kind::OPEN),
        relid,
        open_id,
        ring_gpadl: gpadl,
        target_vp: hw::vp_number(channel.target_cpu()),
        receive_page: u32::try_from(memory.receive_offset() / gpadl::PAGE).map_err(|_| EINVAL)?,
        user_data: [0; USER_DATA],
    };
    for (to, from) in message.user_data.iter_mut().zip(user_data) {
        *to = *from;
    }
    let result = connection.send(&message);
    trace::open(&message, &result);
    result?;

    match pending.wait()? {
        _ if channel.is_rescinded() => Err(ENODEV),
        Answer::Status(0) => Ok(()),
        _ => Err(EAGAIN),
    }
}

fn send_close(connection: &Connection, channel: &Channel) -> Result {
    let message = message::Close {
        header: Header::new(kind::CLOSE),
        relid: channel.relid(),
    };
    let result = connection.send(&message);

    trace::close(&message, &result);
    result
}

/// Closes one channel; its rings stay. May sleep.
///
/// Returns [`EINVAL`] if it is not open, and [`EIO`] if the host has not given its rings back,
/// which are lost then.
fn disconnect_one(channel: &Channel) -> Result {
    channel.silence();
    let mut link = channel.link.lock();
    let Link::Connected { .. } = *link else {
        return Err(EINVAL);
    };
    let Link::Connected { mut memory, gpadl } = core::mem::replace(&mut *link, Link::None) else {
        return Err(EINVAL);
    };
    channel.set_state(State::Closed);

    let confirmed = match connection::current() {
        Some(connection) => {
            let closed = send_close(&connection, channel);

            gpadl::teardown(&connection, channel, gpadl).is_ok()
                && (closed.is_ok() || channel.is_rescinded())
        }
        // The host has forgotten everything.
        None => true,
    };
    requestor::free(channel);
    if confirmed {
        channel.set_ring_gpadl(0);
        *link = Link::Allocated(memory);
        Ok(())
    } else {
        memory.detach(channel);
        leak(channel, memory);
        Err(EIO)
    }
}

/// Closes a primary channel, and before it all its sub-channels, whose rings are freed. May sleep.
///
/// Returns [`EINVAL`] for a sub-channel, and for a channel that is not open.
pub(crate) fn disconnect(channel: &Channel) -> Result {
    if channel.primary().is_some() {
        return Err(EINVAL);
    }
    for sub in subs(channel) {
        // One that is not open has nothing to close.
        let _ = disconnect_one(&sub);
        free(&sub);
        lifecycle::closed(&sub);
    }
    disconnect_one(channel)
}

/// The sub-channels of a channel. If there is no memory to list them, they are left to the end of
/// the device.
fn subs(primary: &Channel) -> KVec<ARef<Channel>> {
    let channels = relid::channels();
    let mut subs = KVec::new();

    for sub in channels.subs_of(primary) {
        if subs.push(sub.clone(), GFP_KERNEL).is_err() {
            break;
        }
    }
    subs
}

/// Asks the host to send a channel's interrupts elsewhere. May sleep.
///
/// Returns [`EAGAIN`] if it refuses, which it can say since version 5.3.
pub(crate) fn modify(connection: &Connection, channel: &Channel, target_vp: u32) -> Result {
    let relid = channel.relid();
    let message = message::Modify {
        header: Header::new(kind::MODIFY),
        relid,
        target_vp,
    };
    let send = || {
        let result = connection.send(&message);
        trace::modify(&message, &result);
        result
    };

    if connection.version() < V5_3 {
        return send();
    }
    let pending = connection
        .requests()
        .begin(Subject::Modify { relid }, Some(channel))?;
    send()?;
    match pending.wait() {
        Ok(Answer::Status(0)) => Ok(()),
        Ok(_) => Err(EAGAIN),
        Err(NoAnswer::Rescinded) => Err(ENODEV),
        Err(NoAnswer::TimedOut) => Err(ETIMEDOUT),
    }
}

/// Lets the interrupts of an open channel go to a processor. May sleep; `cpus_read_lock()` is held.
///
/// Returns [`EINVAL`] if it may not go there, and [`EIO`] if the channel is not open, if the host
/// is too old, or if it refuses.
fn move_to(connection: &Connection, channel: &Channel, cpu: u32) -> Result {
    if connection.version() < V4_1 {
        return Err(EIO);
    }
    if !affinity::is_allowed(cpu) {
        return Err(EINVAL);
    }
    let link = channel.link.lock();
    let old = channel.target_cpu();

    if !link.is_connected() {
        return Err(EIO);
    }
    if old == cpu {
        return Ok(());
    }
    modify(connection, channel, hw::vp_number(cpu)).map_err(|_| EIO)?;
    channel.set_target_cpu(cpu);
    affinity::moved(channel, &relid::channels(), old, cpu);
    channel.tell_target_cpu(old, cpu);
    Ok(())
}

/// See [`move_to`]: what user space asks for.
pub(crate) fn set_target_cpu(channel: &Channel, cpu: u32) -> Result {
    let connection = connection::current().ok_or(EIO)?;
    let _cpus = hw::cpus_read_lock();

    move_to(&connection, channel, cpu)
}

/// Moves all channels away from a processor that goes offline. Called by the CPU hotplug code, with
/// its lock held. May sleep.
///
/// Returns [`EBUSY`] if that cannot be done.
pub(crate) fn leave_cpu(cpu: u32) -> Result {
    let Some(connection) = connection::current() else {
        return Ok(());
    };
    let mut here = KVec::new();
    for channel in relid::channels().iter() {
        if channel.target_cpu() == cpu {
            here.push(channel.clone(), GFP_KERNEL)?;
        }
    }

    for channel in here {
        leave(&connection, &channel, cpu)?;
    }
    Ok(())
}

fn leave(connection: &Arc<Connection>, channel: &Channel, cpu: u32) -> Result {
    // An older host may still have interrupts under way for the processor.
    if connection.version() < V5_3 {
        return Err(EBUSY);
    }
    for other in affinity::others(cpu) {
        match move_to(connection, channel, other) {
            Ok(()) => return Ok(()),
            // Closed, or gone: the host interrupts nobody, and the next open says where.
            Err(_) if !channel.is_open() || channel.is_rescinded() => {
                channel.set_target_cpu(other);
                affinity::moved(channel, &relid::channels(), cpu, other);
                return Ok(());
            }
            Err(_) => {}
        }
    }
    Err(EBUSY)
}
