// SPDX-License-Identifier: GPL-2.0

//! Exported functions that open, close and describe channels, and share memory.
//!
//! Callers hand in channels that they got from this driver and that live as long as the call: that
//! is what the C interface demands, and what "as callers must" means below.
//!
//! C header: [`include/linux/hyperv.h`](srctree/include/linux/hyperv.h)

use super::fields::Callback;
use crate::{
    channel::Channel,
    connection::{
        self,
        Unload, //
    },
    gpadl::{
        self,
        Failed,
        Unconfirmed, //
    },
    hw,
    lifecycle,
    log::warn_limited,
    message::{
        self,
        kind,
        Header, //
    },
    open,
    trace, //
};
use kernel::{
    bindings,
    error::from_result,
    global_lock,
    prelude::*,
    sync::aref::ARef, //
};

type OnChannel = Option<unsafe extern "C" fn(*mut c_void)>;

/// Turns the result of safe code into what C expects.
fn status(result: Result) -> c_int {
    from_result(|| result.map(|()| 0))
}

/// Allocates the rings of a channel as one block of memory, which user space can map. May sleep.
///
/// # Safety
///
/// `channel` must be valid, as callers must ensure.
#[export]
pub(crate) unsafe extern "C" fn vmbus_alloc_ring(
    channel: *mut bindings::vmbus_channel,
    send_size: u32,
    recv_size: u32,
) -> c_int {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };

    status(open::allocate(
        channel,
        send_size as usize,
        recv_size as usize,
        true,
    ))
}

/// Frees the rings of a closed channel. May sleep.
///
/// # Safety
///
/// `channel` must be valid, and nobody may use its rings.
#[export]
pub(crate) unsafe extern "C" fn vmbus_free_ring(channel: *mut bindings::vmbus_channel) {
    // SAFETY: By the safety requirements.
    open::free(unsafe { Channel::from_raw(channel) });
}

/// Opens a channel whose rings were allocated. May sleep.
///
/// # Safety
///
/// `channel` must be valid; `on_channel` may be called with `context` until the channel is closed.
#[export]
pub(crate) unsafe extern "C" fn vmbus_connect_ring(
    channel: *mut bindings::vmbus_channel,
    on_channel: OnChannel,
    context: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };
    let callback = Callback {
        function: on_channel,
        context,
    };

    status(open::connect(channel, &[], callback))
}

/// Closes a primary channel and its sub-channels; its own rings stay. May sleep.
///
/// # Safety
///
/// `channel` must be valid, and nobody may use its rings.
#[export]
pub(crate) unsafe extern "C" fn vmbus_disconnect_ring(
    channel: *mut bindings::vmbus_channel,
) -> c_int {
    // SAFETY: By the safety requirements.
    status(open::disconnect(unsafe { Channel::from_raw(channel) }))
}

/// Opens a channel with rings of these sizes. May sleep.
///
/// # Safety
///
/// `channel` must be valid; `on_channel` may be called with `context` until the channel is closed,
/// and `userdata` must point to so many bytes.
#[export]
pub(crate) unsafe extern "C" fn vmbus_open(
    channel: *mut bindings::vmbus_channel,
    send_size: u32,
    recv_size: u32,
    userdata: *mut c_void,
    userdata_len: u32,
    on_channel: OnChannel,
    context: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };
    let user_data: &[u8] = if userdata_len == 0 {
        &[]
    } else {
        // SAFETY: By the safety requirements.
        unsafe { core::slice::from_raw_parts(userdata.cast(), userdata_len as usize) }
    };
    let callback = Callback {
        function: on_channel,
        context,
    };

    let result =
        open::allocate(channel, send_size as usize, recv_size as usize, false).and_then(|()| {
            open::connect(channel, user_data, callback).inspect_err(|_| open::free(channel))
        });
    status(result)
}

/// Closes a channel, its sub-channels before it, and frees their rings. May sleep.
///
/// # Safety
///
/// `channel` must be valid, and nobody may use its rings.
#[export]
pub(crate) unsafe extern "C" fn vmbus_close(channel: *mut bindings::vmbus_channel) {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };

    if open::disconnect(channel).is_ok() {
        open::free(channel);
    }
}

global_lock! {
    // SAFETY: `init()` is called by the module's initialization, before anything else.
    unsafe(uninit) static LOST: Mutex<KVec<usize>> = KVec::new();
}

/// Prepares what this file needs.
///
/// # Safety
///
/// To be called once for a load of the module, before anything else.
pub(crate) unsafe fn init() {
    // SAFETY: By the safety requirements.
    unsafe { LOST.init() }
}

/// Gives the memory of the list back. At the end of the module, whose users are gone.
pub(crate) fn forget() {
    *LOST.lock() = KVec::new();
}

/// Shares memory of a driver with the host.
///
/// If it is not known afterwards whether the host accesses the memory, [`vmbus_free_buffer`] will
/// not free it.
///
/// # Safety
///
/// `channel` and `gpadl` must be valid; `buffer` must be `size` bytes of kernel memory.
unsafe fn establish(
    channel: *mut bindings::vmbus_channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: *mut bindings::vmbus_gpadl,
    decrypt: bool,
) -> c_int {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };
    let Some(connection) = connection::current() else {
        return ENODEV.to_errno();
    };
    let pages = (size as usize).div_ceil(bindings::PAGE_SIZE);

    // SAFETY: By the safety requirements, and so below.
    unsafe { (*gpadl).decrypted = decrypt };
    if decrypt {
        // SAFETY: So many pages belong to the caller.
        let failed = unsafe { bindings::set_memory_decrypted(buffer as usize, pages as c_int) };
        if failed != 0 {
            // Its state is unknown: with `decrypted` set the caller does not free it.
            return failed;
        }
    }
    let size = size as usize;
    let mut pfns = (0..size.div_ceil(gpadl::PAGE))
        .map(|page| hw::page_frame(buffer.wrapping_byte_add(page * gpadl::PAGE)));

    let error = match gpadl::establish(&connection, channel, &mut pfns, size) {
        Ok(handle) => {
            // SAFETY: As above.
            unsafe { (*gpadl).gpadl_handle = handle };
            // SAFETY: As above.
            unsafe { (*gpadl).buffer = buffer };
            // SAFETY: As above.
            unsafe { (*gpadl).size = size as u32 };
            return 0;
        }
        Err(Failed::Unknown(error)) => {
            lose(buffer);
            return error.to_errno();
        }
        Err(Failed::Clean(error)) => error,
    };
    if decrypt {
        // SAFETY: As above.
        let failed = unsafe { bindings::set_memory_encrypted(buffer as usize, pages as c_int) };
        // SAFETY: As above.
        unsafe { (*gpadl).decrypted = failed != 0 };
    }
    error.to_errno()
}

/// Remembers memory that the host may still write to.
fn lose(buffer: *mut c_void) {
    warn_limited!("the host may still use memory of a driver, which is lost therefore\n");
    // If there is no room to remember it, there is no driver either that can go on for long.
    let _ = LOST.lock().push(buffer as usize, GFP_KERNEL);
}

/// Shares memory with the host, which is decrypted for it if the guest's is encrypted. May sleep.
///
/// # Safety
///
/// `channel` and `gpadl` must be valid; `buffer` must be `size` bytes of kernel memory.
#[export]
pub(crate) unsafe extern "C" fn vmbus_establish_gpadl(
    channel: *mut bindings::vmbus_channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: *mut bindings::vmbus_gpadl,
) -> c_int {
    // SAFETY: By the safety requirements.
    let encrypted = unsafe { Channel::from_raw(channel) }.has_confidential_memory();

    // SAFETY: By the safety requirements.
    unsafe { establish(channel, buffer, size, gpadl, !encrypted) }
}

/// As [`vmbus_establish_gpadl`], for memory that the caller has decrypted already. May sleep.
///
/// # Safety
///
/// As there.
#[export]
pub(crate) unsafe extern "C" fn vmbus_establish_gpadl_caller_decrypted(
    channel: *mut bindings::vmbus_channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: *mut bindings::vmbus_gpadl,
) -> c_int {
    // SAFETY: By the safety requirements.
    unsafe { establish(channel, buffer, size, gpadl, false) }
}

/// Takes memory back from the host. May sleep.
///
/// An error means that the host may still access it: it must not be freed.
///
/// # Safety
///
/// `channel` must be valid, and `gpadl` what one of the functions above has filled in.
#[export]
pub(crate) unsafe extern "C" fn vmbus_teardown_gpadl(
    channel: *mut bindings::vmbus_channel,
    gpadl: *mut bindings::vmbus_gpadl,
) -> c_int {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };
    // SAFETY: By the safety requirements.
    let shared = unsafe { &mut *gpadl };

    if let Some(connection) = connection::current() {
        if let Err(Unconfirmed) = gpadl::teardown(&connection, channel, shared.gpadl_handle) {
            lose(shared.buffer);
            return ETIMEDOUT.to_errno();
        }
    }
    shared.gpadl_handle = 0;
    if !shared.decrypted {
        return 0;
    }
    let pages = (shared.size as usize).div_ceil(bindings::PAGE_SIZE);
    // SAFETY: By the safety requirements so many pages belong to the caller.
    let failed = unsafe { bindings::set_memory_encrypted(shared.buffer as usize, pages as c_int) };

    if failed != 0 {
        warn_limited!("memory of a driver cannot be encrypted again: {}\n", failed);
    }
    shared.decrypted = failed != 0;
    failed
}

/// Allocates memory that can be shared with the host, zeroed and contiguous for the guest.
///
/// In an isolated guest it is made of decrypted pieces, which are returned as well, for
/// [`vmbus_free_buffer`]. May sleep; null if there is not enough.
///
/// # Safety
///
/// `channel` must be valid, `chunks` and `count` valid for writes.
#[export]
pub(crate) unsafe extern "C" fn vmbus_alloc_buffer(
    channel: *mut bindings::vmbus_channel,
    size: u32,
    chunks: *mut *mut *mut bindings::page,
    count: *mut u32,
) -> *mut c_void {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };
    let pages = (size as usize).div_ceil(bindings::PAGE_SIZE);

    // SAFETY: By the safety requirements.
    unsafe { *chunks = core::ptr::null_mut() };
    // SAFETY: By the safety requirements.
    unsafe { *count = 0 };
    if pages == 0 {
        return core::ptr::null_mut();
    }
    if !hw::is_isolated() || channel.has_confidential_memory() {
        // SAFETY: It may be called in process context.
        return unsafe { bindings::vzalloc_noprof(pages * bindings::PAGE_SIZE) };
    }
    match super::buffer::Decrypted::new(channel, pages) {
        Ok(buffer) => {
            let (address, pieces, number) = buffer.into_raw();

            // SAFETY: By the safety requirements.
            unsafe { *chunks = pieces };
            // SAFETY: By the safety requirements.
            unsafe { *count = number };
            address
        }
        Err(_) => core::ptr::null_mut(),
    }
}

/// Frees memory of [`vmbus_alloc_buffer`], unless the host may still access it. May sleep.
///
/// # Safety
///
/// `address`, `chunks` and `count` must be what that function has returned, and nobody may use the
/// memory any more.
#[export]
pub(crate) unsafe extern "C" fn vmbus_free_buffer(
    address: *mut c_void,
    chunks: *mut *mut bindings::page,
    count: u32,
) {
    if LOST.lock().contains(&(address as usize)) {
        return;
    }
    if chunks.is_null() {
        // SAFETY: By the safety requirements.
        unsafe { bindings::vfree(address) };
        return;
    }
    // SAFETY: By the safety requirements.
    drop(unsafe { super::buffer::Decrypted::from_raw(address, chunks, count) });
}

/// Asks a service of the host for a channel. May sleep.
///
/// # Safety
///
/// Both GUIDs must be valid.
#[export]
pub(crate) unsafe extern "C" fn vmbus_send_tl_connect_request(
    guest: *const bindings::guid_t,
    host: *const bindings::guid_t,
) -> c_int {
    let message = message::TlConnect {
        header: Header::new(kind::TL_CONNECT),
        // SAFETY: By the safety requirements.
        guest_endpoint: unsafe { (*guest).b },
        // SAFETY: By the safety requirements.
        host_service: unsafe { (*host).b },
    };
    let result = connection::current()
        .ok_or(ENODEV)
        .and_then(|connection| connection.send(&message));

    trace::tl_connect(&message, &result);
    status(result)
}

/// Asks the host to send a channel's interrupts to a virtual processor. May sleep.
///
/// # Safety
///
/// `channel` must be valid.
#[export]
pub(crate) unsafe extern "C" fn vmbus_send_modifychannel(
    channel: *mut bindings::vmbus_channel,
    target_vp: u32,
) -> c_int {
    // SAFETY: By the safety requirements.
    let channel = unsafe { Channel::from_raw(channel) };

    status(
        connection::current()
            .ok_or(ENODEV)
            .and_then(|connection| open::modify(&connection, channel, target_vp)),
    )
}

/// Sets what is told of new sub-channels.
///
/// # Safety
///
/// `channel` must be valid.
#[export]
pub(crate) unsafe extern "C" fn vmbus_set_sc_create_callback(
    channel: *mut bindings::vmbus_channel,
    callback: Option<unsafe extern "C" fn(*mut bindings::vmbus_channel)>,
) {
    // SAFETY: By the safety requirements; work items read the field as a whole.
    unsafe { (&raw mut (*channel).sc_creation_callback).write_volatile(callback) };
}

/// Sets what is told of a rescind, and then has to unregister the device itself.
///
/// # Safety
///
/// `channel` must be valid.
#[export]
pub(crate) unsafe extern "C" fn vmbus_set_chn_rescind_callback(
    channel: *mut bindings::vmbus_channel,
    callback: Option<unsafe extern "C" fn(*mut bindings::vmbus_channel)>,
) {
    // SAFETY: By the safety requirements; work items read the field as a whole.
    unsafe { (&raw mut (*channel).chn_rescind_callback).write_volatile(callback) };
}

/// Unregisters the device of a Hyper-V socket once the host has rescinded it. May sleep.
///
/// # Safety
///
/// `channel` must be valid, and the caller has no use for it any more.
#[export]
pub(crate) unsafe extern "C" fn vmbus_hvsock_device_unregister(
    channel: *mut bindings::vmbus_channel,
) {
    // SAFETY: By the safety requirements.
    let channel: ARef<Channel> = unsafe { Channel::from_raw(channel) }.into();

    lifecycle::unregister_when_rescinded(&channel);
}

/// Ends the connection with the host. Sleeps unless the kernel is about to die.
///
/// # Safety
///
/// There is nothing to be kept. It is unsafe as what C declares is, which old compilers want.
#[export]
pub(crate) unsafe extern "C" fn vmbus_initiate_unload(crash: bool) {
    connection::unload(if crash { Unload::Poll } else { Unload::Sleep });
}
