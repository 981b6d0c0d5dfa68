// SPDX-License-Identifier: GPL-2.0

//! What a network device can do.

use crate::{
    bindings,
    impl_flags, //
};

const fn bit(nr: u32) -> u64 {
    1 << nr
}

impl_flags!(
    /// Features of a device (`NETIF_F_*`).
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct Features(u64);

    /// A feature of a device.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum Feature {
        /// Frames of several pieces.
        Sg = bit(bindings::NETIF_F_SG_BIT),
        /// Checksums of TCP and UDP over IPv4.
        IpCsum = bit(bindings::NETIF_F_IP_CSUM_BIT),
        /// Checksums of TCP and UDP over IPv6.
        Ipv6Csum = bit(bindings::NETIF_F_IPV6_CSUM_BIT),
        /// Memory that is not mapped all the time.
        HighDma = bit(bindings::NETIF_F_HIGHDMA_BIT),
        /// Inserts 802.1Q tags.
        VlanTx = bit(bindings::NETIF_F_HW_VLAN_CTAG_TX_BIT),
        /// Takes 802.1Q tags out.
        VlanRx = bit(bindings::NETIF_F_HW_VLAN_CTAG_RX_BIT),
        /// Coalesces received segments.
        Lro = bit(bindings::NETIF_F_LRO_BIT),
        /// Segments TCP over IPv4.
        Tso = bit(bindings::NETIF_F_TSO_BIT),
        /// Segments TCP over IPv6.
        Tso6 = bit(bindings::NETIF_F_TSO6_BIT),
        /// Tells the hash of received flows.
        RxHash = bit(bindings::NETIF_F_RXHASH_BIT),
        /// Checks checksums of received frames.
        RxCsum = bit(bindings::NETIF_F_RXCSUM_BIT),
    }
);

impl Features {
    /// The same features, some of them taken away.
    pub fn without(self, others: Features) -> Self {
        Self(self.0 & !others.0)
    }

    #[inline]
    pub(super) fn from_raw(bits: u64) -> Self {
        Self(bits)
    }

    /// All bits, known here or not.
    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0
    }
}
