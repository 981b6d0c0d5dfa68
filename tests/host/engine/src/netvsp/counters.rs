// SPDX-License-Identifier: GPL-2.0

//! Counters of the hot path: plain numbers, told to the trace once per batch.

use crate::device::Io;

macro_rules! counters {
    ($($variant:ident $name:literal,)+) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Counter {
            $($variant,)+
        }

        /// By [`Counter`].
        const NAMES: &[&str] = &[$($name,)+];
        const COUNT: usize = [$(Counter::$variant,)+].len();
    };
}

counters! {
    TxPackets "tx_packets",
    TxBytes "tx_bytes",
    TxChecksum "tx_csum",
    TxLso "tx_lso",
    TxVlan "tx_vlan",
    // RNDIS packets answered with a failure; one of the reasons below counts too.
    TxRefused "tx_refused",
    TxMalformed "tx_malformed",
    TxTooMany "tx_too_many_messages",
    TxLength "tx_bad_length",
    TxBadPpi "tx_bad_ppi",
    TxBadChecksumInfo "tx_bad_csum_info",
    TxBadLso "tx_bad_lso",
    TxHeaderSplit "tx_header_split",
    // Not always refused.
    TxHeaderCrossesPage "tx_header_crosses_page",
    TxPseudoWrong "tx_pseudo_checksum_wrong",
    TxNotEnabled "tx_offload_not_enabled",
    TxSingleSegment "tx_lso_single_segment",
    TxLinkDown "tx_link_down",
    // Came although the guest has said that it sends by the virtual function.
    TxOffPath "tx_off_path",
    // Switches of the path.
    ToVf "to_vf",
    ToSynthetic "to_synthetic",
    RxPackets "rx_packets",
    RxBytes "rx_bytes",
    RxBatches "rx_batches",
    RxChecksum "rx_csum",
    RxVlan "rx_vlan",
    RxHash "rx_hash",
    // Segments that came as one, and the ranges that they were announced as.
    RxCoalesced "rx_coalesced",
    RxFragments "rx_fragments",
    // Went to the primary channel because the one of its hash is not open.
    RxNoChannel "rx_no_channel",
    RxNotReady "rx_not_ready",
    RxFiltered "rx_filtered",
    RxBadFrame "rx_bad_frame",
    RxTooLong "rx_too_long",
    // No free section to read the network's next frame into; once per attempt, not per frame.
    RxNoSection "rx_no_section",
    RxGuestFailed "rx_guest_failed",
    Control "control",
    // Faults that were asked for by the control line, and happened.
    Bad "bad",
}

/// The values of all counters.
pub(crate) struct Counters {
    values: [u64; COUNT],
    told: [u64; COUNT],
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self { values: [0; COUNT], told: [0; COUNT] }
    }

    pub(crate) fn add(&mut self, what: Counter, by: u64) {
        self.values[what as usize] += by;
    }

    pub(crate) fn get(&self, what: Counter) -> u64 {
        self.values[what as usize]
    }

    /// Adds to the trace's counters what is new.
    pub(super) fn tell(&mut self, io: &mut Io<'_>) {
        let pairs = self.values.iter().zip(&mut self.told);
        for ((value, told), name) in pairs.zip(NAMES) {
            if value != told {
                io.count(name, value - *told);
                *told = *value;
            }
        }
    }

    /// `name=value` of all that ever counted.
    pub(super) fn text(&self) -> String {
        let pairs = NAMES.iter().zip(self.values).filter(|(_, value)| *value != 0);
        let words: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
        words.join(" ")
    }
}
