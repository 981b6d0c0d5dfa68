// SPDX-License-Identifier: GPL-2.0

//! What a network device does, and the C functions that have it done.

use super::{
    device::{
        Device,
        MacAddress, //
    },
    ethtool,
    extack::ExtAck,
    features::Features,
    rtnl::Rtnl,
    skb::TxSkb,
    stats::LinkStats,
    xdp, //
};
use crate::{
    bindings,
    device::{
        AsBusDevice,
        Bound, //
    },
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

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

    /// Has a program look at received frames from now on ([`xdp::RxQueue`]), or none. It succeeds
    /// without a program. Process context, may sleep.
    ///
    /// A driver that keeps the program takes a reference. Why it does not want it, it tells `ack`.
    fn set_xdp(
        _dev: &Device<Self>,
        _rtnl: &mut Rtnl,
        _program: Option<&xdp::Program>,
        _ack: &mut ExtAck<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sends frames that a program has redirected to the device; as many as there is room for, the
    /// first ones first.
    ///
    /// With softirqs off, on several processors at a time, under no lock of a queue. No sleep.
    fn xdp_xmit(_dev: &Device<Self>, _frames: &mut xdp::Redirected<'_>) {
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
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::sk_buff {
        self.skb.as_ptr()
    }

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

/// The C functions of the operations `T`.
pub(super) struct Vtable<T>(PhantomData<T>);

impl<T: Operations> Vtable<T> {
    pub(super) const OPERATIONS: bindings::net_device_ops = bindings::net_device_ops {
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
        ndo_bpf: if T::HAS_SET_XDP {
            Some(Self::bpf)
        } else {
            None
        },
        ndo_xdp_xmit: if T::HAS_XDP_XMIT {
            Some(Self::xdp_xmit)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// What the device can do with programs (`enum netdev_xdp_act`).
    pub(super) const XDP_FEATURES: bindings::xdp_features_t = {
        let receive = if T::HAS_SET_XDP {
            bindings::netdev_xdp_act_NETDEV_XDP_ACT_BASIC
                | bindings::netdev_xdp_act_NETDEV_XDP_ACT_REDIRECT
        } else {
            0
        };
        let send = if T::HAS_XDP_XMIT {
            bindings::netdev_xdp_act_NETDEV_XDP_ACT_NDO_XMIT
        } else {
            0
        };

        receive | send
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
        // In a netlink message they are aligned to 4 bytes only.
        // SAFETY: By the safety requirements.
        let mut copy = unsafe { stats.read_unaligned() };

        T::stats(dev, &mut LinkStats::new(&mut copy));
        // SAFETY: By the safety requirements.
        unsafe { stats.write_unaligned(copy) };
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

    /// # Safety
    ///
    /// As for [`Self::open`]; `bpf` is valid. A program in it comes with a reference, which is the
    /// driver's if this succeeds.
    unsafe extern "C" fn bpf(
        dev: *mut bindings::net_device,
        bpf: *mut bindings::netdev_bpf,
    ) -> c_int {
        // SAFETY: As in `open()`.
        let dev = unsafe { Device::<T>::from_raw(dev) };
        // SAFETY: As in `open()`.
        let mut rtnl = unsafe { Rtnl::assume_held() };

        // SAFETY: By the safety requirements.
        if unsafe { (*bpf).command } != bindings::bpf_netdev_command_XDP_SETUP_PROG {
            return EINVAL.to_errno();
        }
        // SAFETY: This command comes with these.
        let setup = unsafe { (*bpf).__bindgen_anon_1.__bindgen_anon_1 };
        // SAFETY: The core has looked at the type of the program, which is valid during the call.
        let program = unsafe { xdp::Program::from_raw(setup.prog) };
        // SAFETY: Who calls this reads it later.
        let mut ack = unsafe { ExtAck::from_raw(setup.extack) };

        from_result(|| {
            T::set_xdp(dev, &mut rtnl, program, &mut ack)?;
            if !setup.prog.is_null() {
                // The driver has taken one of its own, if it keeps it.
                // SAFETY: By the safety requirements this reference is ours.
                unsafe { bindings::xdp_prog_put(setup.prog) };
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// Only for the core, for a device of type `T`; `frames` are `count` frames, of which the
    /// first ones are the driver's, as many as this returns.
    unsafe extern "C" fn xdp_xmit(
        dev: *mut bindings::net_device,
        count: c_int,
        frames: *mut *mut bindings::xdp_frame,
        flags: u32,
    ) -> c_int {
        if flags & !bindings::XDP_XMIT_FLAGS_MASK != 0 {
            return EINVAL.to_errno();
        }
        // SAFETY: By the safety requirements.
        let mut frames = unsafe {
            xdp::Redirected::from_raw(dev, frames, usize::try_from(count).unwrap_or(0), flags)
        };

        // SAFETY: As in `open()`.
        T::xdp_xmit(unsafe { Device::<T>::from_raw(dev) }, &mut frames);
        // CAST: At most `count`.
        frames.taken() as c_int
    }
}
