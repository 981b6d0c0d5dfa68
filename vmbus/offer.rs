// SPDX-License-Identifier: GPL-2.0

//! What the host offers, and whether it is taken.
//!
//! An offer is checked as a whole before anything changes. What is wrong is refused: the host gets
//! its relative id back, unless that belongs to a channel that lives.

use crate::{
    abi::fields::State,
    affinity,
    channel::{
        Channel,
        MONITORS, //
    },
    connection::Connection,
    hw,
    lifecycle,
    log::warn_limited,
    message::Offer,
    relid,
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

/// Classes of devices that only Windows has drivers for: they are no surprise.
const WINDOWS_ONLY: [[u8; 16]; 4] = [
    // Automatic virtual machine activation, twice.
    guid(
        0xf8e65716,
        0x3cb3,
        0x4a06,
        [0x9a, 0x60, 0x18, 0x89, 0xc5, 0xcc, 0xca, 0xb5],
    ),
    guid(
        0x3375baf4,
        0x9e15,
        0x4b30,
        [0xb7, 0x65, 0x67, 0xac, 0xb1, 0x0d, 0x60, 0x7b],
    ),
    // Remote desktop, and its control.
    guid(
        0x276aacf4,
        0xac15,
        0x426c,
        [0x98, 0xdd, 0x75, 0x21, 0xad, 0x3f, 0x01, 0xfe],
    ),
    guid(
        0xc376c1c3,
        0xd276,
        0x48d2,
        [0x90, 0xa9, 0xc0, 0x47, 0x48, 0x07, 0x2c, 0x60],
    ),
];

/// Bytes of a GUID as they are on the wire.
const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> [u8; 16] {
    let [a0, a1, a2, a3] = a.to_le_bytes();
    let [b0, b1] = b.to_le_bytes();
    let [c0, c1] = c.to_le_bytes();
    let [d0, d1, d2, d3, d4, d5, d6, d7] = d;

    [
        a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7,
    ]
}

impl Offer {
    /// Whether the channel's ring is hidden from the hypervisor.
    pub(crate) fn has_confidential_ring(&self) -> bool {
        u32::from(self.flags) & bindings::VMBUS_CHANNEL_CONFIDENTIAL_RING_BUFFER != 0
    }

    /// Whether other memory of the channel is.
    pub(crate) fn has_confidential_memory(&self) -> bool {
        u32::from(self.flags) & bindings::VMBUS_CHANNEL_CONFIDENTIAL_EXTERNAL_MEMORY != 0
    }

    fn is_hvsock(&self) -> bool {
        u32::from(self.flags) & bindings::VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER != 0
    }

    /// The type of its device: an index of `vmbus_devs`.
    pub(crate) fn device_type(&self) -> u16 {
        let unknown = bindings::vmbus_device_type_HV_UNKNOWN as u16;

        if self.is_hvsock() || WINDOWS_ONLY.contains(&self.class) {
            return unknown;
        }
        known_type(&self.class).map_or(unknown, |(index, _)| index)
    }
}

/// The type of devices with this class, and its index; the last of all is for unknown ones.
// Once, not unrolled: this is for offers.
#[inline(never)]
fn known_type(class: &[u8; 16]) -> Option<(u16, &'static bindings::vmbus_device)> {
    let (device, index) = crate::abi::devices()
        .iter()
        .zip(0u16..)
        .find(|(device, _)| device.guid.b == *class)?;

    Some((index, device))
}

/// Why an offer is refused, and whether its relative id goes back to the host.
struct Refused(&'static str, bool);

/// The host offers a channel. Called by the work item that handles control messages, in the order
/// in which they came. May sleep.
pub(crate) fn received(connection: &Arc<Connection>, offer: &Offer) {
    trace::on_offer(offer);

    match accept(connection, offer) {
        Ok(channel) => lifecycle::add(connection, channel),
        Err(Refused(why, release)) => {
            warn_limited!("offer of relid {} refused: {}\n", offer.relid, why);
            if release {
                connection.release_relid(offer.relid);
            }
        }
    }
}

/// Checks an offer, and enters its channel in the table.
fn accept(connection: &Connection, offer: &Offer) -> Result<ARef<Channel>, Refused> {
    if offer.relid == 0 || offer.relid as usize >= relid::COUNT {
        return Err(Refused("there is no such relid", false));
    }
    // A processor does not go offline between the choice and the entry in the table.
    let _cpus = hw::cpus_read_lock();
    let mut channels = relid::channels();

    // Whatever else is wrong: the relid is not this offer's to give back.
    if channels.get(offer.relid).is_some() {
        return Err(Refused("its relid is in use", false));
    }
    if offer.monitor_allocated & 1 != 0 && offer.monitor_id >= MONITORS {
        return Err(Refused("there is no such monitor id", true));
    }
    if hw::is_isolated() && !is_allowed_in_isolation(offer) {
        return Err(Refused("an isolated guest does not use such devices", true));
    }
    if offer.has_confidential_memory() && !offer.has_confidential_ring() {
        return Err(Refused("its memory is encrypted, but not its ring", true));
    }
    if offer.has_confidential_ring() && !connection.is_confidential() {
        return Err(Refused("this connection has no encrypted channels", true));
    }

    let primary = channels
        .iter()
        .find(|other| {
            other.primary().is_none()
                && other.instance().b == offer.instance
                && (offer.sub_channel_index == 0 || other.class().b == offer.class)
        })
        .cloned();
    let primary = match (primary, offer.sub_channel_index) {
        (None, 0) => None,
        (Some(other), 0) => return reoffered(&mut channels, other, offer),
        (None, _) => return Err(Refused("a sub-channel of a device that is not there", true)),
        (Some(primary), index) => {
            if channels
                .subs_of(&primary)
                .any(|sub| sub.sub_index() == index)
            {
                return Err(Refused("the device has this sub-channel already", true));
            }
            Some(primary)
        }
    };

    let channel =
        Channel::new(offer, primary).map_err(|_| Refused("there is no memory for it", true))?;
    channel.set_target_cpu(affinity::choose(&channel, &channels));
    channels
        .insert(&channel)
        .map_err(|_| Refused("there is no memory for it", true))?;
    channel.set_state(State::Closed);
    channel.link_to_primary();
    Ok(channel)
}

/// A primary channel is offered whose device is known: fine after a hibernation only.
fn reoffered(
    channels: &mut relid::Channels,
    channel: ARef<Channel>,
    offer: &Offer,
) -> Result<ARef<Channel>, Refused> {
    if channel.relid() != crate::channel::NO_RELID {
        return Err(Refused("its device is there already", true));
    }
    if channel.class().b != offer.class {
        return Err(Refused("its device is of another class", true));
    }
    // It was missing for too long, and its driver may take long to let go.
    if channel.is_rescinded() {
        return Err(Refused("its device is being removed", true));
    }
    channel.set_relid(offer.relid);
    channel.offered_again(offer);
    channels
        .map(&channel)
        .map_err(|_| Refused("its relid is in use", false))?;
    Ok(channel)
}

/// Whether an isolated guest trusts its driver for such a device to survive a hostile host.
fn is_allowed_in_isolation(offer: &Offer) -> bool {
    offer.is_hvsock()
        || known_type(&offer.class).is_some_and(|(_, device)| device.allowed_in_isolated)
}
