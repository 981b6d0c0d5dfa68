// SPDX-License-Identifier: GPL-2.0

//! The driver of the bus device: probe and removal.

use crate::{
    attach::{
        self,
        Config, //
    },
    deferred::Deferred,
    functions,
    nic::{
        max_queues,
        Nic, //
    },
    nvsp::Version,
    parameters,
    queues, //
};
use kernel::{
    dev_err,
    device::{
        Bound,
        Core, //
    },
    net::{
        rtnl,
        Device,
        Feature,
        Queues,
        UnregisteredDevice, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    vmbus::{
        self,
        Guid,
        ProbeType, //
    },
};

/// Limits of the MTU: those of IPv4, and what the header of a frame leaves of 64 KiB.
const MIN_MTU: u32 = 68;
const MAX_MTU: u32 = 65535 - 14;
/// For version 1, which knows of no larger frames.
const STANDARD_MTU: u32 = 1500;

kernel::vmbus_device_table!(
    VMBUS_TABLE,
    <Driver as vmbus::Driver>::IdInfo,
    [(
        vmbus::DeviceId::new(Guid::new(
            0xf8615163,
            0xdf3e,
            0x46c5,
            [0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e],
        )),
        ()
    )]
);

/// What stays as long as a device is bound.
pub(crate) struct Data {
    dev: ARef<Device<Nic>>,
    deferred: Arc<Deferred>,
}

pub(crate) struct Driver;

impl Data {
    fn new(parent: &vmbus::Device<Bound>) -> Result<Self> {
        // Frames that stay where they are would have to be copied to memory that the host sees.
        if vmbus::is_isolated() {
            dev_err!(parent, "isolated guests are not supported\n");
            return Err(ENODEV);
        }
        let queues = u32::from(max_queues());
        let config = Config::new(parameters::ring());
        let wanted = config.wanted(STANDARD_MTU, true);
        let deferred = Deferred::new()?;
        let nic = Nic::new(parent, deferred.clone(), config, parameters::messages())?;
        let queues = Queues {
            tx: queues,
            rx: queues,
        };
        let new =
            UnregisteredDevice::<Nic>::new(parent, queues, Ok::<_, Error>(nic))?.with_ethtool();
        let dev: ARef<Device<Nic>> = (*new).clone();
        let this = Self { dev, deferred };

        // With RTNL from before the host learns that we know of virtual functions, so that the name
        // of this interface comes before that of one, whose driver may wait for RTNL now.
        let mut rtnl = rtnl::lock();
        let (_, facts) = attach::connect(parent, &this.dev, &wanted)?;
        let max = if facts.version == Version::V1 {
            STANDARD_MTU
        } else {
            MAX_MTU
        };

        this.dev.set_address(&mut rtnl, &facts.address);
        attach::tell(&this.dev, &mut rtnl, &facts)?;
        let features =
            this.dev.hw_features(&rtnl) | Feature::HighDma | Feature::VlanTx | Feature::VlanRx;
        this.dev.set_features(&mut rtnl, features);
        this.dev.set_vlan_features(&mut rtnl, features);
        this.dev.set_mtu_range(&mut rtnl, MIN_MTU, max);
        new.register(parent, &mut rtnl)
            .inspect_err(|error| dev_err!(parent, "Unable to register netdev: {:?}\n", error))?;
        this.deferred.begin(this.dev.clone());
        queues::changed(&this.dev, &mut rtnl);
        functions::begin(&this.dev, &mut rtnl)?;
        drop(rtnl);
        // What was noticed before somebody could do something about it.
        this.deferred.link_changed();
        this.deferred.queues_changed();
        Ok(this)
    }

    /// Nothing is set up, or done, any more; what is attached is taken apart.
    fn remove(&self) {
        {
            let mut rtnl = rtnl::lock();

            *self.dev.removed.get_mut(&mut rtnl) = true;
            functions::end(&self.dev, &mut rtnl);
        }
        self.deferred.end();
        attach::detach(&self.dev, &mut rtnl::lock());
    }
}

impl Drop for Data {
    // Also when probe fails.
    fn drop(&mut self) {
        self.remove();
    }
}

#[vtable]
impl vmbus::Driver for Driver {
    type IdInfo = ();
    type Data<'bound> = Data;

    const ID_TABLE: vmbus::IdTable<Self::IdInfo> = &VMBUS_TABLE;
    // The names of interfaces follow the order of the devices.
    const PROBE: ProbeType = ProbeType::ForceSynchronous;

    fn probe<'bound>(
        dev: &'bound vmbus::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        let dev: &'bound vmbus::Device<Bound> = dev;

        Data::new(dev)
    }

    fn suspend<'bound>(
        _dev: &'bound vmbus::Device<Core<'_>>,
        this: Pin<&Self::Data<'bound>>,
    ) -> Result {
        // What the card is set up with outlasts this.
        attach::detach(&this.dev, &mut rtnl::lock());
        Ok(())
    }

    fn resume<'bound>(
        _dev: &'bound vmbus::Device<Core<'_>>,
        this: Pin<&Self::Data<'bound>>,
    ) -> Result {
        attach::attach(&this.dev, &mut rtnl::lock())
    }

    fn unbind<'bound>(_dev: &'bound vmbus::Device<Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        // Before the network device is unregistered.
        this.remove();
    }
}
