// SPDX-License-Identifier: GPL-2.0

//! Devices that come and go, and offers and other messages that are forged, seen from the guest.

use super::*;

#[test]
fn flickering() {
    let mut guest = Guest::connected();
    guest.host.command("fault flicker one 20 30").unwrap();
    let (mut now, mut gone) = (0, 0);
    loop {
        // It is offered again when the guest has let go, and may go at once.
        let kinds = guest.kinds();
        gone += kinds.iter().filter(|&&kind| kind == kind::RESCIND_CHANNEL_OFFER).count();
        if kinds.last() == Some(&kind::RESCIND_CHANNEL_OFFER) {
            assert_eq!(guest.host.command("channels").unwrap(), "-1 2");
            guest.post(kind::RELID_RELEASED, &msg::Relid { relid: 1 });
            continue;
        }
        let Some(next) = guest.host.next_event() else { break };
        now = next.max(now + 1);
        guest.host.advance(now);
    }
    assert_eq!(gone, 20);
    assert!(now <= 20 * 30);
    assert_eq!(guest.host.command("left").unwrap(), "0");
    assert_eq!(guest.host.command("channels").unwrap(), "1 2");
    assert_eq!(guest.violations(), 0);
}

#[test]
fn forged_messages() {
    let mut guest = Guest::connected();
    guest.host.command("fault seed 5").unwrap();
    guest.host.command("fault forge 3000").unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let mut lens = std::collections::BTreeSet::new();
    let mut offered = None;
    while guest.host.command("left").unwrap() != "0" {
        guest.host.advance(1);
        let messages = std::mem::take(&mut guest.wire.0.lock().unwrap().messages);
        for message in messages {
            lens.insert(message.len());
            assert!(message.len() <= msg::MAX_PAYLOAD);
            let Some((kind, body)) = msg::parse(&message) else { continue };
            seen.insert(kind);
            // The guest sees true ones too, which are answered as they come.
            match (kind, get::<msg::Relid>(body)) {
                (kind::RESCIND_CHANNEL_OFFER, Ok(body)) if body.relid < 3 => {
                    guest.post(kind::RELID_RELEASED, &body);
                }
                (kind::OFFER_CHANNEL, _) => {
                    let offer = get::<msg::OfferChannel>(body).ok();
                    offered =
                        offer.map(|o| o.relid).filter(|r| (1024..2048).contains(r)).or(offered);
                }
                _ => {}
            }
        }
    }
    assert!((1..=24).all(|kind| seen.contains(&kind)), "{seen:?}");
    assert!(lens.contains(&0) && lens.contains(&240));
    // What was offered leads nowhere.
    let relid = offered.unwrap();
    guest.messages();
    let refused = guest.gpadl(relid, 7, 40, 1);
    assert_eq!(refused, Some(STATUS_UNSUCCESSFUL));
    guest.host.command("fault clear").unwrap();
    guest.host.command("fault forge end").unwrap();
    assert!(guest.kinds().contains(&kind::RESCIND_CHANNEL_OFFER));
    guest.post(kind::RELID_RELEASED, &msg::Relid { relid });
    assert_eq!(guest.violations(), 0);
}

/// The guest lets go of a device's channel, and takes a forged offer of the same number that came
/// while it was in use.
#[test]
fn forged_under_a_number_that_becomes_free() {
    for end_first in [false, true] {
        let mut guest = Guest::connected();
        guest.host.command("fault forge 0").unwrap();
        for (device, relid) in [(0, 1), (1, 2)] {
            let mut offer = guest.host.offer_message((device, 0), relid);
            (offer.interface, offer.instance) = (Guid([8; 16]), Guid([9; 16]));
            guest.host.send_forged(msg::build(kind::OFFER_CHANNEL, &offer));
        }
        guest.host.command("rescind one").unwrap();
        guest.host.command("offer one").unwrap();
        let rescind = (kind::RESCIND_CHANNEL_OFFER, msg::Relid { relid: 1 }.as_bytes().to_vec());
        assert_eq!(guest.messages().pop(), Some(rescind.clone()));
        if end_first {
            guest.host.command("fault forge end").unwrap();
            assert!(guest.kinds().is_empty(), "both are devices still");
        }
        guest.post(kind::RELID_RELEASED, &msg::Relid { relid: 1 });
        let mut messages = guest.messages();
        let (kind, body) = messages.pop().unwrap();
        assert_eq!(kind, kind::OFFER_CHANNEL);
        assert_eq!({ get::<msg::OfferChannel>(&body).unwrap().relid }, 3, "1 may be in use");
        if !end_first {
            assert!(messages.is_empty());
            assert_eq!(guest.gpadl(1, 7, 40, 1), Some(STATUS_UNSUCCESSFUL));
            guest.host.command("fault forge end").unwrap();
            messages = guest.messages();
        }
        assert_eq!(messages, [rescind], "what was forged goes, and no device");
        // Both are let go of: the device's channel, and what was in its place.
        guest.post(kind::RELID_RELEASED, &msg::Relid { relid: 1 });
        assert_eq!(guest.host.command("channels").unwrap(), "2 3");
        assert_eq!(guest.gpadl(2, 8, 50, 8), Some(STATUS_SUCCESS));
        assert_eq!(guest.violations(), 0);
    }
}
