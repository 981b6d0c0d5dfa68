// SPDX-License-Identifier: GPL-2.0

//! Drivers, devices and directories of channels, as other drivers use them.

use crate::{
    channel::Channel,
    lifecycle,
    sys::{
        device::Device,
        driver,
        kobject, //
    }, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::aref::ARef, //
};

/// Registers a driver; see [`driver::register`].
///
/// # Safety
///
/// As [`driver::register`].
#[export]
pub(crate) unsafe extern "C" fn __vmbus_driver_register(
    driver: *mut bindings::hv_driver,
    owner: *mut bindings::module,
    module_name: *const c_char,
) -> c_int {
    // SAFETY: By the safety requirements of this function.
    errno(unsafe { driver::register(driver, owner, module_name) })
}

/// Unregisters a driver; see [`driver::unregister`].
///
/// # Safety
///
/// As [`driver::unregister`].
#[export]
pub(crate) unsafe extern "C" fn vmbus_driver_unregister(driver: *mut bindings::hv_driver) {
    // SAFETY: By the safety requirements of this function.
    unsafe { driver::unregister(driver) };
}

/// Unregisters a device on behalf of its driver, which has been told that the host takes it back,
/// and forgets its channel; see [`lifecycle::unregister`].
///
/// # Safety
///
/// `device` must be valid.
#[export]
pub(crate) unsafe extern "C" fn vmbus_device_unregister(device: *mut bindings::hv_device) {
    // The driver's own pointer is none after that.
    // SAFETY: By the safety requirements of this function; all such devices are of this driver.
    let device = ARef::from(unsafe { Device::from_raw(device) });

    lifecycle::unregister(device.channel());
}

/// Lets user space map the ring of a channel; see [`kobject::show_ring`].
///
/// # Safety
///
/// `channel` must be valid; `prepare` must be a function to call until [`hv_remove_ring_sysfs`].
#[export]
pub(crate) unsafe extern "C" fn hv_create_ring_sysfs(
    channel: *mut bindings::vmbus_channel,
    prepare: Option<kobject::PrepareMap>,
) -> c_int {
    // SAFETY: By the safety requirements of this function; all such channels are of this driver.
    let channel = unsafe { Channel::from_raw(channel) };

    errno(kobject::show_ring(channel, prepare))
}

/// Undoes [`hv_create_ring_sysfs`]; see [`kobject::hide_ring`].
///
/// # Safety
///
/// `channel` must be valid.
#[export]
pub(crate) unsafe extern "C" fn hv_remove_ring_sysfs(
    channel: *mut bindings::vmbus_channel,
) -> c_int {
    // SAFETY: By the safety requirements of this function; all such channels are of this driver.
    let channel = unsafe { Channel::from_raw(channel) };

    errno(kobject::hide_ring(channel))
}

fn errno(result: Result) -> c_int {
    result.map_or_else(|error| error.to_errno(), |()| 0)
}
