// SPDX-License-Identifier: GPL-2.0

//! The directories of channels: `channels/<relid>` below the device's.

use super::{
    attributes,
    device::Device, //
};
use crate::{
    abi::fields,
    channel::Channel, //
};
use core::{
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    container_of,
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    sysfs::{
        self,
        Groups, //
    },
    types::Opaque, //
};

/// Maps the ring of a channel into a process.
pub(crate) type PrepareMap = unsafe extern "C" fn(
    channel: *mut bindings::vmbus_channel,
    desc: *mut bindings::vm_area_desc,
) -> c_int;

/// A part of the driver that C reads through pointers, and that does not change.
#[repr(transparent)]
struct Table<T>(T);

// SAFETY: Nobody writes to a table, but for what lock checking does behind an `Opaque`.
unsafe impl<T> Sync for Table<T> {}

/// The type of the kobjects of channels.
static CHANNEL_TYPE: Table<bindings::kobj_type> = Table(bindings::kobj_type {
    release: Some(release),
    sysfs_ops: sysfs::ops::<Channel>(),
    default_groups: GROUPS.as_raw().cast_mut(),
    ..pin_init::zeroed()
});

static GROUPS: Groups<2> = Groups::new([attributes::CHANNEL.as_raw(), &raw const RING_GROUP.0]);

/// The file `ring`, which user space maps instead of a driver using the ring. It is there only
/// while a driver wants it to be, and has a group of its own to come and go alone.
static RING: Table<Opaque<bindings::bin_attribute>> = Table(Opaque::new({
    let mut ring: bindings::bin_attribute = pin_init::zeroed();

    ring.attr.name = kernel::str::as_char_ptr_in_const_context(c"ring");
    ring.attr.mode = RING_MODE;
    ring.mmap = Some(map_ring);
    ring
}));

const RING_MODE: bindings::umode_t = 0o600;

static RING_LIST: Table<[*const bindings::bin_attribute; 2]> =
    Table([RING.0.get().cast_const(), ptr::null()]);

static RING_GROUP: Table<bindings::attribute_group> = Table(bindings::attribute_group {
    is_bin_visible: Some(is_ring_visible),
    bin_size: Some(ring_size),
    bin_attrs: (&raw const RING_LIST).cast(),
    ..pin_init::zeroed()
});

impl sysfs::Object for Channel {
    unsafe fn from_kobj<'a>(kobj: *mut bindings::kobject) -> &'a Self {
        // SAFETY: By the safety requirements this is the kobject of a channel.
        unsafe { Channel::from_raw(container_of!(kobj, bindings::vmbus_channel, kobj)) }
    }
}

/// Frees a channel without references.
extern "C" fn release(kobj: *mut bindings::kobject) {
    // SAFETY: Only kobjects of channels have this type, and this was the last reference.
    unsafe { fields::free_after_rcu(kobj) };
}

extern "C" fn is_ring_visible(
    kobj: *mut bindings::kobject,
    _attr: *const bindings::bin_attribute,
    _index: c_int,
) -> bindings::umode_t {
    // SAFETY: Only channels have this attribute.
    let channel = unsafe { <Channel as sysfs::Object>::from_kobj(kobj) };

    if fields::atomic!(channel, ring_sysfs_visible).load(Relaxed) {
        RING_MODE
    } else {
        0
    }
}

extern "C" fn ring_size(
    kobj: *mut bindings::kobject,
    _attr: *const bindings::bin_attribute,
    _index: c_int,
) -> usize {
    // SAFETY: Only channels have this attribute.
    let channel = unsafe { <Channel as sysfs::Object>::from_kobj(kobj) };
    let pages = fields::atomic!(channel, ringbuffer_pagecount).load(Relaxed);

    pages as usize * kernel::page::PAGE_SIZE
}

extern "C" fn map_ring(
    file: *mut bindings::file,
    kobj: *mut bindings::kobject,
    _attr: *const bindings::bin_attribute,
    vma: *mut bindings::vm_area_struct,
) -> c_int {
    // SAFETY: Only channels have this attribute.
    let channel = unsafe { <Channel as sysfs::Object>::from_kobj(kobj) };

    // SAFETY: The field is set before the file appears, and the removal of the file waits for
    // this function.
    let Some(prepare) = (unsafe { (*channel.as_raw()).mmap_prepare_ring_buffer }) else {
        return ENODEV.to_errno();
    };
    let mut desc = MaybeUninit::<bindings::vm_area_desc>::zeroed();

    // SAFETY: All are valid; the descriptor is what the function writes.
    unsafe { bindings::compat_set_desc_from_vma(desc.as_mut_ptr(), file, vma) };

    // SAFETY: The driver has set this function for this channel.
    let ret = unsafe { prepare(channel.as_raw(), desc.as_mut_ptr()) };
    if ret != 0 {
        return ret;
    }

    // SAFETY: The descriptor was made for this mapping.
    unsafe { bindings::__compat_vma_mmap(desc.as_mut_ptr(), vma) }
}

/// Initializes the kobject of a new channel, with one reference.
///
/// # Safety
///
/// `kobj` must be the zeroed kobject of a channel, which will be freed by nothing but the last
/// reference.
pub(crate) unsafe fn init(kobj: *mut bindings::kobject) {
    // SAFETY: By the safety requirements of this function; the type is static.
    unsafe { bindings::kobject_init(kobj, &raw const CHANNEL_TYPE.0) };
}

/// Shows a channel below its device, and tells user space. Process context, may sleep.
///
/// That of a sub-channel is to be called by who has created it; a primary channel's directory comes
/// and goes with the device.
///
/// Returns [`ENODEV`] if the device's own directory is on its way out.
pub(crate) fn add(device: &Device, channel: &Channel) -> Result {
    device.with_channels(|set| set.add(channel))
}

/// Removes the directory of a channel, if there is one.
///
/// Process context; waits for who uses a file in it. Only to be called by who has called [`add`].
pub(crate) fn remove(channel: &Channel) {
    // SAFETY: The reference shows that the channel is valid.
    let kobj = unsafe { &raw mut (*channel.as_raw()).kobj };

    // SAFETY: Whoever has added it removes it: nobody else changes this meanwhile.
    if unsafe { (*kobj).state_in_sysfs() } != 0 {
        // SAFETY: The kobject is in sysfs.
        unsafe { bindings::kobject_del(kobj) };
    }
}

/// Lets user space map the ring of a channel: exported as `hv_create_ring_sysfs()`.
///
/// Process context, may sleep. Returns [`EINVAL`] if the channel has no ring that is contiguous in
/// memory, or no directory.
pub(crate) fn show_ring(channel: &Channel, prepare: Option<PrepareMap>) -> Result {
    let raw = channel.as_raw();

    // SAFETY: The channel is valid; the driver that calls this has allocated the ring.
    if prepare.is_none() || unsafe { (*raw).ringbuffer_page.is_null() } {
        return Err(EINVAL);
    }

    // SAFETY: The channel is valid; there is no file yet that the field is read for.
    unsafe { (*raw).mmap_prepare_ring_buffer = prepare };
    update_ring(channel, true).inspect_err(|_| {
        let _ = hide_ring(channel);
    })
}

/// Undoes [`show_ring`]; exported as `hv_remove_ring_sysfs()`.
///
/// Process context; waits for who is mapping the ring. What is mapped stays so.
pub(crate) fn hide_ring(channel: &Channel) -> Result {
    let result = update_ring(channel, false);

    // SAFETY: The channel is valid; there is no file any more that the field is read for.
    unsafe { (*channel.as_raw()).mmap_prepare_ring_buffer = None };
    result
}

/// Whether user space can map the ring.
pub(super) fn is_ring_shown(channel: &Channel) -> bool {
    fields::atomic!(channel, ring_sysfs_visible).load(Relaxed)
}

fn update_ring(channel: &Channel, visible: bool) -> Result {
    fields::atomic!(channel, ring_sysfs_visible).store(visible, Relaxed);

    // SAFETY: The channel is valid, its kobject initialized, and the group static.
    to_result(unsafe {
        bindings::sysfs_update_group(&raw mut (*channel.as_raw()).kobj, &raw const RING_GROUP.0)
    })
}

/// The directory `channels` of a device.
///
/// # Invariants
///
/// The pointer is a registered kset, which this object owns.
pub(super) struct Channels(NonNull<bindings::kset>);

// SAFETY: A kset may be used and unregistered by any thread.
unsafe impl Send for Channels {}

impl Channels {
    /// Creates the directory. May sleep.
    pub(super) fn new(device: &Device) -> Result<Self> {
        // SAFETY: The name is a string, and the device is in sysfs.
        let kset = unsafe {
            bindings::kset_create_and_add(
                c"channels".as_char_ptr(),
                ptr::null(),
                &raw mut (*device.as_device()).kobj,
            )
        };

        // INVARIANT: `kset_create_and_add()` returns a registered kset or null.
        Ok(Self(NonNull::new(kset).ok_or(ENOMEM)?))
    }

    /// Adds the directory of a channel. May sleep.
    pub(super) fn add(&self, channel: &Channel) -> Result {
        // SAFETY: The reference shows that the channel is valid.
        let kobj = unsafe { &raw mut (*channel.as_raw()).kobj };

        // SAFETY: The kobject is not in sysfs.
        unsafe { (*kobj).kset = self.0.as_ptr() };

        // SAFETY: The kobject is initialized, its set registered; the format fits its argument.
        let added = to_result(unsafe {
            bindings::kobject_add(
                kobj,
                ptr::null_mut(),
                c"%u".as_char_ptr(),
                channel.relid() as c_uint,
            )
        });
        if let Err(error) = added {
            // SAFETY: It has left the set, which it must not remember.
            unsafe { (*kobj).kset = ptr::null_mut() };
            return Err(error);
        }

        // The directory is there even if nobody can be told.
        // SAFETY: The kobject was added.
        unsafe { bindings::kobject_uevent(kobj, bindings::kobject_action_KOBJ_ADD) };
        Ok(())
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is registered, and ours. Channels that are still in it
        // lose their directories, and keep it until they are removed themselves.
        unsafe { bindings::kset_unregister(self.0.as_ptr()) };
    }
}
