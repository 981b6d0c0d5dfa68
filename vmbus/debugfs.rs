// SPDX-License-Identifier: GPL-2.0

//! Delays for tests, in debugfs (`CONFIG_HYPERV_TESTING`).
//!
//! `hyperv/<device>/fuzz_test_state` switches them on for all channels of a device. `delay/` has
//! microseconds by which interrupts and packets are handled later.
//!
//! C source: [`drivers/hv/hv_debugfs.c`](srctree/drivers/hv/hv_debugfs.c)

use crate::{
    channel::Channel,
    relid,
    sys::device::Device, //
};
use kernel::{
    debugfs::{
        Dir,
        Scope,
        ScopedDir, //
    },
    fmt,
    io::Io,
    prelude::*,
    str::{
        parse_int::ParseInt,
        BStr,
        CString, //
    },
    sync::aref::ARef,
    time::{
        delay::udelay,
        Delta, //
    },
    uaccess::UserSliceReader, //
};

/// Longest delay, in microseconds.
const MAX_DELAY: u64 = 1000;

/// What is delayed.
#[derive(Clone, Copy)]
pub(crate) enum Delay {
    /// A driver hears of an interrupt.
    Interrupt,
    /// A driver gets a packet.
    Message,
}

/// Waits, if a test wants that. Any context; busy.
#[inline]
pub(crate) fn delay(channel: &Channel, what: Delay) {
    if !cfg!(CONFIG_HYPERV_TESTING) {
        return;
    }
    let channel = channel.primary().unwrap_or(channel);
    let knobs = channel.knobs();

    if knobs.on.read_val() != 0 {
        let microseconds = match what {
            Delay::Interrupt => knobs.interrupt.read_val(),
            Delay::Message => knobs.message.read_val(),
        };

        udelay(Delta::from_micros(microseconds.into()));
    }
}

/// The files of a device.
pub(crate) struct Directory {
    _files: Pin<KBox<Scope<ARef<Channel>>>>,
    /// All devices have the same; the last one removes it.
    root: Dir,
}

/// Reads a number that user space writes.
fn number(reader: &mut UserSliceReader, max: u64) -> Result<u64> {
    let mut text = [0; 24];
    let len = reader.len();
    let text = text.get_mut(..len).ok_or(EINVAL)?;

    reader.read_slice(text)?;
    let value = u64::from_str(BStr::from_bytes(text.trim_ascii()))?;
    (value <= max).then_some(value).ok_or(EINVAL)
}

/// Makes the files of a channel's device.
fn populate<'data>(channel: &'data ARef<Channel>, dir: &ScopedDir<'data, '_>) {
    type File = ARef<Channel>;
    type Text<'a, 'b> = &'a mut fmt::Formatter<'b>;

    dir.read_write_callback_file(
        c"fuzz_test_state",
        channel,
        &|channel: &File, f: Text<'_, '_>| writeln!(f, "{}", channel.knobs().on.read_val()),
        &|channel: &File, reader: &mut UserSliceReader| {
            // CAST: 0 or 1.
            channel.knobs().on.write_val(number(reader, 1)? as u8);
            Ok(())
        },
    );
    let delay = dir.dir(c"delay");
    delay.read_write_callback_file(
        c"fuzz_test_buffer_interrupt_delay",
        channel,
        &|channel: &File, f: Text<'_, '_>| writeln!(f, "{}", channel.knobs().interrupt.read_val()),
        &|channel: &File, reader: &mut UserSliceReader| {
            // CAST: At most `MAX_DELAY`.
            let value = number(reader, MAX_DELAY)? as u32;

            channel.knobs().interrupt.write_val(value);
            Ok(())
        },
    );
    delay.read_write_callback_file(
        c"fuzz_test_message_delay",
        channel,
        &|channel: &File, f: Text<'_, '_>| writeln!(f, "{}", channel.knobs().message.read_val()),
        &|channel: &File, reader: &mut UserSliceReader| {
            // CAST: At most `MAX_DELAY`.
            let value = number(reader, MAX_DELAY)? as u32;

            channel.knobs().message.write_val(value);
            Ok(())
        },
    );
}

/// Makes the files of a device that was registered. May sleep.
///
/// Without memory for them there are none.
pub(crate) fn add_device(device: &Device) {
    if !cfg!(CONFIG_HYPERV_TESTING) {
        return;
    }
    // Under this lock, nobody else makes or removes the common directory.
    let channels = relid::channels();
    let root = channels
        .iter()
        .find_map(|channel| {
            let directory = channel.private.directory.lock();

            directory.as_ref().map(|directory| directory.root.clone())
        })
        .unwrap_or_else(|| Dir::new(c"hyperv"));

    let files = || -> Result<_> {
        let name = CString::try_from_fmt(fmt!("{}", device.instance()))?;

        KBox::pin_init(
            root.scope(device.channel().clone(), &name, populate),
            GFP_KERNEL,
        )
    };
    if let Ok(files) = files() {
        *device.channel().private.directory.lock() = Some(Directory {
            _files: files,
            root,
        });
    }
}

/// Removes the files of a device. May sleep, until nobody uses them.
pub(crate) fn remove_device(device: &Device) {
    if !cfg!(CONFIG_HYPERV_TESTING) {
        return;
    }
    let _channels = relid::channels();
    let directory = device.channel().private.directory.lock().take();

    drop(directory);
}
