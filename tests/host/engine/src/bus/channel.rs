// SPDX-License-Identifier: GPL-2.0

//! Channels: offered, opened, closed, rescinded, released.

use super::*;

impl Host {
    /// Tells the guest that a channel is gone, if it has it.
    pub(super) fn withdraw(&mut self, at: (usize, usize)) {
        let slot = self.slot(at);
        slot.again = false;
        let Some(relid) = slot.relid.filter(|_| !slot.leaving) else { return };
        slot.leaving = true;
        // A guest that hears of the rescind frees the memory without asking: we let go first.
        self.shut(at);
        self.slot(at).gpadls.clear();
        self.slot(at).kept.clear();
        self.patterns.iter_mut().for_each(|list| list.retain(|pattern| pattern.relid != relid));
        self.post(kind::RESCIND_CHANNEL_OFFER, &msg::Relid { relid });
    }

    pub(super) fn request_offers(&mut self) -> Result<(), Violation> {
        if std::mem::replace(&mut self.offers_requested, true) {
            return Err(Violation::new("REQUEST_OFFERS twice on one connection"));
        }
        for index in 0..self.devices.len() {
            if self.devices[index].presence == Presence::There {
                self.offer((index, 0));
            }
        }
        self.post(kind::ALL_OFFERS_DELIVERED, &[0u8; 0]);
        Ok(())
    }

    /// Offers sub-channels 1 to `count` that are not offered; those that the guest has not
    /// released yet follow when it has.
    pub(super) fn offer_sub_channels(&mut self, index: usize, count: usize) {
        let slots = &mut self.devices[index].slots;
        slots.resize_with(slots.len().max(count + 1), Slot::default);
        for channel in 1..=count {
            let slot = self.slot((index, channel));
            match (slot.relid, slot.leaving) {
                (None, _) => self.offer((index, channel)),
                (Some(_), true) => slot.again = true,
                (Some(_), false) => {}
            }
        }
    }

    pub(super) fn offer(&mut self, at: (usize, usize)) {
        // Lowest free number: the same configuration gets the same numbers at every boot.
        let Some(relid) = self.free_relid() else {
            return self.violation("no channel number is free");
        };
        self.channels.insert(relid, at);
        *self.slot(at) = Slot { relid: Some(relid), ..Slot::default() };
        let message = self.offer_message(at, relid);
        self.post(kind::OFFER_CHANNEL, &message);
        if at.1 == 0 {
            self.flicker_begins(at.0);
        }
        self.rescind_at(at.0, Step::Offered);
    }

    pub(super) fn free_relid(&self) -> Option<u32> {
        (1..=MAX_RELID).find(|relid| {
            !self.channels.contains_key(relid)
                && !self.faults.ghosts.contains(relid)
                && !self.is_invented(*relid)
        })
    }

    pub(super) fn offer_message(&self, at: (usize, usize), relid: u32) -> msg::OfferChannel {
        let offer = self.devices[at.0].device.offer();
        let mut user = [0; msg::USER_BYTES];
        let n = offer.user.len().min(user.len());
        user[..n].copy_from_slice(&offer.user[..n]);
        let monitor = offer.monitor_id.or_else(|| self.monitor_id(relid));
        msg::OfferChannel {
            interface: offer.interface,
            instance: offer.instance,
            reserved: [0; 2],
            flags: offer.flags,
            mmio_megabytes: offer.mmio_megabytes,
            user,
            sub_channel: at.1 as u16,
            reserved2: 0,
            relid,
            monitor_id: monitor.unwrap_or(0xff),
            monitor_allocated: monitor.is_some().into(),
            dedicated_interrupt: 1,
            connection: signal_connection(relid),
        }
    }

    /// Device and sub-channel index of a channel's number.
    pub(super) fn channel(&self, relid: u32) -> Result<(usize, usize), Violation> {
        let channel = self.channels.get(&relid).copied();
        channel.ok_or_else(|| Violation::new(format!("channel {relid} is not offered")))
    }

    /// Whether the guest has been told that the channel is gone: what it still says about it is
    /// clearing up.
    pub(super) fn is_leaving(&self, (index, channel): (usize, usize)) -> bool {
        self.devices[index].slots[channel].leaving
    }

    pub(super) fn slot(&mut self, (index, channel): (usize, usize)) -> &mut Slot {
        &mut self.devices[index].slots[channel]
    }

    pub(super) fn open(&mut self, open: msg::OpenChannel) -> Result<(), Violation> {
        let relid = open.relid;
        let at = self.channel(relid)?;
        if self.slot(at).open.is_some() {
            return Err(Violation::new(format!("channel {relid} is open already")));
        }
        // On a rescinded channel there is no answer: the guest hears of the rescind.
        if self.is_leaving(at) {
            return Ok(());
        }
        let mem = self.mem.clone();
        let gpadl = open.gpadl;
        let rings = match self.slot(at).gpadls.get(&gpadl) {
            Some(memory) => RingPair::new(memory, open.second_ring_page, &*mem),
            None => Err(Violation::new(format!("there is no GPADL {gpadl:#x}"))),
        };
        let status = match rings {
            Ok(rings) => {
                let vp = open.target_vp;
                self.slot(at).open =
                    Some(OpenChannel { relid, vp, rings, dead: false, check: Default::default() });
                self.transport.connect(signal_connection(relid));
                self.with(at.0, |device, io| device.opened(io, at.1));
                self.interrupt_early(at);
                STATUS_SUCCESS
            }
            Err(why) => {
                self.violation(why.to_string());
                STATUS_UNSUCCESSFUL
            }
        };
        let open_id = open.open_id;
        self.post(kind::OPEN_RESULT, &msg::OpenResult { relid, open_id, status });
        // What the device has sent already is announced when it is served: after the answer.
        match self.strict {
            true => self.opened.insert(relid),
            false => self.ready.insert(relid),
        };
        self.rescind_at(at.0, Step::Opened);
        Ok(())
    }

    pub(super) fn close(&mut self, relid: u32) -> Result<(), Violation> {
        let at = self.channel(relid)?;
        if self.slot(at).open.is_none() && !self.is_leaving(at) {
            return Err(Violation::new(format!("channel {relid} is not open")));
        }
        self.shut(at);
        if at.1 == 0 {
            (1..self.devices[at.0].slots.len()).for_each(|sub| self.withdraw((at.0, sub)));
        }
        Ok(())
    }

    /// Ends a channel's session, if there is one.
    pub(super) fn shut(&mut self, at: (usize, usize)) {
        let Some(open) = self.slot(at).open.take() else { return };
        self.ready.remove(&open.relid);
        self.transport.disconnect(signal_connection(open.relid));
        self.with(at.0, |device, io| device.closed(io, at.1));
        self.devices[at.0].faults.closed(at.1);
    }

    pub(super) fn released(&mut self, relid: u32) -> Result<(), Violation> {
        let at = self.channel(relid)?;
        if !self.is_leaving(at) {
            if self.forgery.begun {
                // Something forged is in its place: the guest has refused it.
                self.forget(at);
                self.after_forged(relid);
                return Ok(());
            }
            return Err(Violation::new(format!("channel {relid} released, but not rescinded")));
        }
        let again = self.slot(at).again;
        self.forget(at);
        self.after_forged(relid);
        if again {
            self.offer(at);
        }
        let Presence::Leaving(again) = self.devices[at.0].presence else { return Ok(()) };
        if self.devices[at.0].slots.iter().all(|slot| slot.relid.is_none()) {
            self.devices[at.0].presence = if again { Presence::There } else { Presence::Gone };
            if again {
                self.offer((at.0, 0));
            }
        }
        Ok(())
    }

    /// Takes a channel from the guest: its session, its shared memory, its number.
    pub(super) fn forget(&mut self, at: (usize, usize)) {
        self.shut(at);
        let slot = std::mem::take(self.slot(at));
        if let Some(relid) = slot.relid {
            self.channels.remove(&relid);
            self.partial.retain(|_, partial| partial.relid != relid);
        }
    }

    pub(super) fn modify(&mut self, modify: msg::ModifyChannel) -> Result<(), Violation> {
        let relid = modify.relid;
        let at = self.channel(relid)?;
        if self.is_leaving(at) {
            return Ok(());
        }
        let Some(open) = self.slot(at).open.as_mut() else {
            return Err(Violation::new(format!("channel {relid} is not open")));
        };
        open.vp = modify.target_vp;
        if self.version >= Some(Version::V5_3) {
            let status = STATUS_SUCCESS;
            let response = msg::ModifyChannelResponse { relid, status };
            self.post(kind::MODIFY_CHANNEL_RESPONSE, &response);
        }
        Ok(())
    }
}
