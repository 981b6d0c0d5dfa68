// SPDX-License-Identifier: GPL-2.0

//! What users ask a network device about, and set, with ethtool.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use super::{
    device::Device,
    operations,
    rtnl::Rtnl, //
};
use crate::{
    bindings,
    error::{
        from_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*, //
};
use core::marker::PhantomData;

mod settings;
use self::settings::NAME;
pub use self::settings::{
    Channels,
    Figures,
    Flow,
    HashFields,
    Link,
    Names,
    Rings,
    Rss,
    SPEED_UNKNOWN, //
};

/// What ethtool can do with a device. Process context, with RTNL held; may sleep.
///
/// The names are those of `struct ethtool_ops`.
#[vtable]
pub trait Operations: operations::Operations {
    /// The name of the driver.
    const DRIVER: &'static str;

    /// How many figures of its own the device has.
    fn stats_count(_dev: &Device<Self>, _rtnl: &mut Rtnl) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The names of these figures.
    fn stats_names(_dev: &Device<Self>, _rtnl: &mut Rtnl, _names: &mut Names<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// These figures, in the order of their names.
    fn stats_figures(_dev: &Device<Self>, _rtnl: &mut Rtnl, _figures: &mut Figures<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Bytes of the dump of registers.
    fn regs_len(_dev: &Device<Self>, _rtnl: &mut Rtnl) -> usize {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Fills in the dump, and returns the version of its format.
    fn regs(_dev: &Device<Self>, _rtnl: &mut Rtnl, _dump: &mut [u8]) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Which messages are printed (`NETIF_MSG_*`).
    fn msglevel(_dev: &Device<Self>, _rtnl: &mut Rtnl) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets which messages are printed.
    fn set_msglevel(_dev: &Device<Self>, _rtnl: &mut Rtnl, _level: u32) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The settings of the link, which is no real one. Those of the lower device ([`Device::join`])
    /// are shown, and set, if there is one.
    fn link(_dev: &Device<Self>, _rtnl: &mut Rtnl) -> Link {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets them: they are shown, and that is all.
    fn set_link(_dev: &Device<Self>, _rtnl: &mut Rtnl, _link: Link) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The channels.
    fn channels(_dev: &Device<Self>, _rtnl: &mut Rtnl) -> Channels {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets the number of channels, which is between 1 and [`Channels::max`].
    fn set_channels(_dev: &Device<Self>, _rtnl: &mut Rtnl, _count: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// How large the rings can be, and are; [`None`] if that is not known at the moment.
    fn rings(_dev: &Device<Self>, _rtnl: &mut Rtnl) -> Option<(Rings, Rings)> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets how large they are.
    fn set_rings(_dev: &Device<Self>, _rtnl: &mut Rtnl, _rings: Rings) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// How many queues frames are received on.
    fn rx_ring_count(_dev: &Device<Self>, _rtnl: &mut Rtnl) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Bytes of the key of the hash of received frames, which is a Toeplitz hash.
    fn rss_key_len(_dev: &Device<Self>) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Entries of the table of queues.
    fn rss_table_len(_dev: &Device<Self>, _rtnl: &mut Rtnl) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Fills in how received frames are spread.
    fn rss(_dev: &Device<Self>, _rtnl: &mut Rtnl, _rss: &mut Rss<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets how received frames are spread.
    fn set_rss(_dev: &Device<Self>, _rtnl: &mut Rtnl, _rss: &Rss<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// What the hash of a kind of flows is computed over.
    fn hash_fields(_dev: &Device<Self>, _rtnl: &mut Rtnl, _flow: Flow) -> HashFields {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets what it is computed over.
    fn set_hash_fields(
        _dev: &Device<Self>,
        _rtnl: &mut Rtnl,
        _flow: Flow,
        _fields: HashFields,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The C table of the operations `T`.
pub(super) fn operations<T: Operations>() -> &'static bindings::ethtool_ops {
    &Vtable::<T>::OPERATIONS
}

struct Vtable<T>(PhantomData<T>);

/// `$f` if `$has`.
macro_rules! if_has {
    ($has:expr, $f:expr) => {
        if $has {
            Some($f)
        } else {
            None
        }
    };
}

/// The device of a C callback, and the evidence that RTNL is held.
///
/// # Safety
///
/// Only for callbacks of the core, with RTNL held, for a device of type `T`, which is valid during
/// the call.
unsafe fn called<'a, T: Operations>(dev: *mut bindings::net_device) -> (&'a Device<T>, Rtnl) {
    // SAFETY: By the safety requirements.
    let dev = unsafe { Device::from_raw(dev) };
    // SAFETY: By the safety requirements; whoever has made the core call this has lent its token
    // to the core. Devices made by `UnregisteredDevice::new()` do not have a lock of their own for
    // operations, so RTNL is what the core holds.
    let rtnl = unsafe { Rtnl::assume_held() };

    (dev, rtnl)
}

/// # Safety
///
/// All functions here are only for the core, with RTNL held, for a device of type `T`. Pointers
/// are to what the name of the function promises.
impl<T: Operations> Vtable<T> {
    const OPERATIONS: bindings::ethtool_ops = bindings::ethtool_ops {
        get_drvinfo: Some(Self::get_drvinfo),
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: Some(bindings::ethtool_op_get_ts_info),
        get_sset_count: if_has!(T::HAS_STATS_COUNT, Self::get_sset_count),
        get_strings: if_has!(T::HAS_STATS_NAMES, Self::get_strings),
        get_ethtool_stats: if_has!(T::HAS_STATS_FIGURES, Self::get_ethtool_stats),
        get_regs_len: if_has!(T::HAS_REGS_LEN, Self::get_regs_len),
        get_regs: if_has!(T::HAS_REGS, Self::get_regs),
        get_msglevel: if_has!(T::HAS_MSGLEVEL, Self::get_msglevel),
        set_msglevel: if_has!(T::HAS_SET_MSGLEVEL, Self::set_msglevel),
        get_link_ksettings: if_has!(T::HAS_LINK, Self::get_link_ksettings),
        set_link_ksettings: if_has!(T::HAS_SET_LINK, Self::set_link_ksettings),
        get_channels: if_has!(T::HAS_CHANNELS, Self::get_channels),
        set_channels: if_has!(T::HAS_SET_CHANNELS, Self::set_channels),
        get_ringparam: if_has!(T::HAS_RINGS, Self::get_ringparam),
        set_ringparam: if_has!(T::HAS_SET_RINGS, Self::set_ringparam),
        get_rx_ring_count: if_has!(T::HAS_RX_RING_COUNT, Self::get_rx_ring_count),
        get_rxfh_key_size: if_has!(T::HAS_RSS_KEY_LEN, Self::get_rxfh_key_size),
        get_rxfh_indir_size: if_has!(T::HAS_RSS_TABLE_LEN, Self::get_rxfh_indir_size),
        get_rxfh: if_has!(T::HAS_RSS, Self::get_rxfh),
        set_rxfh: if_has!(T::HAS_SET_RSS, Self::set_rxfh),
        get_rxfh_fields: if_has!(T::HAS_HASH_FIELDS, Self::get_rxfh_fields),
        set_rxfh_fields: if_has!(T::HAS_SET_HASH_FIELDS, Self::set_rxfh_fields),
        ..pin_init::zeroed()
    };

    unsafe extern "C" fn get_drvinfo(
        _dev: *mut bindings::net_device,
        info: *mut bindings::ethtool_drvinfo,
    ) {
        // SAFETY: `info` is valid and the caller's.
        let info = unsafe { &mut *info };

        for (place, text) in [
            (&mut info.driver[..], T::DRIVER),
            (&mut info.fw_version[..], "N/A"),
        ] {
            let len = place.len().saturating_sub(1).min(text.len());
            if let (Some(to), Some(from)) = (place.get_mut(..len), text.as_bytes().get(..len)) {
                to.copy_from_slice(from);
            }
        }
    }

    unsafe extern "C" fn get_sset_count(dev: *mut bindings::net_device, set: c_int) -> c_int {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };

        from_result(|| {
            // CAST: A small constant.
            if set != bindings::ethtool_stringset_ETH_SS_STATS as c_int {
                return Err(EINVAL);
            }
            Ok(c_int::try_from(T::stats_count(dev, &mut rtnl)?)?)
        })
    }

    unsafe extern "C" fn get_strings(dev: *mut bindings::net_device, set: u32, data: *mut u8) {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };

        if set != bindings::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        // The core has asked for the number with the same RTNL.
        let Ok(count) = T::stats_count(dev, &mut rtnl) else {
            return;
        };
        let Some(len) = count.checked_mul(NAME) else {
            return;
        };
        // SAFETY: `data` has room for so many names.
        let left = unsafe { core::slice::from_raw_parts_mut(data, len) };

        T::stats_names(dev, &mut rtnl, &mut Names { left });
    }

    unsafe extern "C" fn get_ethtool_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_stats,
        data: *mut u64,
    ) {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };
        // SAFETY: The core has stored how many figures there is room for.
        let count = unsafe { (*stats).n_stats } as usize;
        // SAFETY: There is room for so many figures.
        let figures = unsafe { core::slice::from_raw_parts_mut(data, count) };

        T::stats_figures(
            dev,
            &mut rtnl,
            &mut Figures {
                left: figures.iter_mut(),
            },
        );
    }

    unsafe extern "C" fn get_regs_len(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };

        c_int::try_from(T::regs_len(dev, &mut rtnl)).unwrap_or(0)
    }

    unsafe extern "C" fn get_regs(
        dev: *mut bindings::net_device,
        regs: *mut bindings::ethtool_regs,
        data: *mut c_void,
    ) {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };
        // The core has asked for the length with the same RTNL, and may have room for less.
        // SAFETY: `regs` is valid and the caller's.
        let len = T::regs_len(dev, &mut rtnl).min(unsafe { (*regs).len } as usize);
        // SAFETY: `data` has room for so many bytes.
        let dump = unsafe { core::slice::from_raw_parts_mut(data.cast(), len) };
        let version = T::regs(dev, &mut rtnl, dump);

        // SAFETY: As above.
        unsafe { (*regs).version = version };
    }

    unsafe extern "C" fn get_msglevel(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };

        T::msglevel(dev, &mut rtnl)
    }

    unsafe extern "C" fn set_msglevel(dev: *mut bindings::net_device, level: u32) {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };

        T::set_msglevel(dev, &mut rtnl, level);
    }

    unsafe extern "C" fn get_link_ksettings(
        dev: *mut bindings::net_device,
        settings: *mut bindings::ethtool_link_ksettings,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };

        if let Some(lower) = dev.lower_ref(&rtnl) {
            // SAFETY: Both pointers are valid, and RTNL is held.
            return unsafe { bindings::__ethtool_get_link_ksettings(lower.as_raw(), settings) };
        }
        let link = T::link(dev, &mut rtnl);
        // SAFETY: `settings` is valid and the caller's.
        let base = unsafe { &mut (*settings).base };

        base.speed = link.speed;
        base.duplex = link.duplex;
        base.port = bindings::PORT_OTHER as u8;
        0
    }

    unsafe extern "C" fn set_link_ksettings(
        raw: *mut bindings::net_device,
        settings: *const bindings::ethtool_link_ksettings,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(raw) };

        if let Some(lower) = dev.lower_ref(&rtnl) {
            // SAFETY: Both pointers are valid, and RTNL is held.
            return unsafe { bindings::netdev_set_link_ksettings(lower.as_raw(), settings) };
        }
        let mut link = T::link(dev, &mut rtnl);

        // SAFETY: All pointers are valid.
        let result = unsafe {
            bindings::ethtool_virtdev_set_link_ksettings(
                raw,
                settings,
                &mut link.speed,
                &mut link.duplex,
            )
        };
        if result == 0 {
            T::set_link(dev, &mut rtnl, link);
        }
        result
    }

    unsafe extern "C" fn get_channels(
        dev: *mut bindings::net_device,
        channels: *mut bindings::ethtool_channels,
    ) {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };
        let found = T::channels(dev, &mut rtnl);
        // SAFETY: `channels` is valid and the caller's.
        let channels = unsafe { &mut *channels };

        channels.max_combined = found.max;
        channels.combined_count = found.count;
    }

    unsafe extern "C" fn set_channels(
        dev: *mut bindings::net_device,
        channels: *mut bindings::ethtool_channels,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };
        // SAFETY: `channels` is valid and the caller's.
        let channels = unsafe { &*channels };

        from_result(|| {
            let max = T::channels(dev, &mut rtnl).max;

            if channels.rx_count != 0
                || channels.tx_count != 0
                || channels.other_count != 0
                || !(1..=max).contains(&channels.combined_count)
            {
                return Err(EINVAL);
            }
            T::set_channels(dev, &mut rtnl, channels.combined_count).map(|()| 0)
        })
    }

    unsafe extern "C" fn get_ringparam(
        dev: *mut bindings::net_device,
        rings: *mut bindings::ethtool_ringparam,
        _kernel: *mut bindings::kernel_ethtool_ringparam,
        _extack: *mut bindings::netlink_ext_ack,
    ) {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };
        // SAFETY: `rings` is valid and the caller's.
        let rings = unsafe { &mut *rings };

        if let Some((max, now)) = T::rings(dev, &mut rtnl) {
            rings.rx_max_pending = max.rx;
            rings.tx_max_pending = max.tx;
            rings.rx_pending = now.rx;
            rings.tx_pending = now.tx;
        }
    }

    unsafe extern "C" fn set_ringparam(
        dev: *mut bindings::net_device,
        rings: *mut bindings::ethtool_ringparam,
        _kernel: *mut bindings::kernel_ethtool_ringparam,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };
        // SAFETY: `rings` is valid and the caller's.
        let rings = unsafe { &*rings };
        let wanted = Rings {
            rx: rings.rx_pending,
            tx: rings.tx_pending,
        };

        from_result(|| T::set_rings(dev, &mut rtnl, wanted).map(|()| 0))
    }

    unsafe extern "C" fn get_rx_ring_count(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };

        T::rx_ring_count(dev, &mut rtnl)
    }

    unsafe extern "C" fn get_rxfh_key_size(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: By the safety requirements.
        T::rss_key_len(unsafe { Device::from_raw(dev) })
    }

    unsafe extern "C" fn get_rxfh_indir_size(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };

        T::rss_table_len(dev, &mut rtnl)
    }

    unsafe extern "C" fn get_rxfh(
        dev: *mut bindings::net_device,
        rxfh: *mut bindings::ethtool_rxfh_param,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };
        // SAFETY: `rxfh` is valid and the caller's.
        let rxfh = unsafe { &mut *rxfh };

        rxfh.hfunc = 1 << bindings::ETH_RSS_HASH_TOP_BIT;
        // SAFETY: Its pointers are NULL or to as many entries as the device says.
        let mut rss = unsafe { Self::rss(dev, &mut rtnl, rxfh) };

        from_result(|| T::rss(dev, &mut rtnl, &mut rss).map(|()| 0))
    }

    unsafe extern "C" fn set_rxfh(
        dev: *mut bindings::net_device,
        rxfh: *mut bindings::ethtool_rxfh_param,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        const TOEPLITZ: u8 = 1 << bindings::ETH_RSS_HASH_TOP_BIT;
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };
        // SAFETY: `rxfh` is valid and the caller's.
        let rxfh = unsafe { &*rxfh };

        from_result(|| {
            if rxfh.hfunc != 0 && rxfh.hfunc != TOEPLITZ {
                return Err(EOPNOTSUPP);
            }
            // SAFETY: Its pointers are NULL or to as many entries as the device says.
            let rss = unsafe { Self::rss(dev, &mut rtnl, rxfh) };
            T::set_rss(dev, &mut rtnl, &rss).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// The pointers in `rxfh` must be NULL or valid for as many entries as the device says, and
    /// used by nobody else for `'a`.
    unsafe fn rss<'a>(
        dev: &Device<T>,
        rtnl: &mut Rtnl,
        rxfh: &bindings::ethtool_rxfh_param,
    ) -> Rss<'a> {
        let table = T::rss_table_len(dev, rtnl) as usize;
        let key = T::rss_key_len(dev) as usize;

        Rss {
            table: (!rxfh.indir.is_null()).then(|| {
                // SAFETY: By the safety requirements.
                unsafe { core::slice::from_raw_parts_mut(rxfh.indir, table) }
            }),
            key: (!rxfh.key.is_null()).then(|| {
                // SAFETY: By the safety requirements.
                unsafe { core::slice::from_raw_parts_mut(rxfh.key, key) }
            }),
        }
    }

    unsafe extern "C" fn get_rxfh_fields(
        dev: *mut bindings::net_device,
        info: *mut bindings::ethtool_rxfh_fields,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };
        // SAFETY: `info` is valid and the caller's.
        let info = unsafe { &mut *info };

        info.data = T::hash_fields(dev, &mut rtnl, Flow::from_raw(info.flow_type)).to_raw();
        0
    }

    unsafe extern "C" fn set_rxfh_fields(
        dev: *mut bindings::net_device,
        info: *const bindings::ethtool_rxfh_fields,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: By the safety requirements.
        let (dev, mut rtnl) = unsafe { called::<T>(dev) };
        // SAFETY: `info` is valid and the caller's.
        let info = unsafe { &*info };

        from_result(|| {
            let fields = HashFields::from_raw(info.data).ok_or(EOPNOTSUPP)?;
            T::set_hash_fields(dev, &mut rtnl, Flow::from_raw(info.flow_type), fields).map(|()| 0)
        })
    }
}
