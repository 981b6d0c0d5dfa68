// SPDX-License-Identifier: GPL-2.0

//! Network devices of other drivers, and what happens to them.
//!
//! An [`Interface`] is any network device. A [`Watch`] tells a [`Watcher`] what happens to all of
//! them.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/net/netdev_lock.h`](srctree/include/net/netdev_lock.h)

use super::{
    device::{
        Device,
        MacAddress, //
    },
    features::Features,
    operations::Operations,
    rtnl::Rtnl,
    skb::TxSkb,
    xdp::Program, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    str::CStrExt as _,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};
use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

/// Any network device, of whichever driver.
///
/// Whoever keeps a reference has to give it up when the device is unregistered
/// ([`Event::Unregister`]): that waits until nobody has one.
///
/// # Invariants
///
/// This is a valid `struct net_device`, which is registered, or is about to be, or was.
#[repr(transparent)]
pub struct Interface(Opaque<bindings::net_device>);

// SAFETY: A reference to a device may be given up by any thread.
unsafe impl Send for Interface {}

// SAFETY: All methods may be called by any thread, or ask for the lock that they need.
unsafe impl Sync for Interface {}

// SAFETY: A device that was registered is freed when nobody has a reference any more.
unsafe impl AlwaysRefCounted for Interface {
    fn inc_ref(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::dev_hold(self.as_raw()) }
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // CAST: `Interface` is transparent.
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::dev_put(obj.as_ptr().cast()) }
    }
}

impl Interface {
    /// # Safety
    ///
    /// `dev` must be valid for `'a`, and not one that is never registered.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(dev: *mut bindings::net_device) -> &'a Self {
        // CAST: `Interface` is transparent.
        // SAFETY: By the safety requirements.
        unsafe { &*dev.cast() }
    }

    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    /// Whether this is that device. Any context.
    #[inline]
    pub fn is<T: Operations>(&self, dev: &Device<T>) -> bool {
        core::ptr::eq(self.as_raw(), dev.as_raw())
    }

    /// Whether both are the same. Any context.
    #[inline]
    pub fn is_same(&self, other: &Interface) -> bool {
        core::ptr::eq(self, other)
    }

    /// The name.
    pub fn name<'a>(&'a self, _rtnl: &'a Rtnl) -> &'a CStr {
        // SAFETY: By the type invariant the pointer is valid. The name ends with a zero, and changes
        // under RTNL only.
        unsafe { CStr::from_char_ptr((*self.as_raw()).name.as_ptr()) }
    }

    #[inline]
    fn has_state(&self, bit: bindings::netdev_state_t) -> bool {
        // SAFETY: By the type invariant the pointer is valid. A word is read as a whole.
        let state = unsafe { (&raw const (*self.as_raw()).state).read_volatile() };

        state & (1 << bit) != 0
    }

    /// Whether the device is up. Any context; may change at any time.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.has_state(bindings::netdev_state_t___LINK_STATE_START)
    }

    /// Whether there is somebody at the other end. Any context; may change at any time.
    #[inline]
    pub fn has_carrier(&self) -> bool {
        !self.has_state(bindings::netdev_state_t___LINK_STATE_NOCARRIER)
    }

    /// Whether others can see the device, with RTNL held.
    pub fn is_registered(&self, _rtnl: &Rtnl) -> bool {
        // SAFETY: By the type invariant the pointer is valid. A byte is read as a whole.
        let state = unsafe { (&raw const (*self.as_raw()).reg_state).read_volatile() };

        u32::from(state) == bindings::netdev_reg_state_NETREG_REGISTERED
    }

    /// Whether this is an Ethernet device, and neither a VLAN nor a bond.
    pub fn is_plain_ethernet(&self, _rtnl: &Rtnl) -> bool {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netdev_is_plain_ethernet(self.as_raw()) }
    }

    /// The number that the PCI slot of the device has as its name.
    ///
    /// [`ENODEV`] if it is no PCI device, [`ENXIO`] if nobody knows its slot, and [`EINVAL`] if the
    /// name is no number.
    pub fn pci_slot(&self, _rtnl: &Rtnl) -> Result<u32> {
        let mut number = 0;

        // SAFETY: By the type invariant the pointer is valid; the parent is, as long as the device
        // is registered, or is about to be.
        to_result(unsafe { bindings::netdev_pci_slot(self.as_raw(), &mut number) })?;
        Ok(number)
    }

    /// The addresses of an Ethernet device: the one in use, and the one that it was made with, which
    /// is all zeroes until it is registered. [`None`] if it is another kind of device.
    pub fn addresses(&self, rtnl: &Rtnl) -> Option<(MacAddress, MacAddress)> {
        if !self.is_plain_ethernet(rtnl) {
            return None;
        }
        // SAFETY: By the type invariant the pointer is valid. The address changes under RTNL only,
        // and has so many bytes.
        let now: MacAddress = unsafe { *(*self.as_raw()).dev_addr.cast() };
        // SAFETY: As above.
        let permanent: MacAddress = unsafe { *(&raw const (*self.as_raw()).perm_addr).cast() };

        Some((now, permanent))
    }

    /// How many bytes a frame may have that the device segments.
    pub fn tso_max_size(&self, _rtnl: &Rtnl) -> u32 {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe { (*self.as_raw()).tso_max_size }
    }

    /// The device, which is about to be registered, will be part of another ([`Device::join`]), and
    /// is to have no IPv6 addresses of its own.
    pub fn mark_slave(&self, _rtnl: &mut Rtnl) {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe { bindings::netdev_mark_slave(self.as_raw()) }
    }

    /// Brings the device up. Process context, sleeps; for the locks see [`Watcher::event`].
    pub fn open(&self, _rtnl: &mut Rtnl) -> Result {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        to_result(unsafe { bindings::dev_open(self.as_raw(), null_mut()) })
    }

    /// Brings the device down. Like [`Self::open`].
    pub fn close(&self, _rtnl: &mut Rtnl) {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe { bindings::dev_close(self.as_raw()) }
    }

    /// Sets the MTU. Like [`Self::open`].
    pub fn set_mtu(&self, _rtnl: &mut Rtnl, mtu: u32) -> Result {
        let mtu = c_int::try_from(mtu)?;

        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        to_result(unsafe { bindings::dev_set_mtu(self.as_raw(), mtu) })
    }

    /// Sets the address. Like [`Self::open`]. [`EINVAL`] if it is no Ethernet device.
    pub fn set_address(&self, rtnl: &mut Rtnl, address: &MacAddress) -> Result {
        if !self.is_plain_ethernet(rtnl) {
            return Err(EINVAL);
        }
        let mut storage: bindings::__kernel_sockaddr_storage = pin_init::zeroed();
        // SAFETY: The one is as large as the other, and aligned like it.
        let addr = unsafe { &mut *(&raw mut storage).cast::<bindings::sockaddr>() };

        // SAFETY: By the type invariant the pointer is valid.
        addr.sa_family = unsafe { (*self.as_raw()).type_ };
        // SAFETY: `sa_data` is followed by the rest of `storage`, which has room for an address.
        unsafe { (&raw mut addr.sa_data).cast::<MacAddress>().write(*address) };
        // SAFETY: Both pointers are valid, and RTNL is held.
        to_result(unsafe { bindings::dev_set_mac_address(self.as_raw(), &mut storage, null_mut()) })
    }

    /// Has the device receive all frames, or no longer because of the caller; calls are counted.
    /// Like [`Self::open`].
    pub fn set_promiscuous(&self, _rtnl: &mut Rtnl, on: bool) -> Result {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        to_result(unsafe { bindings::dev_set_promiscuity(self.as_raw(), if on { 1 } else { -1 }) })
    }

    /// The same for frames that are for a group.
    pub fn set_all_multicast(&self, _rtnl: &mut Rtnl, on: bool) -> Result {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        to_result(unsafe { bindings::dev_set_allmulti(self.as_raw(), if on { 1 } else { -1 }) })
    }

    /// Gives the device the flags of `upper`, which may bring it up or down, and that of a slave.
    /// Those of [`Self::set_promiscuous`] and [`Self::set_all_multicast`] stay as they are. Like
    /// [`Self::open`].
    pub fn follow_flags<T: Operations>(&self, _rtnl: &mut Rtnl, upper: &Device<T>) -> Result {
        const COUNTED: c_uint =
            bindings::net_device_flags_IFF_PROMISC | bindings::net_device_flags_IFF_ALLMULTI;
        // SAFETY: Both pointers are valid, and RTNL is held.
        let (flags, own) = unsafe { ((*upper.as_raw()).flags, (*self.as_raw()).gflags) };
        let flags = (flags & !COUNTED)
            | (c_uint::from(own) & COUNTED)
            | bindings::net_device_flags_IFF_SLAVE;

        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        to_result(unsafe { bindings::dev_change_flags(self.as_raw(), flags, null_mut()) })
    }

    /// Asks for these features; the device takes those that it has. Like [`Self::open`].
    pub fn want_features(&self, _rtnl: &mut Rtnl, features: Features) {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        unsafe { bindings::netdev_want_features(self.as_raw(), features.bits()) }
    }

    /// Has a program look at received frames, or none. Like [`Self::open`].
    ///
    /// Succeeds, without doing anything, if the device cannot have any.
    pub fn set_xdp(&self, _rtnl: &mut Rtnl, program: Option<&Program>) -> Result {
        // SAFETY: By the type invariant the pointer is valid; the table lives as long.
        if unsafe { (*(*self.as_raw()).netdev_ops).ndo_bpf }.is_none() {
            return Ok(());
        }
        let program: Option<ARef<Program>> = program.map(ARef::from);
        // CAST: `Program` is transparent.
        let raw = program.as_ref().map_or(null_mut(), |program| {
            core::ptr::from_ref(&**program).cast_mut().cast()
        });

        // SAFETY: Both pointers are valid, the program has a reference for the device, and RTNL is
        // held.
        to_result(unsafe { bindings::netdev_propagate_xdp(self.as_raw(), raw) })?;
        // The reference is the device's now.
        program.map(ARef::into_raw);
        Ok(())
    }

    /// Moves the device to the network namespace of `to`; if its name is taken there it gets one that
    /// begins with `eth`. Like [`Self::open`]. It is unregistered and registered meanwhile, as far as
    /// a [`Watcher`] can see.
    pub fn move_to_namespace<T: Operations>(&self, rtnl: &mut Rtnl, to: &Device<T>) -> Result {
        if !self.is_registered(rtnl) {
            return Err(ENODEV);
        }
        // SAFETY: Both pointers are valid, and RTNL is held.
        to_result(unsafe { bindings::netdev_move_ns(self.as_raw(), to.as_raw()) })
    }

    /// Sends a frame by the device, instead of by the one that it was given to. Softirqs are off.
    /// `picked` says that [`FrameToSend::pick_lower`](super::FrameToSend::pick_lower) was called for
    /// the frame and this device. Returns whether the frame was not dropped.
    #[inline]
    pub fn transmit(&self, skb: TxSkb, picked: bool) -> bool {
        // SAFETY: By the type invariant the pointer is valid, and the frame is no longer ours. It
        // begins with an Ethernet header.
        let result = unsafe { bindings::skb_xmit_lower(self.as_raw(), skb.into_raw(), picked) };

        // CAST: None is negative.
        matches!(
            result as u32,
            bindings::NET_XMIT_SUCCESS | bindings::NET_XMIT_CN
        )
    }
}

/// What happens to a network device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It is about to be registered; its permanent address may not be known.
    PostInit,
    /// It was registered, perhaps in another network namespace than before.
    Register,
    /// It is unregistered, perhaps to be registered in another network namespace.
    Unregister,
    /// It was brought up.
    Up,
    /// It is brought down.
    GoingDown,
    /// It was brought down.
    Down,
    /// Its state has changed; for example the carrier came or went.
    Change,
}

/// Who wants to know what happens to network devices.
pub trait Watcher: 'static {
    /// Something happens to a device.
    ///
    /// Process context, may sleep. But for [`Event::Unregister`] the lock of the device's operations
    /// may be held: methods of the device that change it wait for that lock.
    fn event(dev: &Interface, event: Event, rtnl: &mut Rtnl);
}

/// Tells a [`Watcher`] what happens to network devices, also that all are registered that are there
/// when this begins, and unregistered when it ends.
///
/// # Invariants
///
/// `block` is registered.
#[pin_data(PinnedDrop)]
pub struct Watch<W: Watcher> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    #[pin]
    _pin: PhantomPinned,
    _watcher: PhantomData<fn() -> W>,
}

// SAFETY: It has no methods.
unsafe impl<W: Watcher> Send for Watch<W> {}

// SAFETY: It has no methods.
unsafe impl<W: Watcher> Sync for Watch<W> {}

impl<W: Watcher> Watch<W> {
    /// Begins to watch. Process context, sleeps, takes RTNL. It must not be dropped with RTNL held.
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            block: Opaque::zeroed(),
            _pin: PhantomPinned,
            _watcher: PhantomData,
            _: {
                // SAFETY: All fields are initialised.
                let block = unsafe { this.as_ref() }.block.get();

                // SAFETY: Nobody else knows the block yet.
                unsafe { (*block).notifier_call = Some(Self::call) };
                // INVARIANT: If this succeeds, the block is registered.
                // SAFETY: The block is complete and pinned, and unregistered before it goes.
                to_result(unsafe { bindings::register_netdevice_notifier(block) })?;
            },
        })
    }

    /// # Safety
    ///
    /// Only for the network core, with RTNL held, as a notifier of network devices.
    unsafe extern "C" fn call(
        _block: *mut bindings::notifier_block,
        event: c_ulong,
        info: *mut c_void,
    ) -> c_int {
        // CAST: All events have 32 bits.
        let event = match event as u32 {
            bindings::netdev_cmd_NETDEV_POST_INIT => Event::PostInit,
            bindings::netdev_cmd_NETDEV_REGISTER => Event::Register,
            bindings::netdev_cmd_NETDEV_UNREGISTER => Event::Unregister,
            bindings::netdev_cmd_NETDEV_UP => Event::Up,
            bindings::netdev_cmd_NETDEV_GOING_DOWN => Event::GoingDown,
            bindings::netdev_cmd_NETDEV_DOWN => Event::Down,
            bindings::netdev_cmd_NETDEV_CHANGE => Event::Change,
            _ => return bindings::NOTIFY_DONE as c_int,
        };
        // SAFETY: By the safety requirements this is what `info` is.
        let dev = unsafe { (*info.cast::<bindings::netdev_notifier_info>()).dev };
        // SAFETY: The device is valid during the call, and registered, or about to be.
        let dev = unsafe { Interface::from_raw(dev) };
        // SAFETY: By the safety requirements; whoever has made the core call this has lent its token
        // to the core.
        let mut rtnl = unsafe { Rtnl::assume_held() };

        W::event(dev, event, &mut rtnl);
        bindings::NOTIFY_DONE as c_int
    }
}

#[pinned_drop]
impl<W: Watcher> PinnedDrop for Watch<W> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the block is registered. Nobody calls it when this returns.
        unsafe { bindings::unregister_netdevice_notifier(self.block.get()) };
    }
}
