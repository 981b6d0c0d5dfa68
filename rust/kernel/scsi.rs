// SPDX-License-Identifier: GPL-2.0

//! Abstractions for drivers of SCSI hosts.
//!
//! A driver implements [`Template`] for the data that its callbacks work on. It allocates a
//! [`NewHost`], sets the limits of its hardware, and registers it, which gives a [`Registration`]:
//! from then on until that is dropped, the mid layer hands it a [`Command`] at a time.
//!
//! A [`Command`] belongs to who holds it, and ends in one of two ways, both of which consume it:
//! it is completed, [`Command::done`], or `queuecommand` hands it back, for the mid layer to try
//! again later. [`Command::map`] turns it into a [`Mapped`] one, whose data the device can reach.
//!
//! # Where this code runs
//!
//! The mid layer may be a module, while this crate is part of the kernel image. Whatever refers to
//! a symbol of that module is therefore generic or `#[inline]`: it is compiled into the driver that
//! uses it.
//!
//! C headers: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h),
//! [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h),
//! [`include/scsi/scsi_device.h`](srctree/include/scsi/scsi_device.h)

mod callbacks;
mod command;
mod device;
#[cfg(CONFIG_SCSI_FC_ATTRS)]
pub mod fc;
mod host;
mod registration;
mod template;

pub use self::command::{
    Command,
    Direction,
    Frames,
    HostStatus,
    Mapped,
    Status,
    FRAME, //
};
pub use self::device::{
    Device,
    DeviceRef,
    Flag,
    Flags,
    Level,
    Setup, //
};
pub use self::host::Host;
pub use self::registration::{
    NewHost,
    Registration, //
};
pub use self::template::{
    Busy,
    Geometry,
    Template,
    TimeoutAction, //
};
