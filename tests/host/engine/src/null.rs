// SPDX-License-Identifier: GPL-2.0

//! Devices that nobody drives: a bus is full of them quickly.

use crate::device::{Device, Io, Offer, Violation};
use crate::guid::Guid;
use crate::ring::Packet;

/// The class of these devices; Linux has no driver for it.
pub const CLASS: Guid = Guid::new("5e1f0b0d-0000-4e0b-8d1e-0ff3e5ca15e5");

/// A device that takes every packet and does nothing with it.
pub struct Null(u16);

impl Null {
    /// The device with this number, which is in its instance's name.
    pub fn new(number: u16) -> Self {
        Self(number)
    }
}

impl Device for Null {
    fn offer(&self) -> Offer {
        let mut instance = CLASS;
        instance.0[4..6].copy_from_slice(&self.0.to_le_bytes());
        // Another name than the class, for number 0 too.
        instance.0[15] ^= 0xff;
        Offer::new(CLASS, instance)
    }

    fn packet(&mut self, io: &mut Io<'_>, channel: usize, packet: Packet) -> Result<(), Violation> {
        if packet.completion_requested {
            io.complete(channel, packet.transaction_id, &[]);
        }
        Ok(())
    }
}
