// SPDX-License-Identifier: GPL-2.0

//! The bus as the driver core and user space see it.
//!
//! - [`bus`]: the bus type, by which the driver core calls us;
//! - [`driver`]: which driver is right for a device, and calls of its functions;
//! - [`device`]: devices, which are made for primary channels;
//! - [`kobject`]: the directories of channels, below those of their devices;
//! - [`attributes`]: the files in both.
//!
//! Removing a directory waits for those who read or write a file in it. Functions that do so say
//! it: their callers must not hold a lock that an attribute takes, which are those of
//! [`crate::relid::channels`] and whatever [`crate::open::set_target_cpu`] takes.

pub(crate) mod attributes;
pub(crate) mod bus;
pub(crate) mod device;
pub(crate) mod driver;
pub(crate) mod kobject;
