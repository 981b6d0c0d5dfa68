// SPDX-License-Identifier: GPL-2.0

//! Devices that work by way of another one.
//!
//! A device can have a lower one, of another driver ([`Device::join`]). What the lower one receives
//! is the upper one's, and what the upper one is to send it may send by the lower one
//! ([`Interface::transmit`]).
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use super::{
    device::{
        Device,
        MacAddress,
        RxMode, //
    },
    interface::Interface,
    operations::{
        FrameToSend,
        Operations, //
    },
    rtnl::Rtnl, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    sync::{
        aref::ARef,
        rcu::{
            self,
            Slot, //
        },
        Arc,
        ArcBorrow, //
    }, //
};
use core::{
    ops::Deref,
    ptr::null_mut, //
};

/// A device that can have a lower one.
pub trait Upper: Operations {
    /// The lower device has received a frame of so many bytes, which is this device's now. With
    /// softirqs off, on any processor.
    fn received_below(dev: &Device<Self>, len: usize);
}

/// The lower device that a device has.
pub(super) struct Lower {
    dev: ARef<Interface>,
    /// What the upper device wants in front of frames without it.
    headroom: u16,
}

/// Where a device has its lower one.
pub(super) type Place = Slot<Lower>;

/// The lower device, as found under RCU.
pub struct LowerRef<'a>(ArcBorrow<'a, Lower>);

impl Deref for LowerRef<'_> {
    type Target = Interface;

    #[inline]
    fn deref(&self) -> &Interface {
        &self.0.dev
    }
}

impl<T: Operations> Device<T> {
    /// The lower device, if there is one. Any context.
    #[inline]
    pub fn lower<'a>(&'a self, guard: &'a rcu::Guard) -> Option<LowerRef<'a>> {
        self.lower_place().load(guard).map(LowerRef)
    }

    /// The lower device, for those who hold RTNL.
    pub fn lower_ref(&self, _rtnl: &Rtnl) -> Option<ARef<Interface>> {
        Some(self.lower_place().get()?.dev.clone())
    }

    /// Makes `lower` the lower device of this one. Process context, sleeps.
    ///
    /// [`ENODEV`] if this device is not registered, [`EBUSY`] if one of both is taken.
    pub fn join(&self, rtnl: &mut Rtnl, lower: &Interface) -> Result
    where
        T: Upper,
    {
        if !self.is_registered() || !lower.is_registered(rtnl) {
            return Err(ENODEV);
        }
        if lower.is(self) || self.lower_ref(rtnl).is_some() {
            return Err(EBUSY);
        }
        // SAFETY: The pointer is valid, and RTNL is held.
        let headroom = unsafe { (*self.as_raw()).needed_headroom };
        let new = Arc::new(
            Lower {
                dev: lower.into(),
                headroom,
            },
            GFP_KERNEL,
        )?;

        // SAFETY: Both devices are valid and registered, and RTNL is held. The handler is taken away
        // by `leave()`, at the latest when this device is unregistered.
        to_result(unsafe {
            bindings::netdev_rx_handler_register(
                lower.as_raw(),
                Some(handle::<T>),
                self.as_raw().cast(),
            )
        })?;
        // SAFETY: As above.
        let linked = to_result(unsafe {
            bindings::netdev_master_upper_dev_link(
                lower.as_raw(),
                self.as_raw(),
                null_mut(),
                null_mut(),
                null_mut(),
            )
        });
        if let Err(error) = linked {
            // SAFETY: It was registered above, and RTNL is held.
            unsafe { bindings::netdev_rx_handler_unregister(lower.as_raw()) };
            return Err(error);
        }
        // SAFETY: Both pointers are valid, and RTNL is held.
        unsafe {
            let below = (*lower.as_raw()).needed_headroom;

            (*self.as_raw()).needed_headroom = headroom.max(below);
        }
        drop(self.lower_place().replace(Some(new)));
        // SAFETY: The device is valid, and RTNL is held.
        unsafe {
            bindings::call_netdevice_notifiers(
                bindings::netdev_cmd_NETDEV_JOIN as c_ulong,
                lower.as_raw(),
            )
        };
        Ok(())
    }

    /// Lets the lower device go, and returns it. Nothing that it receives is this device's any more.
    /// Process context, sleeps.
    pub fn leave(&self, _rtnl: &mut Rtnl) -> Option<ARef<Interface>> {
        // Waits until nobody sends by it.
        let lower = self.lower_place().replace(None)?;
        let raw = lower.dev.as_raw();

        // SAFETY: Both devices are valid, and RTNL is held.
        unsafe {
            bindings::dev_uc_unsync(raw, self.as_raw());
            bindings::dev_mc_unsync(raw, self.as_raw());
        }
        // SAFETY: The handler is ours: nobody else can replace it. RTNL is held.
        unsafe { bindings::netdev_rx_handler_unregister(raw) };
        // SAFETY: Both devices are valid, they were linked, and RTNL is held.
        unsafe { bindings::netdev_upper_dev_unlink(raw, self.as_raw()) };
        // SAFETY: The pointer is valid, and RTNL is held.
        unsafe { (*self.as_raw()).needed_headroom = lower.headroom };
        Some(lower.dev.clone())
    }

    /// Has the lower device receive what is for the addresses that this one listens to. Process
    /// context.
    pub fn sync_lower_addresses(&self, rtnl: &mut Rtnl) {
        if let Some(lower) = self.lower_ref(rtnl) {
            // SAFETY: Both devices are valid, and RTNL is held.
            unsafe { bindings::netdev_sync_addresses(lower.as_raw(), self.as_raw()) }
        }
    }

    /// Whether netpoll sends by this device at this moment; it must not by the lower one. Any
    /// context.
    #[inline]
    pub fn in_netpoll(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::netpoll_tx_running(self.as_raw()) }
    }

    /// Whether this device and another are in the same network namespace.
    pub fn is_near(&self, _rtnl: &Rtnl, other: &Interface) -> bool {
        // SAFETY: Both devices are valid; RTNL keeps them where they are.
        unsafe { bindings::netdev_same_ns(self.as_raw(), other.as_raw()) }
    }

    /// Finds a device in the same network namespace. This one must be registered; [`None`] if it is
    /// not.
    pub fn find_near(
        &self,
        rtnl: &Rtnl,
        mut wanted: impl FnMut(&Interface) -> bool,
    ) -> Option<ARef<Interface>> {
        if !self.is_registered() {
            return None;
        }
        // SAFETY: The pointer is valid; RTNL is held by this task, so the list does not change.
        let mut raw = unsafe { bindings::netdev_first(self.as_raw()) };

        while !raw.is_null() {
            // SAFETY: It is in the list, hence valid and registered.
            let dev = unsafe { Interface::from_raw(raw) };

            if dev.is_registered(rtnl) && wanted(dev) {
                return Some(dev.into());
            }
            // SAFETY: As above.
            raw = unsafe { bindings::netdev_next(raw) };
        }
        None
    }

    /// What the flags of the device say about received frames, and not the list of its addresses.
    pub fn rx_flags(&self, _rtnl: &Rtnl) -> RxMode {
        // SAFETY: By the type invariant the pointer is valid, and RTNL is held.
        let flags = unsafe { (&raw const (*self.as_raw()).flags).read_volatile() };

        RxMode {
            promiscuous: flags & bindings::net_device_flags_IFF_PROMISC != 0,
            all_multicast: flags & bindings::net_device_flags_IFF_ALLMULTI != 0,
            broadcast: flags & bindings::net_device_flags_IFF_BROADCAST != 0,
        }
    }

    /// The name of the device.
    pub fn name<'a>(&'a self, rtnl: &'a Rtnl) -> &'a CStr {
        // SAFETY: The pointer is valid as long as `self`; no reference is taken.
        unsafe { Interface::from_raw(self.as_raw()) }.name(rtnl)
    }

    /// The address of the device, and the one that it was registered with.
    pub fn addresses(&self, _rtnl: &Rtnl) -> (MacAddress, MacAddress) {
        // SAFETY: The pointer is valid, the address changes under RTNL only, and that of an Ethernet
        // device has so many bytes.
        let now: MacAddress = unsafe { *(*self.as_raw()).dev_addr.cast() };
        // SAFETY: As above.
        let permanent: MacAddress = unsafe { *(&raw const (*self.as_raw()).perm_addr).cast() };

        (now, permanent)
    }
}

impl FrameToSend<'_> {
    /// Has the lower device choose the queue that it would send the frame on. With softirqs off.
    #[inline]
    pub fn pick_lower(&self, lower: &Interface) -> u16 {
        // SAFETY: By the type invariants both are valid, and the stack has asked for this.
        unsafe { bindings::skb_pick_lower(lower.as_raw(), self.as_raw()) }
    }
}

/// # Safety
///
/// Only for the core, under RCU, with softirqs off, for a device that is a lower one of a
/// `Device<T>`; `pskb` holds a frame that is given to the handler.
unsafe extern "C" fn handle<T: Upper>(
    pskb: *mut *mut bindings::sk_buff,
) -> bindings::rx_handler_result_t {
    // SAFETY: By the safety requirements. If others have the frame this is a copy of it, or NULL.
    let skb = unsafe { bindings::skb_share_check(*pskb, GFP_ATOMIC.as_raw()) };

    if skb.is_null() {
        return bindings::rx_handler_result::RX_HANDLER_CONSUMED;
    }
    // SAFETY: `pskb` is valid for writes.
    unsafe { *pskb = skb };
    // SAFETY: The frame is valid and ours, and comes from a device.
    let from = unsafe {
        (*skb)
            .__bindgen_anon_1
            .__bindgen_anon_1
            .__bindgen_anon_1
            .dev
    };
    // SAFETY: The device is valid. As long as its handler can be called this is its upper device.
    let upper = unsafe { (&raw const (*from).rx_handler_data).read_volatile() };
    // SAFETY: `join()` has put a `Device<T>` there, which has a reference as long as it is
    // registered.
    let dev = unsafe { Device::<T>::from_raw(upper.cast()) };

    // SAFETY: The frame is ours.
    let len = unsafe { (*skb).len };
    T::received_below(dev, len as usize);
    // SAFETY: As above.
    unsafe {
        (*skb)
            .__bindgen_anon_1
            .__bindgen_anon_1
            .__bindgen_anon_1
            .dev = dev.as_raw()
    };
    bindings::rx_handler_result::RX_HANDLER_ANOTHER
}
