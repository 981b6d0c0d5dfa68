// SPDX-License-Identifier: GPL-2.0

//! The virtual function beside the card.

use super::*;

impl Guest {
    fn vf(&mut self, command: &str) -> String {
        let words: Vec<_> = ["vf"].into_iter().chain(command.split(' ')).collect();
        self.bench.command(&words).unwrap()
    }

    fn associated(&mut self) -> (u32, u32) {
        let packet = self.bench.guest_recv().expect("an association");
        assert_eq!((packet.kind, word(&packet.data, 0)), (PacketKind::InBand, 128));
        (word(&packet.data, 1), word(&packet.data, 2))
    }
}

#[test]
fn switches_as_it_is_told() {
    let mut guest = Guest::new();
    guest.vf("on 7");
    assert_eq!(guest.associated(), (1, 7));
    assert_eq!(guest.vf("path"), "synthetic");
    assert!(guest.ask(&[SWITCH_DATA_PATH, 1]).is_empty());
    assert_eq!(guest.vf("path"), "vf");
    guest.vf("off");
    assert_eq!(guest.associated(), (0, 0));
    assert!(guest.ask(&[SWITCH_DATA_PATH, 0]).is_empty());
    assert_eq!(guest.vf("path"), "synthetic");
    assert_eq!((guest.count("to_vf"), guest.count("to_synthetic")), (1, 1));
}

#[test]
fn tells_early_ones_later() {
    let mut guest = Guest::opened(NetConfig::default());
    guest.vf("on 3");
    guest.handshake(version::V61);
    assert!(guest.bench.guest_recv().is_none());
    let init = guest.store(&bytes(&[2, 24, 1, 1, 0, 0x4000]), 64);
    assert_eq!(guest.rndis(1, None, &[init]), STATUS_SUCCESS);
    let all = std::iter::from_fn(|| guest.bench.guest_recv());
    let said: Vec<_> = all.filter(|packet| packet.kind == PacketKind::InBand).collect();
    assert_eq!(said.len(), 1);
    assert_eq!([0, 1, 2].map(|n| word(&said[0].data, n)), [128, 1, 3]);
}

#[test]
fn answers_late_or_never() {
    let mut guest = Guest::new();
    guest.vf("on 7");
    guest.associated();
    guest.vf("lose 1");
    guest.tell(&[SWITCH_DATA_PATH, 1]);
    assert!(guest.bench.guest_recv().is_none());
    guest.vf("late 1");
    guest.tell(&[SWITCH_DATA_PATH, 1]);
    assert!(guest.bench.guest_recv().is_none());
    guest.vf("answer");
    assert!(guest.bench.guest_recv().is_some());
}
