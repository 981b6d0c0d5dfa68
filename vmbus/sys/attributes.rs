// SPDX-License-Identifier: GPL-2.0

//! The files of the bus, its drivers, its devices and their channels.
//!
//! Programs read them: names, modes and formats are those of the C driver to the byte, signs of
//! numbers included.

use super::{
    device::{
        Device,
        VENDOR, //
    },
    driver::Driver, //
};
use crate::{
    abi::fields,
    channel::Channel,
    open,
    relid, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    bindings,
    error::from_result,
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    sysfs::{
        Attribute,
        Group,
        Groups,
        List,
        Writer, //
    },
    types::Opaque,
    vmbus::Guid, //
};

/// The files of a device.
pub(super) static DEVICE_GROUPS: Groups<1> = Groups::new([DEVICE.as_raw()]);

static DEVICE: Group<Device> = Group::new(&DEVICE_LIST);
static DEVICE_LIST: List<Device, 26> = List::new(&DEVICE_ATTRIBUTES);
static DEVICE_ATTRIBUTES: [Attribute<Device>; 26] = [
    Attribute::ro(c"id", |device, out| signed(out, device.channel().relid())),
    Attribute::ro(c"state", |device, out| {
        let state = fields::atomic!(device.channel(), state).load(Relaxed);
        number(out, state.into())
    }),
    Attribute::<Device>::ro(c"monitor_id", |device, out| {
        let monitor = device.channel().monitor().ok_or(ENODEV)?;
        out.emit(fmt!("{}\n", monitor.id))
    })
    .visible_if(has_monitor),
    Attribute::ro(c"class_id", |device, out| {
        out.emit(fmt!("{{{}}}\n", device.class()))
    }),
    Attribute::ro(c"device_id", |device, out| {
        out.emit(fmt!("{{{}}}\n", device.instance()))
    }),
    Attribute::ro(c"modalias", |device, out| {
        out.emit(fmt!("vmbus:"))?;
        for byte in device.class().into_raw().b {
            out.emit(fmt!("{:02x}", byte))?;
        }
        out.emit(fmt!("\n"))
    }),
    Attribute::<Device>::ro(c"numa_node", |device, out| {
        let cpu = device.channel().target_cpu();
        // SAFETY: Channels have processors that exist.
        let node = unsafe { bindings::cpu_to_node(cpu as c_int) };
        out.emit(fmt!("{}\n", node))
    })
    .visible_if(|_| cfg!(CONFIG_NUMA)),
    Attribute::<Device>::ro(c"server_monitor_pending", |device, out| {
        signed(out, pending(device.channel(), Page::Server)?)
    })
    .visible_if(has_monitor),
    Attribute::<Device>::ro(c"client_monitor_pending", |device, out| {
        signed(out, pending(device.channel(), Page::Client)?)
    })
    .visible_if(has_monitor),
    Attribute::<Device>::ro(c"server_monitor_latency", |device, out| {
        number(out, latency(device.channel(), Page::Server)?.into())
    })
    .visible_if(has_monitor),
    Attribute::<Device>::ro(c"client_monitor_latency", |device, out| {
        number(out, latency(device.channel(), Page::Client)?.into())
    })
    .visible_if(has_monitor),
    Attribute::<Device>::ro(c"server_monitor_conn_id", |device, out| {
        number(out, connection(device.channel(), Page::Server)?.into())
    })
    .visible_if(has_monitor),
    Attribute::<Device>::ro(c"client_monitor_conn_id", |device, out| {
        number(out, connection(device.channel(), Page::Client)?.into())
    })
    .visible_if(has_monitor),
    Attribute::ro(c"out_intr_mask", |device, out| {
        signed(out, device.channel().outbound().inspect()?.interrupt_mask)
    }),
    Attribute::ro(c"out_read_index", |device, out| {
        number(
            out,
            device.channel().outbound().inspect()?.read_index.into(),
        )
    }),
    Attribute::ro(c"out_write_index", |device, out| {
        number(
            out,
            device.channel().outbound().inspect()?.write_index.into(),
        )
    }),
    Attribute::ro(c"out_read_bytes_avail", |device, out| {
        signed(out, device.channel().outbound().inspect()?.readable)
    }),
    Attribute::ro(c"out_write_bytes_avail", |device, out| {
        signed(out, device.channel().outbound().inspect()?.writable)
    }),
    Attribute::ro(c"in_intr_mask", |device, out| {
        signed(out, device.channel().inbound().inspect()?.interrupt_mask)
    }),
    Attribute::ro(c"in_read_index", |device, out| {
        signed(out, device.channel().inbound().inspect()?.read_index)
    }),
    Attribute::ro(c"in_write_index", |device, out| {
        signed(out, device.channel().inbound().inspect()?.write_index)
    }),
    Attribute::ro(c"in_read_bytes_avail", |device, out| {
        signed(out, device.channel().inbound().inspect()?.readable)
    }),
    Attribute::ro(c"in_write_bytes_avail", |device, out| {
        signed(out, device.channel().inbound().inspect()?.writable)
    }),
    Attribute::ro(c"channel_vp_mapping", |device, out| {
        let channels = relid::channels();
        let primary = device.channel();

        for channel in Iterator::chain([primary].into_iter(), channels.subs_of(primary)) {
            out.emit(fmt!("{}:{}\n", channel.relid(), channel.target_cpu()))?;
        }
        Ok(())
    }),
    Attribute::ro(c"vendor", |_, out| out.emit(fmt!("{:#x}\n", VENDOR))),
    Attribute::ro(c"device", |device, out| {
        out.emit(fmt!("{:#x}\n", device.channel().device_id()))
    }),
];

/// A line with a number.
#[inline(never)]
fn number(out: &mut Writer<'_>, number: u64) -> Result {
    out.emit(fmt!("{}\n", number))
}

/// A line with a number that C prints with a sign.
#[inline(never)]
fn signed(out: &mut Writer<'_>, number: u32) -> Result {
    // CAST: The bits are what counts.
    out.emit(fmt!("{}\n", number as i32))
}

fn has_monitor(device: &Device) -> bool {
    device.channel().monitor().is_some()
}

/// The files of a channel, but for `ring`, which [`super::kobject`] has.
pub(super) static CHANNEL: Group<Channel> = Group::new(&CHANNEL_LIST);

static CHANNEL_LIST: List<Channel, 15> = List::new(&CHANNEL_ATTRIBUTES);
static CHANNEL_ATTRIBUTES: [Attribute<Channel>; 15] = [
    Attribute::ro(c"out_mask", |channel, out| {
        number(out, channel.outbound().inspect()?.interrupt_mask.into())
    }),
    Attribute::ro(c"in_mask", |channel, out| {
        number(out, channel.inbound().inspect()?.interrupt_mask.into())
    }),
    Attribute::ro(c"read_avail", |channel, out| {
        number(out, channel.inbound().inspect()?.readable.into())
    }),
    Attribute::ro(c"write_avail", |channel, out| {
        number(out, channel.outbound().inspect()?.writable.into())
    }),
    Attribute::rw(
        c"cpu",
        |channel, out| out.emit(fmt!("{}\n", channel.target_cpu())),
        |channel, text| open::set_target_cpu(channel, parse_number(text)?),
    ),
    Attribute::<Channel>::ro(c"pending", |channel, out| {
        signed(out, pending(channel, Page::Client)?)
    })
    .visible_if(|channel| channel.monitor().is_some()),
    Attribute::<Channel>::ro(c"latency", |channel, out| {
        number(out, latency(channel, Page::Client)?.into())
    })
    .visible_if(|channel| channel.monitor().is_some()),
    Attribute::ro(c"interrupts", |channel, out| {
        number(out, fields::atomic!(channel, interrupts).load(Relaxed))
    }),
    Attribute::ro(c"events", |channel, out| {
        number(out, fields::atomic!(channel, sig_events).load(Relaxed))
    }),
    Attribute::ro(c"intr_in_full", |channel, out| {
        number(out, fields::atomic!(channel, intr_in_full).load(Relaxed))
    }),
    Attribute::ro(c"intr_out_empty", |channel, out| {
        number(out, fields::atomic!(channel, intr_out_empty).load(Relaxed))
    }),
    Attribute::ro(c"out_full_first", |channel, out| {
        number(out, fields::atomic!(channel, out_full_first).load(Relaxed))
    }),
    Attribute::ro(c"out_full_total", |channel, out| {
        number(out, fields::atomic!(channel, out_full_total).load(Relaxed))
    }),
    Attribute::<Channel>::ro(c"monitor_id", |channel, out| {
        out.emit(fmt!("{}\n", channel.monitor().ok_or(ENODEV)?.id))
    })
    .visible_if(|channel| channel.monitor().is_some()),
    Attribute::ro(c"subchannel_id", |channel, out| {
        out.emit(fmt!("{}\n", channel.sub_index()))
    }),
];

/// Reads the number at the start of a text, as C's `sscanf()` does for `%u`.
///
/// Returns [`EIO`] if there is none. One that is too large is the largest: no processor has it.
fn parse_number(text: &[u8]) -> Result<u32> {
    let text = text.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();

    if digits == 0 {
        return Err(EIO);
    }
    Ok(text.iter().take(digits).fold(0u32, |number, byte| {
        number
            .saturating_mul(10)
            .saturating_add(u32::from(byte - b'0'))
    }))
}

/// A page in which either side sets bits for the other, with a delay; both have numbers for all
/// monitor ids.
#[derive(Clone, Copy)]
enum Page {
    /// Of the host's bits.
    Server = 0,
    /// Of ours.
    Client = 1,
}

impl Page {
    /// Returns [`ENODEV`] if the bus is not connected.
    fn get(self) -> Result<NonNull<bindings::hv_monitor_page>> {
        let connection = &raw const bindings::vmbus_connection;
        // SAFETY: The object is static.
        let pages = unsafe { &raw const (*connection).monitor_pages };
        let page = pages
            .cast::<*mut bindings::hv_monitor_page>()
            .wrapping_add(self as usize);

        // SAFETY: There are two pages, whose addresses only change while there are no devices.
        NonNull::new(unsafe { page.read() }).ok_or(ENODEV)
    }
}

/// The bits of a channel's group that are set.
fn pending(channel: &Channel, page: Page) -> Result<u32> {
    let monitor = channel.monitor().ok_or(ENODEV)?;

    // SAFETY: The page stays as long as there are devices.
    let groups = unsafe { &raw const (*page.get()?.as_ptr()).trigger_group };
    let group = groups
        .cast::<bindings::hv_monitor_trigger_group>()
        .wrapping_add(monitor.group.into());

    // CAST: The bits are the first member of a group.
    // SAFETY: There are as many groups as a monitor id can say.
    Ok(unsafe { group.cast::<u32>().read_volatile() })
}

/// How long the host may let a channel's bit wait, in units of 100 ns.
fn latency(channel: &Channel, page: Page) -> Result<u16> {
    let monitor = channel.monitor().ok_or(ENODEV)?;

    // SAFETY: The page stays as long as there are devices.
    let latencies = unsafe { &raw const (*page.get()?.as_ptr()).latency };
    let latency = latencies.cast::<u16>().wrapping_add(monitor.id.into());

    // SAFETY: There is one for each monitor id.
    Ok(unsafe { latency.read_volatile() })
}

/// The connection that a channel's bit stands for.
fn connection(channel: &Channel, page: Page) -> Result<u32> {
    const ID_MASK: u32 = 0xff_ffff;

    let monitor = channel.monitor().ok_or(ENODEV)?;

    // SAFETY: The page stays as long as there are devices.
    let parameters = unsafe { &raw const (*page.get()?.as_ptr()).parameter };
    let parameter = parameters
        .cast::<bindings::hv_monitor_parameter>()
        .wrapping_add(monitor.id.into());

    // CAST: The id is the first member of a parameter.
    // SAFETY: There is one for each monitor id.
    Ok(unsafe { parameter.cast::<u32>().read_volatile() } & ID_MASK)
}

/// A part of the driver that C has pointers to.
#[repr(transparent)]
struct Table<T>(T);

// SAFETY: Nobody writes to a table, but for what lock checking does behind an `Opaque`.
unsafe impl<T> Sync for Table<T> {}

/// The files of a driver.
pub(super) static DRIVER_GROUPS: Groups<1> = Groups::new([&raw const DRIVER_GROUP.0]);

static DRIVER_GROUP: Table<bindings::attribute_group> = Table(group(&DRIVER_LIST.0));
static DRIVER_LIST: Table<[*mut bindings::attribute; 3]> = Table([
    NEW_ID.0.get().cast(),
    REMOVE_ID.0.get().cast(),
    ptr::null_mut(),
]);
static NEW_ID: Table<Opaque<bindings::driver_attribute>> =
    Table(driver_attribute(c"new_id", store_new_id));
static REMOVE_ID: Table<Opaque<bindings::driver_attribute>> =
    Table(driver_attribute(c"remove_id", store_remove_id));

/// A group of attributes whose type has no data of its own, which C calls without telling which
/// attribute it is.
const fn group<const N: usize>(
    list: &'static [*mut bindings::attribute; N],
) -> bindings::attribute_group {
    let mut raw: bindings::attribute_group = pin_init::zeroed();

    // C only reads.
    raw.__bindgen_anon_2.attrs = list.as_ptr().cast_mut();
    raw
}

/// An attribute that only root may write.
const fn driver_attribute(
    name: &'static CStr,
    store: unsafe extern "C" fn(*mut bindings::device_driver, *const c_char, usize) -> isize,
) -> Opaque<bindings::driver_attribute> {
    let mut raw: bindings::driver_attribute = pin_init::zeroed();

    raw.attr.name = as_char_ptr_in_const_context(name);
    raw.attr.mode = 0o200;
    raw.store = Some(store);
    Opaque::new(raw)
}

extern "C" fn store_new_id(
    driver: *mut bindings::device_driver,
    text: *const c_char,
    len: usize,
) -> isize {
    // SAFETY: The driver core has given them to this function.
    unsafe { store_id(driver, text, len, Driver::add_id) }
}

extern "C" fn store_remove_id(
    driver: *mut bindings::device_driver,
    text: *const c_char,
    len: usize,
) -> isize {
    // SAFETY: The driver core has given them to this function.
    unsafe { store_id(driver, text, len, Driver::remove_id) }
}

/// Does with the class of devices that user space has written what the file is for.
///
/// # Safety
///
/// `driver` must be a driver of this bus, and `len` bytes of text must be readable.
unsafe fn store_id(
    driver: *mut bindings::device_driver,
    text: *const c_char,
    len: usize,
    store: fn(&Driver, Guid) -> Result,
) -> isize {
    // SAFETY: By the safety requirements; the end of the registration waits for this function.
    let driver = unsafe { Driver::from_driver(driver) };

    // SAFETY: By the safety requirements.
    let text = unsafe { core::slice::from_raw_parts(text, len) };

    from_result(|| {
        store(driver, Guid::parse(text)?)?;
        Ok(len as isize)
    })
}

/// The files of the bus.
pub(super) static BUS_GROUPS: Groups<1> = Groups::new([&raw const BUS_GROUP.0]);

static BUS_GROUP: Table<bindings::attribute_group> = Table(group(&BUS_LIST.0));
static BUS_LIST: Table<[*mut bindings::attribute; 2]> =
    Table([HIBERNATION.0.get().cast(), ptr::null_mut()]);

/// Whether the host lets this guest hibernate.
static HIBERNATION: Table<Opaque<bindings::bus_attribute>> = Table(Opaque::new({
    let mut raw: bindings::bus_attribute = pin_init::zeroed();

    raw.attr.name = as_char_ptr_in_const_context(c"hibernation");
    raw.attr.mode = 0o444;
    raw.show = Some(show_hibernation);
    raw
}));

extern "C" fn show_hibernation(_bus: *const bindings::bus_type, page: *mut c_char) -> isize {
    // SAFETY: The function only reads.
    let supported = unsafe { bindings::hv_is_hibernation_supported() };

    // SAFETY: sysfs gives each call a zeroed page.
    unsafe { Writer::fill(page, |out| out.emit(fmt!("{}\n", u8::from(supported)))) }
}
