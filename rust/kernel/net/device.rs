// SPDX-License-Identifier: GPL-2.0

//! Network devices.
//!
//! A driver makes an [`UnregisteredDevice`], whose private data implement [`Operations`], sets it
//! up, and registers it. From then on it is a [`Device`], which lasts until the driver is unbound.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use super::{
    ethtool,
    features::Features,
    napi::{
        Napi,
        Poll, //
    },
    operations::{
        Operations,
        Vtable, //
    },
    rtnl::{
        self,
        Rtnl, //
    },
    txq::TxQueue,
    upper, //
};
use crate::{
    bindings,
    device::{
        self,
        AsBusDevice,
        Bound, //
    },
    devres,
    error::to_result,
    prelude::*,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        Arc,
        Refcount, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::offset_of,
    ops::Deref,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

/// An address of an Ethernet device.
pub type MacAddress = [u8; bindings::ETH_ALEN as usize];

/// Numbers of queues of a device, at most.
#[derive(Clone, Copy)]
pub struct Queues {
    /// Queues to send on.
    pub tx: u32,
    /// Queues to receive on.
    pub rx: u32,
}

/// What is in the private area of the C structure.
#[repr(C)]
struct Private<T> {
    refs: Refcount,
    registered: Atomic<bool>,
    /// What polls each queue, as far as users are told.
    pollers: rtnl::Cell<KVec<Option<KBox<dyn Poller>>>>,
    /// A device that this one works by.
    lower: upper::Place,
    data: T,
}

/// An instance of NAPI that is kept.
trait Poller: Send + Sync {}

impl<P: Poll> Poller for Arc<Napi<P>> {}

/// A network device with private data `T`.
///
/// It is valid as long as there is a reference, registered or not. A reference does not keep it
/// from being unregistered. The last one must be dropped in process context, which may sleep.
///
/// # Invariants
///
/// This is a valid `struct net_device` that [`UnregisteredDevice::new`] has allocated, with an
/// initialized `Private<T>` in its private area, which counts the references. Its parent is a
/// `T::Parent`, which is bound to its driver while `registered` is set.
#[repr(transparent)]
pub struct Device<T: Operations>(Opaque<bindings::net_device>, PhantomData<T>);

// SAFETY: A device can be released by any thread, and `T` is `Send`.
unsafe impl<T: Operations> Send for Device<T> {}

// SAFETY: All methods may be called by any thread, or ask for the lock that they need; `T` is
// `Sync`.
unsafe impl<T: Operations> Sync for Device<T> {}

impl<T: Operations> Device<T> {
    const ALIGNED: () = assert!(
        align_of::<Private<T>>() <= 32,
        "the private area of a network device is aligned to 32 bytes"
    );

    /// # Safety
    ///
    /// `dev` must be a device of this type, and stay valid for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(dev: *mut bindings::net_device) -> &'a Self {
        // CAST: `Device` is transparent.
        // SAFETY: By the safety requirements.
        unsafe { &*dev.cast() }
    }

    /// The C structure.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    #[inline]
    fn private_of(dev: *mut bindings::net_device) -> *mut Private<T> {
        const { Self::ALIGNED };
        dev.wrapping_byte_add(offset_of!(bindings::net_device, priv_))
            .cast()
    }

    #[inline]
    fn private(&self) -> &Private<T> {
        // SAFETY: By the type invariant it is initialized.
        unsafe { &*Self::private_of(self.as_raw()) }
    }

    #[inline]
    pub(super) fn lower_place(&self) -> &upper::Place {
        &self.private().lower
    }

    /// The bus device, which is bound to its driver as long as this is registered.
    ///
    /// Fails with [`ENODEV`] if the device is not registered.
    pub fn parent<'a>(&'a self, _rtnl: &'a Rtnl) -> Result<&'a T::Parent> {
        if !self.private().registered.load(Acquire) {
            return Err(ENODEV);
        }
        // SAFETY: By the type invariant the parent is valid, and bound until this device has been
        // unregistered, for which RTNL is needed.
        let parent = unsafe { device::Device::from_raw((*self.as_raw()).dev.parent) };

        // SAFETY: By the type invariant it is in a `T::Parent`.
        Ok(unsafe { T::Parent::from_device(parent) })
    }

    /// Whether the device can be seen by others. May change at any time.
    #[inline]
    pub fn is_registered(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid. A byte is read as a whole.
        let state = unsafe { (&raw const (*self.as_raw()).reg_state).read_volatile() };

        u32::from(state) == bindings::netdev_reg_state_NETREG_REGISTERED
    }

    /// Whether the device is up.
    #[inline]
    pub fn is_running(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid. A word is read as a whole.
        let state = unsafe { (&raw const (*self.as_raw()).state).read_volatile() };

        state & (1 << bindings::netdev_state_t___LINK_STATE_START) != 0
    }

    /// The MTU in bytes.
    #[inline]
    pub fn mtu(&self) -> u32 {
        // SAFETY: By the type invariant the pointer is valid. A word is read as a whole.
        unsafe { (&raw const (*self.as_raw()).mtu).read_volatile() }
    }

    /// Sets the MTU. Others learn of it only if this is called by [`Operations::change_mtu`].
    pub fn set_mtu(&self, _rtnl: &mut Rtnl, mtu: u32) {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe { (&raw mut (*self.as_raw()).mtu).write_volatile(mtu) }
    }

    /// Sets the limits of the MTU.
    pub fn set_mtu_range(&self, _rtnl: &mut Rtnl, min: u32, max: u32) {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe {
            (*self.as_raw()).min_mtu = min;
            (*self.as_raw()).max_mtu = max;
        }
    }

    /// The flags of the interface that a filter of received frames needs.
    pub fn rx_mode(&self) -> RxMode {
        // SAFETY: By the type invariant the pointer is valid. A word is read as a whole.
        let flags = unsafe { (&raw const (*self.as_raw()).flags).read_volatile() };

        RxMode {
            promiscuous: flags & bindings::net_device_flags_IFF_PROMISC != 0,
            all_multicast: flags & bindings::net_device_flags_IFF_ALLMULTI != 0
                // SAFETY: By the type invariant the pointer is valid; a counter is read.
                || !unsafe { bindings::netdev_mc_empty(self.as_raw()) },
            broadcast: flags & bindings::net_device_flags_IFF_BROADCAST != 0,
        }
    }

    /// The features that are on.
    #[inline]
    pub fn features(&self) -> Features {
        // SAFETY: By the type invariant the pointer is valid. A word is read as a whole.
        Features::from_raw(unsafe { (&raw const (*self.as_raw()).features).read_volatile() })
    }

    /// The features that users can change.
    pub fn hw_features(&self, _rtnl: &Rtnl) -> Features {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        Features::from_raw(unsafe { (*self.as_raw()).hw_features })
    }

    /// Sets the features that users can change.
    pub fn set_hw_features(&self, _rtnl: &mut Rtnl, features: Features) {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe { (*self.as_raw()).hw_features = features.bits() }
    }

    /// Sets the features that are on, without asking anybody. Before the device is registered, or
    /// for features that are no more.
    pub fn set_features(&self, _rtnl: &mut Rtnl, features: Features) {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe { (&raw mut (*self.as_raw()).features).write_volatile(features.bits()) }
    }

    /// Sets the features of VLANs on top of the device.
    pub fn set_vlan_features(&self, _rtnl: &mut Rtnl, features: Features) {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe { (*self.as_raw()).vlan_features = features.bits() }
    }

    /// Sets how many bytes a frame may have that the device segments.
    pub fn set_tso_max_size(&self, _rtnl: &mut Rtnl, bytes: u32) {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe { bindings::netif_set_tso_max_size(self.as_raw(), bytes) }
    }

    /// Sets the address of the device.
    pub fn set_address(&self, _rtnl: &mut Rtnl, addr: &MacAddress) {
        // SAFETY: By the type invariant the pointer is valid, RTNL is held, and an address of an
        // Ethernet device has so many bytes.
        unsafe { bindings::eth_hw_addr_set(self.as_raw(), addr.as_ptr()) }
    }

    /// Whether the interface has a text that describes it.
    pub fn has_alias(&self, _rtnl: &Rtnl) -> bool {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        !unsafe { (*self.as_raw()).ifalias }.is_null()
    }

    /// Sets the text that describes the interface.
    pub fn set_alias(&self, _rtnl: &mut Rtnl, alias: &str) -> Result {
        // SAFETY: By the type invariant the pointer is valid, RTNL is held, and the text has so
        // many bytes.
        let set =
            unsafe { bindings::dev_set_alias(self.as_raw(), alias.as_ptr().cast(), alias.len()) };

        to_result(set.min(0))
    }

    /// Sets how many queues are used. At most as many as the device was made with.
    pub fn set_queues(&self, _rtnl: &mut Rtnl, queues: Queues) -> Result {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held, if the device is
        // registered.
        to_result(unsafe { bindings::netif_set_real_num_tx_queues(self.as_raw(), queues.tx) })?;
        // SAFETY: As above.
        to_result(unsafe { bindings::netif_set_real_num_rx_queues(self.as_raw(), queues.rx) })
    }

    /// How many queues are used to send.
    #[inline]
    pub fn tx_queues(&self) -> u32 {
        // SAFETY: By the type invariant the pointer is valid. A word is read as a whole.
        unsafe { (&raw const (*self.as_raw()).real_num_tx_queues).read_volatile() }
    }

    /// A queue to send on, used or not.
    #[inline]
    pub fn tx_queue(&self, index: u16) -> Option<TxQueue<'_>> {
        // SAFETY: By the type invariant the pointer is valid; the number never changes.
        if u32::from(index) >= unsafe { (*self.as_raw()).num_tx_queues } {
            return None;
        }
        // SAFETY: There are so many queues, as long as the device.
        let queue = unsafe { (*self.as_raw())._tx.add(usize::from(index)) };

        // SAFETY: As above.
        Some(unsafe { TxQueue::from_raw(NonNull::new(queue)?) })
    }

    /// Tells users which instance polls a queue, in both directions, or that none does. The instance
    /// is kept until another takes its place, or the device is unregistered.
    ///
    /// Process context. Fails with [`ENODEV`] if the device is not registered, with [`EINVAL`] if it
    /// has no such queue, and with [`ENOMEM`].
    pub fn set_poller<P: Poll<Device = T>>(
        &self,
        rtnl: &mut Rtnl,
        queue: u16,
        napi: Option<&Arc<Napi<P>>>,
    ) -> Result {
        // SAFETY: By the type invariant the pointer is valid; the numbers never change.
        let (tx, rx) = unsafe {
            (
                (*self.as_raw()).num_tx_queues,
                (*self.as_raw()).num_rx_queues,
            )
        };
        if u32::from(queue) >= tx.min(rx) {
            return Err(EINVAL);
        }
        if napi.is_some_and(|napi| napi.device().as_raw() != self.as_raw()) {
            return Err(EINVAL);
        }
        if !self.private().registered.load(Acquire) {
            return Err(ENODEV);
        }
        let kept: Option<KBox<dyn Poller>> = match napi {
            Some(napi) => Some(KBox::new(napi.clone(), GFP_KERNEL)?),
            None => None,
        };
        let pollers = self.private().pollers.get_mut(rtnl);
        while pollers.len() <= usize::from(queue) {
            pollers.push(None, GFP_KERNEL)?;
        }
        let raw = napi.map_or(null_mut(), |napi| napi.as_raw());

        for direction in [
            bindings::netdev_queue_type_NETDEV_QUEUE_TYPE_TX,
            bindings::netdev_queue_type_NETDEV_QUEUE_TYPE_RX,
        ] {
            // SAFETY: The device is valid, has such a queue, and is registered, and RTNL is held.
            // The instance is kept as long as the queue names it.
            unsafe { bindings::netif_queue_set_napi(self.as_raw(), queue.into(), direction, raw) };
        }
        if let Some(place) = pollers.get_mut(usize::from(queue)) {
            // Nobody is told of the old one any more.
            *place = kept;
        }
        Ok(())
    }

    /// The other side is there: frames may be sent. Any context.
    pub fn carrier_on(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_carrier_on(self.as_raw()) }
    }

    /// The other side is not there. Any context.
    pub fn carrier_off(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_carrier_off(self.as_raw()) }
    }

    /// Has others learn where this host is now. Process context. Nothing, if the device is not
    /// registered.
    pub fn notify_peers(&self, _rtnl: &mut Rtnl) {
        if !self.is_registered() {
            return;
        }
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe { bindings::__netdev_notify_peers(self.as_raw()) }
    }

    /// Stops all queues, and waits until nobody is in [`Operations::start_xmit`]. Process context.
    // In C it is an inline function of a loop with locks.
    #[inline(never)]
    pub fn tx_disable(&self, _rtnl: &mut Rtnl) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_tx_disable(self.as_raw()) }
    }

    /// Wakes all queues.
    pub fn tx_wake_all(&self, _rtnl: &mut Rtnl) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_tx_wake_all_queues(self.as_raw()) }
    }

    /// The device is not there for a while: nothing is sent, and others cannot change it.
    pub fn detach(&self, _rtnl: &mut Rtnl) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_device_detach(self.as_raw()) }
    }

    /// The device is there again.
    pub fn attach(&self, _rtnl: &mut Rtnl) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_device_attach(self.as_raw()) }
    }
}

impl<T: Operations> Deref for Device<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.private().data
    }
}

// SAFETY: A device is freed when its last reference is dropped, and all instances are counted.
unsafe impl<T: Operations> AlwaysRefCounted for Device<T> {
    #[inline(never)]
    fn inc_ref(&self) {
        self.private().refs.inc();
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // CAST: `Device` is transparent.
        let dev: *mut bindings::net_device = obj.as_ptr().cast();
        let private = Self::private_of(dev);

        // SAFETY: The caller has a reference, so the device is valid.
        if !unsafe { (*private).refs.dec_and_test() } {
            return;
        }
        // SAFETY: Nobody has a reference any more; a registration would have one, so the
        // operations are not called any more either.
        unsafe { core::ptr::drop_in_place(private) };
        // SAFETY: As above.
        unsafe { bindings::free_netdev(dev) };
    }
}

/// What frames a device is to receive.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RxMode {
    /// All.
    pub promiscuous: bool,
    /// All that are for a group.
    pub all_multicast: bool,
    /// Those that are for all.
    pub broadcast: bool,
}

/// A device that others cannot see yet.
pub struct UnregisteredDevice<T: Operations>(ARef<Device<T>>);

impl<T: Operations> UnregisteredDevice<T> {
    /// Makes an Ethernet device, named `eth` and a number, with one queue in use in each
    /// direction, and without a carrier. Process context, may sleep.
    pub fn new<E>(parent: &T::Parent, queues: Queues, data: impl PinInit<T, E>) -> Result<Self>
    where
        Error: From<E>,
    {
        let parent: &device::Device<Bound> = parent.as_ref();
        let size = c_int::try_from(size_of::<Private<T>>())?;

        // SAFETY: Any numbers will do.
        let dev = unsafe { bindings::alloc_etherdev_mqs(size, queues.tx, queues.rx) };
        if dev.is_null() {
            return Err(ENOMEM);
        }
        let private = Device::<T>::private_of(dev);

        // SAFETY: The private area is valid for writes, and not used before this returns.
        if let Err(error) = unsafe { data.__init(&raw mut (*private).data) } {
            // SAFETY: The device was just allocated, and nobody else knows of it.
            unsafe { bindings::free_netdev(dev) };
            return Err(error.into());
        }
        // SAFETY: The private area is valid for writes.
        unsafe {
            (&raw mut (*private).refs).write(Refcount::new(1));
            (&raw mut (*private).registered).write(Atomic::new(false));
            (&raw mut (*private).pollers).write(rtnl::Cell::new(KVec::new()));
            (&raw mut (*private).lower).write(upper::Place::new());
        }

        // SAFETY: The device is ours alone. The tables live as long as the driver's code.
        unsafe {
            (*dev).netdev_ops = &Vtable::<T>::OPERATIONS;
            (*dev).dev.parent = parent.as_raw();
            (*dev).xdp_features = Vtable::<T>::XDP_FEATURES;
        }
        // SAFETY: As above.
        unsafe { bindings::netif_carrier_off(dev) };

        // SAFETY: The device is valid, and the reference is the one that its count stands for.
        //
        // INVARIANT: It was allocated here, and its private area is initialized.
        let dev = unsafe { ARef::from_raw(NonNull::new_unchecked(dev.cast())) };
        let this = Self(dev);
        // SAFETY: Nobody else knows of the device; these need no lock then.
        to_result(unsafe { bindings::netif_set_real_num_tx_queues(this.0.as_raw(), 1) })?;
        // SAFETY: As above.
        to_result(unsafe { bindings::netif_set_real_num_rx_queues(this.0.as_raw(), 1) })?;
        Ok(this)
    }

    /// Gives the device the operations of ethtool.
    pub fn with_ethtool(self) -> Self
    where
        T: ethtool::Operations,
    {
        // SAFETY: The device is valid, and not registered. The table lives as long as the driver's
        // code.
        unsafe { (*self.0.as_raw()).ethtool_ops = ethtool::operations::<T>() };
        self
    }

    /// Registers the device, until its parent is unbound from its driver: then, after the
    /// driver's `unbind`, and before its data are dropped, it is unregistered, and no operation is
    /// called any more.
    ///
    /// Operations may be called before this returns. Process context, sleeps. `parent` is the one
    /// that the device was made for; [`EINVAL`] if it is not.
    pub fn register(self, parent: &T::Parent, _rtnl: &mut Rtnl) -> Result {
        let bound: &device::Device<Bound> = parent.as_ref();

        // SAFETY: The device is valid.
        if bound.as_raw() != unsafe { (*self.0.as_raw()).dev.parent } {
            return Err(EINVAL);
        }
        // First what can fail and be undone without RTNL.
        devres::register(bound, Registration(self.0.clone()), GFP_KERNEL)?;
        // For a lower device, whose locks are taken inside of this one's.
        // SAFETY: The device is valid, and not registered.
        unsafe { bindings::netdev_lockdep_set_classes(self.0.as_raw()) };
        // SAFETY: The device is valid, and not registered, and RTNL is held.
        to_result(unsafe { bindings::register_netdevice(self.0.as_raw()) })?;
        // INVARIANT: The parent is bound, and unbinding it drops the `Registration`.
        self.0.private().registered.store(true, Release);
        Ok(())
    }
}

impl<T: Operations> Deref for UnregisteredDevice<T> {
    type Target = ARef<Device<T>>;

    fn deref(&self) -> &ARef<Device<T>> {
        &self.0
    }
}

/// What unregisters a device, if it is registered, when its parent is unbound.
///
/// Process context, takes RTNL, and sleeps.
struct Registration<T: Operations>(ARef<Device<T>>);

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        // `register()` fails with RTNL held.
        if !self.0.private().registered.load(Acquire) {
            return;
        }
        let mut rtnl = rtnl::lock();

        // INVARIANT: Cleared before the parent is unbound, because this waits for RTNL.
        self.0.private().registered.store(false, Release);
        drop(self.0.leave(&mut rtnl));
        // SAFETY: The device is registered, and RTNL is held.
        unsafe { bindings::unregister_netdevice_queue(self.0.as_raw(), null_mut()) };
        // Nobody asks about the queues any more. What is kept has references to the device.
        let pollers = core::mem::take(self.0.private().pollers.get_mut(&mut rtnl));
        drop(pollers);
        // Waits until nobody uses the device any more.
        drop(rtnl);
    }
}

/// Says whether a message about what another machine does may be printed now (`net_ratelimit()`).
pub fn ratelimit() -> bool {
    // SAFETY: This may be called in any context.
    unsafe { bindings::net_ratelimit() != 0 }
}
