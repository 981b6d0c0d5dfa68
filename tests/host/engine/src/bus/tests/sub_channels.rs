// SPDX-License-Identifier: GPL-2.0

//! Sub-channels: asked for by a device, withdrawn with the primary channel or one by one.

use super::*;

/// Offers as many sub-channels as the control line says, and remembers which channels are open.
struct Many(Arc<Mutex<BTreeSet<usize>>>);

impl Device for Many {
    fn offer(&self) -> crate::device::Offer {
        crate::device::Offer::new(INTERFACE, Guid([9; 16]))
    }

    fn opened(&mut self, _io: &mut Io<'_>, channel: usize) {
        assert!(self.0.lock().unwrap().insert(channel), "opened twice");
    }

    fn closed(&mut self, _io: &mut Io<'_>, channel: usize) {
        assert!(self.0.lock().unwrap().remove(&channel), "closed, but not open");
    }

    fn packet(&mut self, io: &mut Io<'_>, channel: usize, packet: Packet) -> Result<(), Violation> {
        io.complete(channel, packet.transaction_id, &packet.data);
        Ok(())
    }

    fn command(&mut self, io: &mut Io<'_>, words: &[&str]) -> Result<String, String> {
        io.offer_sub_channels(words[0].parse().unwrap());
        Ok(String::new())
    }
}

struct Bus {
    guest: Guest,
    open: Arc<Mutex<BTreeSet<usize>>>,
}

impl Bus {
    /// A guest that has the device's primary channel open: relid 3 (1 and 2 are the others').
    fn new() -> Self {
        let mut guest = Guest::connected();
        let open = Arc::new(Mutex::new(BTreeSet::new()));
        guest.host.add("many", Box::new(Many(open.clone())));
        assert_eq!(guest.kinds(), [kind::OFFER_CHANNEL]);
        let mut bus = Self { guest, open };
        bus.open(3);
        bus
    }

    fn open(&mut self, relid: u32) {
        let first = u64::from(relid) * 8;
        assert_eq!(self.guest.gpadl(relid, 100 + relid, first, 8), Some(STATUS_SUCCESS));
        assert_eq!(self.guest.open(relid, 100 + relid, 4), Some(STATUS_SUCCESS));
    }

    fn ask(&mut self, count: usize) {
        self.guest.host.command(&format!("many {count}")).unwrap();
    }

    /// (relid, sub-channel index) of the offers that came, and relids of the rescinds.
    fn news(&mut self) -> (Vec<(u32, u16)>, Vec<u32>) {
        let (mut offers, mut rescinds) = (Vec::new(), Vec::new());
        for (kind, body) in self.guest.messages() {
            match kind {
                kind::OFFER_CHANNEL => {
                    let offer: msg::OfferChannel = get(&body).unwrap();
                    let (relid, connection) = (offer.relid, offer.connection);
                    assert_eq!(connection, signal_connection(relid));
                    assert_eq!(offer.instance, Guid([9; 16]), "the primary channel's instance");
                    offers.push((relid, offer.sub_channel));
                }
                kind::RESCIND_CHANNEL_OFFER => {
                    rescinds.push(get::<msg::Relid>(&body).unwrap().relid);
                }
                other => panic!("message {}", msg::name(other)),
            }
        }
        (offers, rescinds)
    }

    fn release(&mut self, relid: u32) {
        self.guest.post(kind::RELID_RELEASED, &msg::Relid { relid });
    }

    fn opened(&self) -> Vec<usize> {
        self.open.lock().unwrap().iter().copied().collect()
    }
}

#[test]
fn offered_once_each_and_they_carry_packets() {
    let mut bus = Bus::new();
    bus.ask(2);
    assert_eq!(bus.news().0, [(4, 1), (5, 2)]);
    bus.ask(3);
    assert_eq!(bus.news().0, [(6, 3)], "only the one that was missing");
    bus.open(5);
    bus.open(4);
    assert_eq!(bus.opened(), [0, 1, 2]);

    let memory = PageRange { offset: 0, len: 8 * PAGE as u32, pfns: (40..48).collect() };
    let mut rings = RingPair::guest_end(&memory, 4, &*bus.guest.mem);
    rings.guest_send(&*bus.guest.mem, PacketKind::InBand, 5, true, &[], b"12345678");
    bus.guest.host.guest_signal(0x2005);
    while bus.guest.host.serve() {}
    assert_eq!(rings.receive(&*bus.guest.mem).unwrap().unwrap().transaction_id, 5);
    assert_eq!(bus.guest.violations(), 0);
}

#[test]
fn closing_the_primary_channel_withdraws_them() {
    let mut bus = Bus::new();
    bus.ask(2);
    bus.news();
    bus.open(4);
    // As Linux does it: sub-channels first, and one that was never opened stays.
    bus.guest.post(kind::CLOSE_CHANNEL, &msg::Relid { relid: 4 });
    assert!(bus.news().1.is_empty(), "closing a sub-channel withdraws nothing");
    bus.open(5);
    bus.guest.post(kind::CLOSE_CHANNEL, &msg::Relid { relid: 3 });
    assert_eq!(bus.news().1, [4, 5]);
    assert!(bus.opened().is_empty(), "the open one was taken from the guest");

    // Asked for again before the guest has let go of the old ones: each follows its release.
    assert_eq!(bus.guest.open(3, 103, 4), Some(STATUS_SUCCESS));
    bus.ask(2);
    assert_eq!(bus.news(), (vec![], vec![]));
    bus.release(5);
    assert_eq!(bus.news().0, [(5, 2)]);
    bus.release(4);
    assert_eq!(bus.news().0, [(4, 1)]);
    assert_eq!(bus.guest.violations(), 0);
}

#[test]
fn a_closed_primary_channel_forgets_what_was_asked() {
    let mut bus = Bus::new();
    bus.ask(1);
    bus.news();
    bus.guest.post(kind::CLOSE_CHANNEL, &msg::Relid { relid: 3 });
    assert_eq!(bus.news().1, [4]);
    bus.release(4);
    assert_eq!(bus.news(), (vec![], vec![]), "nobody asked for it again");
}

#[test]
fn rescind_of_one_sub_channel() {
    let mut bus = Bus::new();
    assert!(bus.guest.host.command("rescind many 1").is_err(), "not there yet");
    bus.ask(2);
    bus.news();
    bus.open(4);
    bus.guest.host.command("rescind many 1").unwrap();
    assert_eq!(bus.news().1, [4]);
    assert_eq!(bus.opened(), [0]);
    for wrong in ["0", "1", "3", "x", "-1"] {
        assert!(bus.guest.host.command(&format!("rescind many {wrong}")).is_err(), "{wrong}");
    }
    // The primary channel and the other sub-channel go on.
    bus.open(5);
    bus.guest.post(kind::GPADL_TEARDOWN, &msg::GpadlTeardown { relid: 4, gpadl: 104 });
    assert_eq!(bus.guest.kinds(), [kind::GPADL_TORNDOWN]);
    bus.release(4);
    assert_eq!(bus.news(), (vec![], vec![]));
    bus.ask(2);
    assert_eq!(bus.news().0, [(4, 1)]);
    assert_eq!(bus.guest.violations(), 0);
}

#[test]
fn rescind_of_a_device_takes_all_its_channels() {
    let mut bus = Bus::new();
    bus.ask(2);
    bus.news();
    bus.open(4);
    bus.guest.host.command("rescind many").unwrap();
    assert_eq!(bus.news().1, [5, 4, 3], "the primary channel last");
    assert!(bus.opened().is_empty());
    bus.guest.host.command("offer many").unwrap();
    for relid in [4, 3] {
        bus.release(relid);
        assert_eq!(bus.news(), (vec![], vec![]), "one channel is still with the guest");
    }
    bus.release(5);
    assert_eq!(bus.news().0, [(3, 0)], "the primary channel alone");
    bus.open(3);
    bus.ask(1);
    assert_eq!(bus.news().0, [(4, 1)]);
    assert_eq!(bus.guest.violations(), 0);
}

#[test]
fn a_new_start_forgets_them() {
    let mut bus = Bus::new();
    bus.ask(2);
    bus.news();
    bus.open(4);
    assert!(bus.guest.contact(V6));
    assert!(bus.opened().is_empty());
    bus.guest.post(kind::REQUEST_OFFERS, &[0u8; 0]);
    let offers = [kind::OFFER_CHANNEL, kind::OFFER_CHANNEL, kind::OFFER_CHANNEL];
    assert_eq!(bus.guest.kinds(), [&offers[..], &[kind::ALL_OFFERS_DELIVERED]].concat());
}
