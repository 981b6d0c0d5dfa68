// SPDX-License-Identifier: GPL-2.0

//! Setting the card up, bringing it up and down, and setting it up anew.
//!
//! Nothing here waits for the host longer than [`crate::control`] does, and nothing holds a lock
//! but RTNL meanwhile.

use crate::{
    attached::Attached,
    buffers::{
        self,
        ReceiveBuffer,
        SendBuffer, //
    },
    control,
    nic::{
        max_queues,
        Nic, //
    },
    nvsp::{
        self,
        Message,
        Sections,
        Version, //
    },
    offloads::{
        self,
        Capabilities, //
    },
    queue::{
        Queue,
        Session, //
    },
    rndis::{
        self,
        filter,
        Oid, //
    },
    rss::{
        self,
        Rss, //
    },
};
use kernel::{
    alloc::KVec,
    dev_dbg, dev_err,
    device::Bound,
    net::{
        rtnl::Rtnl,
        skb::ETH_HLEN,
        Device,
        Feature,
        MacAddress, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::Relaxed,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    vmbus::{
        self,
        SharedMemory, //
    },
};

/// How long frames that were sent may be on their way when the card is closed.
const DRAIN: Delta = Delta::from_secs(10);
const DRAIN_STEP: Delta = Delta::from_millis(5);

/// The alias that stands for none.
const NO_ALIAS: &[u8] = b"Network Adapter";

/// How the card is to be set up.
pub(crate) struct Config {
    /// Bytes of each ring.
    pub(crate) ring: usize,
    /// Queues, at most.
    pub(crate) queues: u32,
    pub(crate) receive: Sections,
    pub(crate) send: Sections,
    pub(crate) rss: Rss,
    /// Queues that the host could have.
    pub(crate) possible: u32,
}

impl Config {
    pub(crate) fn new(ring: usize) -> Self {
        Self {
            ring,
            queues: max_queues().into(),
            receive: buffers::RECEIVE,
            send: buffers::SEND,
            rss: Rss::new(),
            possible: 1,
        }
    }

    /// What [`connect`] needs of it.
    pub(crate) fn wanted(&self, mtu: u32, coalesce: bool) -> Wanted {
        Wanted {
            ring: self.ring,
            queues: self.queues,
            receive: self.receive,
            send: self.send,
            frame: mtu.saturating_add(ETH_HLEN as u32),
            coalesce,
        }
    }
}

/// What is asked of the host.
pub(crate) struct Wanted {
    ring: usize,
    queues: u32,
    receive: Sections,
    send: Sections,
    /// Bytes of a frame, at most.
    frame: u32,
    coalesce: bool,
}

/// What the host has said of the card.
pub(crate) struct Facts {
    pub(crate) version: Version,
    pub(crate) address: MacAddress,
    mtu: Option<u32>,
    alias: Option<KVec<u8>>,
    capabilities: Capabilities,
    link_up: bool,
    speed: Option<u32>,
    rss: Option<rss::Capabilities>,
    /// Sub-channels that it grants.
    granted: u32,
}

/// Opens the channel and agrees with the host on all that is needed. Process context, sleeps.
///
/// The device finds what is attached from the beginning on, but nothing is sent.
pub(crate) fn connect(
    parent: &vmbus::Device<Bound>,
    dev: &ARef<Device<Nic>>,
    wanted: &Wanted,
) -> Result<(Arc<Attached>, Facts)> {
    let queues = wanted.queues.clamp(1, max_queues().into());
    // CAST: At most `MAX_QUEUES`.
    let attached = Attached::new(parent, dev, queues as u16, wanted.ring)?;

    dev.send_table.reset();
    dev.attached.replace(Some(attached.clone()));
    let result = attached
        .open_primary(parent)
        .inspect_err(|error| dev_err!(parent, "unable to open channel: {:?}\n", error))
        .and_then(|session| handshake(parent, &attached, session, wanted));

    match result {
        Ok(facts) => Ok((attached, facts)),
        Err(error) => {
            disconnect(dev, attached);
            Err(error)
        }
    }
}

fn handshake(
    parent: &vmbus::Device<Bound>,
    attached: &Attached,
    session: &Session,
    wanted: &Wanted,
) -> Result<Facts> {
    let version = negotiate(attached, session)
        .inspect_err(|error| dev_err!(parent, "unable to connect to NetVSP: {:?}\n", error))?;
    attached.set_version(version);
    dev_dbg!(parent, "NVSP version {:#x}\n", version.0);

    if version != Version::V1 {
        control::tell(session, &Message::ndis_config(version, wanted.frame))?;
    }
    control::tell(session, &Message::ndis_version(version))?;
    share_receive_buffer(parent, attached, session, wanted.receive)
        .inspect_err(|error| dev_err!(parent, "no receive buffer: {:?}\n", error))?;
    share_send_buffer(parent, attached, session, wanted.send)
        .inspect_err(|error| dev_err!(parent, "no send buffer: {:?}\n", error))?;
    ask(attached, session, version, wanted)
        .inspect_err(|error| dev_err!(parent, "unable to set the card up: {:?}\n", error))
}

/// Finds the newest version that the host speaks too.
fn negotiate(attached: &Attached, session: &Session) -> Result<Version> {
    for version in Version::ALL {
        let answer = attached
            .answers
            .exchange(session, &Message::init(version))?;

        if nvsp::accepted(answer.bytes()) {
            return Ok(version);
        }
    }
    Err(EPROTO)
}

fn share_receive_buffer(
    parent: &vmbus::Device<Bound>,
    attached: &Attached,
    session: &Session,
    sections: Sections,
) -> Result {
    let max = if attached.version() <= Version::V2 {
        buffers::MAX_RECEIVE_LEGACY
    } else {
        buffers::MAX_RECEIVE
    };
    let memory = SharedMemory::new(parent, buffers::size_of_sections(sections, max))?;
    // Kept from now on, until the channel is closed, whatever the host says.
    attached.receive.populate(ReceiveBuffer::new(memory));
    let buffer = attached.receive.as_ref().ok_or(EINVAL)?;
    let answer = attached
        .answers
        .exchange(session, &Message::receive_buffer(buffer.handle()))?;

    buffer.agree(nvsp::receive_sections(answer.bytes()).ok_or(EINVAL)?)
}

fn share_send_buffer(
    parent: &vmbus::Device<Bound>,
    attached: &Attached,
    session: &Session,
    sections: Sections,
) -> Result {
    let size = buffers::size_of_sections(sections, buffers::MAX_SEND);
    let memory = SharedMemory::new(parent, size)?;
    // As above.
    attached.send.populate(SendBuffer::new(memory));
    let buffer = attached.send.as_ref().ok_or(EINVAL)?;
    let answer = attached
        .answers
        .exchange(session, &Message::send_buffer(buffer.handle()))?;

    buffer.agree(nvsp::send_section_size(answer.bytes()).ok_or(EINVAL)?)
}

/// Begins to speak RNDIS, asks the card about itself, and switches its offloads on.
fn ask(attached: &Attached, session: &Session, version: Version, wanted: &Wanted) -> Result<Facts> {
    let answers = &attached.answers;
    let word = |oid| -> Option<u32> {
        let answer = answers.query(session, oid, &[]).ok()?;
        crate::bytes::u32_at(rndis::information(&answer)?, 0)
    };

    let begun = answers.ask(session, rndis::Request::Init)?;
    if !rndis::succeeded(&begun) {
        return Err(EINVAL);
    }
    if let Some((count, alignment)) = rndis::batching(&begun) {
        attached.set_batching(count, alignment);
    }

    let mtu = word(Oid::MAXIMUM_FRAME_SIZE);
    let answer = answers.query(session, Oid::PERMANENT_ADDRESS, &[])?;
    let address: MacAddress = rndis::information(&answer)
        .and_then(|bytes| bytes.get(..6)?.try_into().ok())
        .ok_or(EINVAL)?;
    let alias = answers
        .query(session, Oid::FRIENDLY_NAME, &[])
        .ok()
        .and_then(|answer| text(rndis::information(&answer)?));
    let capabilities = Capabilities::query(session, attached)?;
    capabilities.enable(session, attached, wanted.coalesce)?;
    let link_up = word(Oid::MEDIA_CONNECT_STATUS).unwrap_or(0) == 0;

    let mut facts = Facts {
        version,
        address,
        mtu,
        alias,
        capabilities,
        link_up,
        speed: None,
        rss: None,
        granted: 0,
    };
    if version >= Version::V5 {
        facts.speed = word(Oid::LINK_SPEED);
        facts.rss = rss::Capabilities::query(session, attached)
            .ok()
            .filter(|rss| rss.queues >= 2);
    }
    if let Some(rss) = facts.rss {
        let more = attached.capacity().min(rss.queues) - 1;

        if more > 0 {
            // Offers may come before the answer does.
            attached.grant(more);
            let answer = answers.exchange(session, &Message::sub_channels(more))?;
            // A host that grants more than it was asked for grants nothing that makes sense.
            facts.granted = nvsp::granted(answer.bytes())
                .filter(|granted| *granted <= more)
                .unwrap_or(0);
        }
    }
    attached.grant(facts.granted);
    Ok(facts)
}

/// UTF-16 as UTF-8; [`None`] if it says nothing.
fn text(utf16: &[u8]) -> Option<KVec<u8>> {
    let units = utf16
        .chunks_exact(2)
        .filter_map(|unit| Some(u16::from_le_bytes(unit.try_into().ok()?)));
    let mut text = KVec::new();

    for unit in char::decode_utf16(units.take_while(|unit| *unit != 0)) {
        let mut bytes = [0; 4];
        let unit = unit.unwrap_or(char::REPLACEMENT_CHARACTER);

        // What the core does not take is left out.
        if text.len() >= 252 {
            break;
        }
        text.extend_from_slice(unit.encode_utf8(&mut bytes).as_bytes(), GFP_KERNEL)
            .ok()?;
    }
    (!text.is_empty() && &text[..] != NO_ALIAS).then_some(text)
}

/// Gives the buffers and the channels back. Process context, sleeps; nobody sends any more.
fn disconnect(dev: &Device<Nic>, attached: Arc<Attached>) {
    attached.closing.store(true, Relaxed);
    attached.set_sends(false);
    if let Ok(session) = attached.primary() {
        // The host does not answer; closing the channel says the same.
        if attached.receive_sections().is_some() {
            let _ = control::tell(session, &Message::revoke_receive_buffer());
        }
        if attached.send_sections().is_some() {
            let _ = control::tell(session, &Message::revoke_send_buffer());
        }
    }
    attached.close();
    dev.vf.reset_path();
    drop(dev.attached.replace(None));
    attached.discard_waiting(dev);
    // What was not completed is not on its way any more.
    for index in 0..max_queues() {
        if let Some(queue) = dev.tx_queue(index) {
            queue.reset();
        }
    }
}

/// Tells the stack what the host has said. Process context.
pub(crate) fn tell(dev: &Device<Nic>, rtnl: &mut Rtnl, facts: &Facts) -> Result {
    if let Some(mtu) = facts.mtu.filter(|mtu| (68..dev.mtu()).contains(mtu)) {
        dev.set_mtu(rtnl, mtu);
    }
    if let Some(alias) = &facts.alias {
        if !dev.has_alias(rtnl) {
            if let Ok(alias) = core::str::from_utf8(alias) {
                dev.set_alias(rtnl, alias)?;
            }
        }
    }
    let capabilities = &facts.capabilities;
    let hw = dev.hw_features(rtnl).without(offloads::dependent()) | capabilities.features;
    let gone = offloads::dependent().without(capabilities.features);

    dev.set_hw_features(rtnl, hw);
    dev.set_features(rtnl, dev.features().without(gone));
    dev.set_tso_max_size(rtnl, capabilities.max_segmented);
    dev.vf.set_own_tso(rtnl, capabilities.max_segmented);
    dev.offloads.set_sums(capabilities.sums);

    dev.link.set_up(rtnl, facts.link_up);
    if let Some(speed) = facts.speed {
        dev.link.set_speed(speed);
    }

    let config = dev.config.get_mut(rtnl);
    config.possible = facts
        .rss
        .map_or(1, |rss| rss.queues.min(max_queues().into()));
    config
        .rss
        .resize(facts.rss.map_or(0, |rss| rss.table), facts.granted + 1)?;
    Ok(())
}

/// Which frames the card is to pass on.
fn wanted_filter(dev: &Device<Nic>) -> u32 {
    let mode = dev.rx_mode();

    if !dev.is_running() {
        return 0;
    }
    if mode.promiscuous {
        return filter::PROMISCUOUS;
    }
    let mut wanted = filter::DIRECTED;
    if mode.all_multicast {
        wanted |= filter::ALL_MULTICAST;
    }
    if mode.broadcast {
        wanted |= filter::BROADCAST;
    }
    wanted
}

#[inline(never)]
fn set_filter(attached: &Attached, wanted: u32) -> Result {
    let session = attached.primary()?;
    let answer = attached.answers.ask(
        session,
        rndis::Request::Set(Oid::PACKET_FILTER, &wanted.to_le_bytes()),
    );

    // Whether it has done it is the card's business.
    answer?;
    attached.filter.store(wanted, Relaxed);
    Ok(())
}

/// Has the card pass on what is wanted. Process context, sleeps; not with RTNL, unless the answer
/// is needed.
pub(crate) fn update_filter(dev: &Device<Nic>) {
    // Somebody else may have told it something else meanwhile, or what is wanted has changed.
    for _ in 0..16 {
        let Some(attached) = dev.attached.get() else {
            return;
        };
        let wanted = wanted_filter(dev);

        if attached.closing.load(Relaxed)
            || attached.filter.load(Relaxed) == wanted
            || set_filter(&attached, wanted).is_err()
        {
            return;
        }
    }
}

/// The device is brought up.
pub(crate) fn open(dev: &Device<Nic>, rtnl: &mut Rtnl) -> Result {
    let attached = dev.attached(rtnl)?;

    set_filter(&attached, wanted_filter(dev))
        .inspect_err(|error| dev_err!(dev.hv(), "unable to open device: {:?}\n", error))?;
    if dev.link.is_up(rtnl) {
        dev.carrier_on();
        attached.set_sends(true);
        dev.tx_wake_all(rtnl);
    }
    Ok(())
}

/// The device is brought down.
pub(crate) fn stop(dev: &Device<Nic>, rtnl: &mut Rtnl) -> Result {
    // The card is gone, and nothing comes in or goes out.
    let Some(attached) = dev.attached.get() else {
        dev.tx_disable(rtnl);
        return Ok(());
    };

    quiet(dev, rtnl, &attached);
    match set_filter(&attached, 0) {
        Ok(()) | Err(ENODEV) => {}
        Err(error) => {
            dev_err!(dev.hv(), "unable to close device: {:?}\n", error);
            return Err(error);
        }
    }
    drain(dev, &attached)
}

/// Nothing is sent any more.
fn quiet(dev: &Device<Nic>, rtnl: &mut Rtnl, attached: &Attached) {
    if attached.sends() {
        attached.disable(dev, rtnl);
    } else {
        dev.tx_disable(rtnl);
    }
}

/// Waits until the host has completed what it was sent.
fn drain(dev: &Device<Nic>, attached: &Attached) -> Result {
    let session = attached.primary()?;
    let start = Instant::<Monotonic>::now();

    while attached.in_flight() != 0 && !session.is_rescinded() {
        if start.elapsed() > DRAIN {
            dev_err!(dev.hv(), "Ring buffer not empty after closing rndis\n");
            return Err(ETIMEDOUT);
        }
        fsleep(DRAIN_STEP);
    }
    Ok(())
}

/// Takes the card apart. Process context, sleeps.
pub(crate) fn detach(dev: &Device<Nic>, rtnl: &mut Rtnl) {
    let Some(attached) = dev.attached.get() else {
        return;
    };

    attached.closing.store(true, Relaxed);
    quiet(dev, rtnl, &attached);
    if dev.is_running() {
        // Closing the channel ends what goes on regardless.
        let _ = set_filter(&attached, 0);
        let _ = drain(dev, &attached);
    }
    dev.detach(rtnl);
    for index in 0..max_queues() {
        let _ = dev.set_poller::<Queue>(rtnl, index, None);
    }
    if let Ok(session) = attached.primary() {
        let _ = attached.answers.halt(session);
        let _ = drain(dev, &attached);
    }
    disconnect(dev, attached);
}

/// Sets the card up as it is configured. Process context, sleeps.
pub(crate) fn attach(dev: &ARef<Device<Nic>>, rtnl: &mut Rtnl) -> Result {
    let coalesce = dev.features().contains(Feature::Lro);
    let wanted = dev.config.get(rtnl).wanted(dev.mtu(), coalesce);
    let (attached, facts) = connect(dev.parent(rtnl)?, dev, &wanted)?;

    let told = tell(dev, rtnl, &facts);
    let opened = told.and_then(|()| {
        if dev.is_running() {
            set_filter(&attached, wanted_filter(dev))?;
        }
        Ok(())
    });
    if let Err(error) = opened {
        disconnect(dev, attached);
        return Err(error);
    }

    // No frame is to come on a queue that is not open.
    crate::queues::changed(dev, rtnl);
    dev.carrier_off();
    if dev.is_running() && dev.link.is_up(rtnl) {
        dev.carrier_on();
        attached.set_sends(true);
    }
    dev.attach(rtnl);
    // The host has forgotten by which path frames went.
    dev.deferred.vf_changed();
    Ok(())
}

/// Sets the card up anew after `change`, or, if that fails, as it was, after `undo`. Process
/// context, sleeps.
pub(crate) fn reattach(
    dev: &Device<Nic>,
    rtnl: &mut Rtnl,
    change: impl FnOnce(&mut Rtnl),
    undo: impl FnOnce(&mut Rtnl),
) -> Result {
    let dev: ARef<Device<Nic>> = dev.into();

    if *dev.removed.get(rtnl) {
        return Err(ENODEV);
    }
    detach(&dev, rtnl);
    change(rtnl);
    let Err(error) = attach(&dev, rtnl) else {
        return Ok(());
    };
    undo(rtnl);
    if let Err(error) = attach(&dev, rtnl) {
        dev_err!(dev.hv(), "restoring the settings failed: {:?}\n", error);
        // So that somebody can try again.
        dev.carrier_off();
        dev.attach(rtnl);
    }
    Err(error)
}

/// Gives the card another address. Process context, sleeps.
pub(crate) fn set_address(attached: &Attached, address: &MacAddress) -> Result {
    const NAME: &[u8] = b"NetworkAddress";
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    const FIELDS: u32 = 20;
    const STRING: u32 = 2;
    let mut parameter = KVec::with_capacity(80, GFP_KERNEL)?;
    // CAST: Small constants.
    let name = 2 * NAME.len() as u32;
    let value = 4 * address.len() as u32;

    for word in [FIELDS, name, STRING, FIELDS + name, value] {
        parameter.extend_from_slice(&word.to_le_bytes(), GFP_KERNEL)?;
    }
    let digits = address
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|digit| DIGITS.get(usize::from(digit)).unwrap_or(&b'0'));
    // In UTF-16.
    for byte in Iterator::chain(NAME.iter(), digits) {
        parameter.extend_from_slice(&[*byte, 0], GFP_KERNEL)?;
    }
    attached
        .answers
        .set(attached.primary()?, Oid::CONFIG_PARAMETER, &parameter)
        .map_err(|error| if error == EINVAL { EIO } else { error })
}
