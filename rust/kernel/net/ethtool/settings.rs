// SPDX-License-Identifier: GPL-2.0

//! What is asked about, and set.

use crate::{
    bindings,
    fmt, //
};
use core::fmt::Write;

/// A speed that is not known.
pub const SPEED_UNKNOWN: u32 = bindings::SPEED_UNKNOWN as u32;

/// Bytes of the name of a figure, with the zero at its end.
pub(super) const NAME: usize = bindings::ETH_GSTRING_LEN as usize;

/// The names of figures, or of something else, as they are written down.
pub struct Names<'a> {
    pub(super) left: &'a mut [u8],
}

impl Names<'_> {
    /// The next name. What is longer than 31 bytes is cut; what there is no room for is left out.
    pub fn push(&mut self, name: fmt::Arguments<'_>) {
        let left = core::mem::take(&mut self.left);
        let Some((this, rest)) = left.split_at_mut_checked(NAME) else {
            return;
        };
        this.fill(0);
        let len = this.len() - 1;
        if let Some(text) = this.get_mut(..len) {
            let mut writer = Text { left: text };
            // What does not fit is cut.
            let _ = writer.write_fmt(name);
        }
        self.left = rest;
    }
}

/// Writes what fits.
struct Text<'a> {
    left: &'a mut [u8],
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let left = core::mem::take(&mut self.left);
        let len = text.len().min(left.len());

        if let Some((to, rest)) = left.split_at_mut_checked(len) {
            if let Some(from) = text.as_bytes().get(..len) {
                to.copy_from_slice(from);
            }
            self.left = rest;
        }
        Ok(())
    }
}

/// Figures, as they are written down.
pub struct Figures<'a> {
    pub(super) left: core::slice::IterMut<'a, u64>,
}

impl Figures<'_> {
    /// The next figure. What there is no room for is left out.
    #[inline(never)]
    pub fn push(&mut self, figure: u64) {
        if let Some(place) = self.left.next() {
            *place = figure;
        }
    }
}

/// How many channels a device has. All are for both directions.
#[derive(Clone, Copy, Default)]
pub struct Channels {
    /// How many it can have.
    pub max: u32,
    /// How many it has.
    pub count: u32,
}

/// How many entries the rings of a device have.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Rings {
    /// To receive.
    pub rx: u32,
    /// To send.
    pub tx: u32,
}

/// The settings of a link that is no real one.
#[derive(Clone, Copy)]
pub struct Link {
    /// In Mbit/s, or [`SPEED_UNKNOWN`].
    pub speed: u32,
    /// Both directions at the same time (`DUPLEX_*`).
    pub duplex: u8,
}

impl Link {
    /// A link of unknown speed, in both directions at the same time.
    pub const fn new() -> Self {
        Self {
            speed: SPEED_UNKNOWN,
            duplex: bindings::DUPLEX_FULL as u8,
        }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

/// Kinds of flows whose hash can be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// TCP over IPv4.
    Tcp4,
    /// UDP over IPv4.
    Udp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv6.
    Udp6,
    /// Other protocols over IPv4 or IPv6.
    Ip,
    /// Something else.
    Other,
}

impl Flow {
    pub(in crate::net) fn from_raw(flow: u32) -> Self {
        match flow {
            bindings::TCP_V4_FLOW => Self::Tcp4,
            bindings::UDP_V4_FLOW => Self::Udp4,
            bindings::TCP_V6_FLOW => Self::Tcp6,
            bindings::UDP_V6_FLOW => Self::Udp6,
            bindings::IPV4_FLOW | bindings::IPV6_FLOW => Self::Ip,
            _ => Self::Other,
        }
    }
}

/// What the hash of a flow is computed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashFields {
    /// Nothing.
    Nothing,
    /// The addresses.
    Addresses,
    /// The addresses and the ports.
    AddressesAndPorts,
}

impl HashFields {
    const ADDRESSES: u32 = bindings::RXH_IP_SRC | bindings::RXH_IP_DST;
    const PORTS: u32 = bindings::RXH_L4_B_0_1 | bindings::RXH_L4_B_2_3;

    pub(super) fn to_raw(self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Addresses => Self::ADDRESSES,
            Self::AddressesAndPorts => Self::ADDRESSES | Self::PORTS,
        }
    }

    pub(super) fn from_raw(data: u32) -> Option<Self> {
        [Self::Nothing, Self::Addresses, Self::AddressesAndPorts]
            .into_iter()
            .find(|fields| fields.to_raw() == data)
    }
}

/// How received frames are spread over the queues.
pub struct Rss<'a> {
    /// The queue for each value of the hash's low bits, if asked for or set.
    pub table: Option<&'a mut [u32]>,
    /// The key of the hash, if asked for or set.
    pub key: Option<&'a mut [u8]>,
}
