// SPDX-License-Identifier: GPL-2.0

//! Network devices.
//!
//! A driver makes an [`UnregisteredDevice`], whose private data implement [`Operations`], sets it
//! up, and registers it. From then on it is a [`Device`], which lasts until the driver is unbound.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use super::{
    ethtool,
    rtnl::{
        self,
        Rtnl, //
    },
    skb::TxSkb,
    stats::LinkStats, //
};
use crate::{
    bindings,
    device::{
        self,
        AsBusDevice,
        Bound, //
    },
    devres,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    impl_flags,
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
        Refcount, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::offset_of,
    ops::Deref,
    ptr::NonNull, //
};

/// An address of an Ethernet device.
pub type MacAddress = [u8; bindings::ETH_ALEN as usize];

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

    pub(super) fn from_raw(bits: u64) -> Self {
        Self(bits)
    }

    /// All bits, known here or not.
    fn bits(self) -> u64 {
        self.0
    }
}

/// What became of a frame in [`Operations::start_xmit`].
pub enum Transmit {
    /// The driver has it: it is sent, will be, or was dropped.
    Taken,
    /// The queue is full, and was stopped ([`TxQueue::stop`]); the stack tries again once it is
    /// woken.
    Busy(TxSkb),
}

/// What a network device does. `Self` is the private data of the device.
///
/// The names are those of `struct net_device_ops`.
#[vtable]
pub trait Operations: Send + Sync + Sized + 'static {
    /// The bus device that the device is the network interface of.
    type Parent: AsBusDevice<Bound>;

    /// The device is brought up. Process context, may sleep.
    fn open(dev: &Device<Self>, rtnl: &mut Rtnl) -> Result;

    /// The device is brought down; it is down whatever this returns. Process context, may sleep.
    fn stop(dev: &Device<Self>, rtnl: &mut Rtnl) -> Result;

    /// Sends a frame. `more` says that others follow at once, on the same queue.
    ///
    /// Under the lock of the frame's queue, with softirqs off; netpoll calls it with interrupts
    /// off. No sleep.
    fn start_xmit(dev: &Device<Self>, skb: TxSkb, more: bool) -> Transmit;

    /// Chooses the queue of a frame. The stack reduces it to the number of queues.
    ///
    /// With softirqs off. No sleep. Without it the stack chooses.
    fn select_queue(_dev: &Device<Self>, _skb: &FrameToSend<'_>) -> u16 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The flags of the device, or the list of its addresses, have changed. With softirqs off,
    /// under a lock of the device. No sleep.
    fn set_rx_mode(_dev: &Device<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the address. The stack has checked that it is one, and keeps it if this succeeds.
    /// Process context, may sleep.
    fn set_mac_address(_dev: &Device<Self>, _rtnl: &mut Rtnl, _addr: &MacAddress) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the MTU, which is within the limits of the device; the driver sets the new one
    /// ([`Device::set_mtu`]). Process context, may sleep.
    fn change_mtu(_dev: &Device<Self>, _rtnl: &mut Rtnl, _mtu: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adds what the driver has counted. Any process context, perhaps under RCU: no sleep.
    fn stats(_dev: &Device<Self>, _stats: &mut LinkStats<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes away features that do not go together. Process context.
    fn fix_features(_dev: &Device<Self>, _rtnl: &mut Rtnl, _features: Features) -> Features {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Turns features on and off; [`Device::features`] still are the old ones. Process context,
    /// may sleep. If this fails the features stay as they are.
    fn set_features(_dev: &Device<Self>, _rtnl: &mut Rtnl, _features: Features) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A frame that a queue is chosen for.
///
/// # Invariants
///
/// The pointer is a valid `struct sk_buff` as long as this exists.
pub struct FrameToSend<'a> {
    skb: NonNull<bindings::sk_buff>,
    _borrowed: PhantomData<&'a ()>,
}

impl FrameToSend<'_> {
    /// The hash of the frame's flow, computed if need be.
    pub fn flow_hash(&self) -> u32 {
        // SAFETY: By the type invariant the pointer is valid, and the frame is the stack's, which
        // has asked for it.
        unsafe { bindings::skb_get_hash(self.skb.as_ptr()) }
    }

    /// What kind of flow the frame is of.
    pub fn flow(&self) -> ethtool::Flow {
        // SAFETY: As above.
        ethtool::Flow::from_raw(unsafe { bindings::skb_flow_kind(self.skb.as_ptr()) })
    }

    /// A hash of the frame's addresses, whatever its ports are.
    pub fn address_hash(&self) -> u32 {
        // SAFETY: As above.
        unsafe { bindings::skb_address_hash(self.skb.as_ptr()) }
    }
}

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
    data: T,
}

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
    pub(super) fn as_raw(&self) -> *mut bindings::net_device {
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
        Features(unsafe { (&raw const (*self.as_raw()).features).read_volatile() })
    }

    /// The features that users can change.
    pub fn hw_features(&self, _rtnl: &Rtnl) -> Features {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        Features(unsafe { (*self.as_raw()).hw_features })
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

        Some(TxQueue {
            queue: NonNull::new(queue)?,
            _dev: PhantomData,
        })
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
    #[inline]
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

/// A queue of frames to be sent.
///
/// # Invariants
///
/// The pointer is a queue of a device that is valid as long as this exists.
#[derive(Clone, Copy)]
pub struct TxQueue<'a> {
    queue: NonNull<bindings::netdev_queue>,
    _dev: PhantomData<&'a ()>,
}

impl TxQueue<'_> {
    /// Has the stack send nothing on this queue, until it is woken. Any context.
    #[inline]
    pub fn stop(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_tx_stop_queue(self.queue.as_ptr()) }
    }

    /// Has the stack send again. Any context.
    #[inline]
    pub fn wake(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_tx_wake_queue(self.queue.as_ptr()) }
    }

    /// Whether the driver has stopped the queue.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_tx_queue_stopped(self.queue.as_ptr()) }
    }

    /// Whether the queue is stopped, by the driver or by the limit of bytes under way.
    #[inline]
    pub fn is_blocked(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netif_xmit_stopped(self.queue.as_ptr()) }
    }

    /// Counts bytes that are under way from now on (byte queue limits).
    #[inline]
    pub fn sent(&self, bytes: u32) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netdev_tx_sent_queue(self.queue.as_ptr(), bytes) }
    }

    /// Counts what is not under way any more; no more than was counted by [`TxQueue::sent`].
    #[inline]
    pub fn completed(&self, packets: u32, bytes: u32) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netdev_tx_completed_queue(self.queue.as_ptr(), packets, bytes) }
    }

    /// Nothing is under way. Only while nobody sends on the queue and nothing is completed.
    pub fn reset(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netdev_tx_reset_queue(self.queue.as_ptr()) }
    }
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
        }

        // SAFETY: The device is ours alone. The tables live as long as the driver's code.
        unsafe {
            (*dev).netdev_ops = &Vtable::<T>::OPERATIONS;
            (*dev).dev.parent = parent.as_raw();
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
        let rtnl = rtnl::lock();

        // INVARIANT: Cleared before the parent is unbound, because this waits for RTNL.
        self.0.private().registered.store(false, Release);
        // SAFETY: The device is registered, and RTNL is held.
        unsafe { bindings::unregister_netdevice_queue(self.0.as_raw(), core::ptr::null_mut()) };
        // Waits until nobody uses the device any more.
        drop(rtnl);
    }
}

/// Says whether a message about what another machine does may be printed now (`net_ratelimit()`).
pub fn ratelimit() -> bool {
    // SAFETY: This may be called in any context.
    unsafe { bindings::net_ratelimit() != 0 }
}

/// The C functions of the operations `T`.
pub(super) struct Vtable<T>(PhantomData<T>);

impl<T: Operations> Vtable<T> {
    const OPERATIONS: bindings::net_device_ops = bindings::net_device_ops {
        ndo_open: Some(Self::open),
        ndo_stop: Some(Self::stop),
        ndo_start_xmit: Some(Self::start_xmit),
        ndo_select_queue: if T::HAS_SELECT_QUEUE {
            Some(Self::select_queue)
        } else {
            None
        },
        ndo_set_rx_mode: if T::HAS_SET_RX_MODE {
            Some(Self::set_rx_mode)
        } else {
            None
        },
        ndo_set_mac_address: if T::HAS_SET_MAC_ADDRESS {
            Some(Self::set_mac_address)
        } else {
            None
        },
        ndo_validate_addr: Some(bindings::eth_validate_addr),
        ndo_change_mtu: if T::HAS_CHANGE_MTU {
            Some(Self::change_mtu)
        } else {
            None
        },
        ndo_get_stats64: if T::HAS_STATS {
            Some(Self::get_stats64)
        } else {
            None
        },
        ndo_fix_features: if T::HAS_FIX_FEATURES {
            Some(Self::fix_features)
        } else {
            None
        },
        ndo_set_features: if T::HAS_SET_FEATURES {
            Some(Self::set_features)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Only for the core, with RTNL held, for a device of type `T`.
    unsafe extern "C" fn open(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: By the safety requirements; the device is valid during the call.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: By the safety requirements; whoever has made the core call this has lent its
        // token to the core.
        let mut rtnl = unsafe { Rtnl::assume_held() };

        from_result(|| T::open(dev, &mut rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// As for [`Self::open`].
    unsafe extern "C" fn stop(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: As in `open()`.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: As in `open()`.
        let mut rtnl = unsafe { Rtnl::assume_held() };

        from_result(|| T::stop(dev, &mut rtnl).map(|()| 0))
    }

    /// # Safety
    ///
    /// Only for the core, for a device of type `T`; `skb` is given to the driver.
    unsafe extern "C" fn start_xmit(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> bindings::netdev_tx_t {
        // SAFETY: As in `open()`.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        let Some(skb) = NonNull::new(skb) else {
            return bindings::netdev_tx::NETDEV_TX_OK;
        };
        // SAFETY: By the safety requirements. Devices made here do not say that they can send
        // memory that is no pages (`netmem_tx`).
        let skb = unsafe { TxSkb::from_raw(skb) };
        // SAFETY: We are in the transmit function.
        let more = unsafe { bindings::netdev_xmit_more() };

        match T::start_xmit(dev, skb, more) {
            Transmit::Taken => bindings::netdev_tx::NETDEV_TX_OK,
            Transmit::Busy(skb) => {
                skb.into_raw();
                bindings::netdev_tx::NETDEV_TX_BUSY
            }
        }
    }

    /// # Safety
    ///
    /// Only for the core, for a device of type `T`.
    unsafe extern "C" fn select_queue(
        dev: *mut bindings::net_device,
        skb: *mut bindings::sk_buff,
        _subordinate: *mut bindings::net_device,
    ) -> u16 {
        // SAFETY: As in `open()`.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        let Some(skb) = NonNull::new(skb) else {
            return 0;
        };
        // INVARIANT: The frame is valid during the call.
        let frame = FrameToSend {
            skb,
            _borrowed: PhantomData,
        };
        let queue = T::select_queue(dev, &frame);

        // What the core does with a number that is too large is to complain.
        match u32::from(queue).checked_rem(dev.tx_queues()) {
            // CAST: No larger than `queue`.
            Some(queue) => queue as u16,
            None => 0,
        }
    }

    /// # Safety
    ///
    /// Only for the core, for a device of type `T`.
    unsafe extern "C" fn set_rx_mode(dev: *mut bindings::net_device) {
        // SAFETY: As in `open()`.
        T::set_rx_mode(unsafe { Device::<T>::from_raw(dev) });
    }

    /// # Safety
    ///
    /// As for [`Self::open`]; `addr` is a `struct sockaddr`.
    unsafe extern "C" fn set_mac_address(
        dev: *mut bindings::net_device,
        addr: *mut c_void,
    ) -> c_int {
        // SAFETY: As in `open()`.
        let device = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: As in `open()`.
        let mut rtnl = unsafe { Rtnl::assume_held() };

        from_result(|| {
            // SAFETY: Both pointers are valid.
            to_result(unsafe { bindings::eth_prepare_mac_addr_change(dev, addr) })?;

            // SAFETY: By the safety requirements.
            let data = unsafe { &raw const (*addr.cast::<bindings::sockaddr>()).sa_data };
            // SAFETY: It has room for more than an address of an Ethernet device.
            let mac: MacAddress = unsafe { data.cast::<MacAddress>().read_unaligned() };

            T::set_mac_address(device, &mut rtnl, &mac)?;
            // SAFETY: Both pointers are valid, and the change was prepared.
            unsafe { bindings::eth_commit_mac_addr_change(dev, addr) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As for [`Self::open`].
    unsafe extern "C" fn change_mtu(dev: *mut bindings::net_device, mtu: c_int) -> c_int {
        // SAFETY: As in `open()`.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: As in `open()`.
        let mut rtnl = unsafe { Rtnl::assume_held() };

        from_result(|| T::change_mtu(dev, &mut rtnl, u32::try_from(mtu)?).map(|()| 0))
    }

    /// # Safety
    ///
    /// Only for the core, for a device of type `T`; `stats` is valid, and the caller's.
    unsafe extern "C" fn get_stats64(
        dev: *mut bindings::net_device,
        stats: *mut bindings::rtnl_link_stats64,
    ) {
        // SAFETY: As in `open()`.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: By the safety requirements.
        let stats = unsafe { &mut *stats };

        T::stats(dev, &mut LinkStats::new(stats));
    }

    /// # Safety
    ///
    /// As for [`Self::open`].
    unsafe extern "C" fn fix_features(
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> bindings::netdev_features_t {
        // SAFETY: As in `open()`.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: As in `open()`.
        let mut rtnl = unsafe { Rtnl::assume_held() };

        T::fix_features(dev, &mut rtnl, Features::from_raw(features)).bits()
    }

    /// # Safety
    ///
    /// As for [`Self::open`].
    unsafe extern "C" fn set_features(
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> c_int {
        // SAFETY: As in `open()`.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: As in `open()`.
        let mut rtnl = unsafe { Rtnl::assume_held() };

        from_result(|| T::set_features(dev, &mut rtnl, Features::from_raw(features)).map(|()| 0))
    }
}
