// SPDX-License-Identifier: GPL-2.0

//! A host: what the mid layer sends commands through.
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

#[cfg(CONFIG_SCSI_FC_ATTRS)]
use super::fc;
use super::{
    Command,
    Device,
    DeviceRef,
    Setup, //
};
use crate::{
    bindings,
    device,
    devres::Devres,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    module::this_module,
    new_spinlock,
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        lock::mutex::MutexBackend,
        lock::Lock,
        Arc,
        SpinLock, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::size_of,
    ops::Deref,
    ptr::NonNull, //
};

/// Why a command cannot be taken now: until when the mid layer is to hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Until one of this device's commands is done, or a short time has passed.
    Device,
    /// As for a device, for the whole host.
    Host,
}

/// What is done about a command that takes longer than the device's timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutAction {
    /// It may take as long again.
    ResetTimer,
}

/// The geometry that programs of the past ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Heads.
    pub heads: u32,
    /// Sectors of a track.
    pub sectors: u32,
    /// Cylinders.
    pub cylinders: u32,
}

/// A kind of hosts, and what their callbacks work on.
///
/// C counterpart: `struct scsi_host_template`.
#[vtable]
pub trait Template: Send + Sync + Sized + 'static {
    /// What the kernel's log calls the host.
    const NAME: &'static CStr;

    /// The attribute `proc_name`.
    const PROC_NAME: &'static CStr;

    /// Commands under way for each device.
    const CMD_PER_LUN: i16;

    /// Between the first and the last byte of a command's data, memory has no gap that is smaller
    /// than this, and none within it: a power of two (bytes).
    const VIRT_BOUNDARY: usize;

    /// Devices take no WRITE SAME unless [`Setup::set_no_write_same`] says otherwise.
    const NO_WRITE_SAME: bool = false;

    /// The mid layer lowers a device's queue depth while the device says that it is full.
    const TRACK_QUEUE_DEPTH: bool = false;

    /// Takes a command, or hands it back because there is no room now.
    ///
    /// The command is the driver's until it is completed, which may happen before this returns.
    /// Called by several processors at once, with the RCU read lock held; must not sleep.
    fn queuecommand(&self, command: Command) -> Result<(), (Busy, Command)>;

    /// Tells the device about the commands that it was not told about because others seemed to
    /// follow; see [`Command::is_last`]. Context as `queuecommand`.
    fn commit_rqs(&self, hw_queue: usize) {
        let _ = hw_queue;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A command takes longer than its device's timeout. Must not sleep.
    ///
    /// It stays the driver's: the mid layer only asks whether to wait.
    fn eh_timed_out(&self) -> TimeoutAction {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Resets the host, and returns when it has no command under way any more.
    ///
    /// Process context; sleeps. No commands come from the mid layer meanwhile.
    fn eh_host_reset(&self) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A device was found, about which the mid layer knows nothing yet.
    ///
    /// Process context, may sleep.
    fn sdev_init(&self, dev: &mut Setup<'_>) -> Result {
        let _ = dev;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A device has said what it is, and is about to be used.
    ///
    /// Process context, may sleep.
    fn sdev_configure(&self, dev: &mut Setup<'_>) -> Result {
        let _ = dev;
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// User space, or the mid layer, wants another queue depth of a device. Returns what it is now.
    ///
    /// Must not sleep. See [`Device::set_queue_depth`].
    fn change_queue_depth(&self, dev: &Device, depth: u32) -> Result<u32> {
        let _ = (dev, depth);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes up a geometry for a disk of so many sectors of 512 bytes.
    fn bios_param(sectors: u64) -> Geometry {
        let _ = sectors;
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A host, whatever drives it.
///
/// # Invariants
///
/// The `struct Scsi_Host` is valid.
#[repr(transparent)]
pub struct Host(Opaque<bindings::Scsi_Host>);

// SAFETY: The mid layer's functions for hosts may be called by any thread.
unsafe impl Send for Host {}

// SAFETY: They may be called concurrently.
unsafe impl Sync for Host {}

// SAFETY: Hosts are always reference-counted, by their device.
unsafe impl AlwaysRefCounted for Host {
    fn inc_ref(&self) {
        // SAFETY: The host, and the device in it, is valid.
        unsafe { bindings::get_device(&raw mut (*self.as_raw()).shost_gendev) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        let host = obj.as_ptr().cast::<bindings::Scsi_Host>();

        // SAFETY: The caller owns a reference. The mid layer's `scsi_host_put()` does just this.
        unsafe { bindings::put_device(&raw mut (*host).shost_gendev) };
    }
}

impl Host {
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::Scsi_Host {
        self.0.get()
    }

    /// The number of the host.
    #[inline]
    pub fn host_no(&self) -> u32 {
        // SAFETY: The host is valid, and its number never changes.
        unsafe { (*self.as_raw()).host_no }
    }

    /// How many commands each hardware queue may have under way.
    #[inline]
    pub fn can_queue(&self) -> u32 {
        // SAFETY: The host is valid, and this does not change once it is registered.
        let depth = unsafe { (*self.as_raw()).can_queue };

        u32::try_from(depth).unwrap_or(0)
    }

    /// Looks for devices at all addresses that the host can have. Process context; sleeps.
    #[inline]
    pub fn scan(&self) {
        // SAFETY: The host is valid. One that is not registered, or not any more, is not scanned.
        unsafe { bindings::scsi_scan_host(self.as_raw()) };
    }

    /// Adds a device whose address is known. Process context; sleeps.
    #[inline]
    pub fn add_device(&self, channel: u32, id: u32, lun: u64) -> Result {
        // SAFETY: As in `scan()`.
        to_result(unsafe { bindings::scsi_add_device(self.as_raw(), channel, id, lun) })
    }

    /// Looks a device up. Process context.
    #[inline]
    pub fn lookup(&self, channel: u32, id: u32, lun: u64) -> Option<DeviceRef> {
        // SAFETY: The host is valid.
        let sdev = unsafe { bindings::scsi_device_lookup(self.as_raw(), channel, id, lun) };

        // SAFETY: The mid layer has taken a reference for us.
        NonNull::new(sdev).map(|sdev| unsafe { DeviceRef::from_raw(sdev) })
    }

    /// Calls a function for each device, while the host is not scanned by others.
    ///
    /// Process context; sleeps. Devices may be removed meanwhile.
    #[inline]
    pub fn for_each_device(&self, mut visit: impl FnMut(&Device)) {
        // SAFETY: The host is valid, and its mutex is initialized.
        let scan_mutex =
            unsafe { Lock::<(), MutexBackend>::from_raw(&raw mut (*self.as_raw()).scan_mutex) };
        let _guard = scan_mutex.lock();
        let mut sdev = core::ptr::null_mut();

        loop {
            // SAFETY: The host is valid, and `sdev` is NULL or the last one that this returned; it
            // puts the reference to that one and takes one to the next.
            sdev = unsafe { bindings::__scsi_iterate_devices(self.as_raw(), sdev) };
            if sdev.is_null() {
                return;
            }
            // SAFETY: There is a reference to it until the next turn.
            visit(unsafe { Device::from_raw(sdev) });
        }
    }
}

/// What lies behind the mid layer's part of a host.
struct Private<T: Template> {
    // A copy: bit fields cannot be set at compile time.
    template: bindings::scsi_host_template,
    /// For callbacks that are over when the host is removed. Any context.
    fast: *const T,
    /// For the others. Process context.
    data: SpinLock<Option<Arc<T>>>,
}

impl<T: Template> Private<T> {
    /// # Safety
    ///
    /// `shost` must be a valid host that [`NewHost::new`] has made for `T`.
    #[inline]
    unsafe fn of(shost: *mut bindings::Scsi_Host) -> *mut Self {
        // SAFETY: By the safety requirements.
        unsafe { (&raw mut (*shost).hostdata).cast() }
    }

    /// The data, for a callback that removing the host waits for.
    ///
    /// # Safety
    ///
    /// As of [`Private::of`]; and the host must be registered until the end of `'a`.
    #[inline]
    unsafe fn fast<'a>(shost: *mut bindings::Scsi_Host) -> &'a T {
        // SAFETY: By the safety requirements. It was set when the host was registered, and `data`
        // keeps it alive until it is removed.
        unsafe { &*(*Self::of(shost)).fast }
    }

    /// The data, for a callback that may come when the host is being removed.
    ///
    /// # Safety
    ///
    /// As of [`Private::of`].
    #[inline]
    unsafe fn data(shost: *mut bindings::Scsi_Host) -> Result<Arc<T>> {
        // SAFETY: By the safety requirements. The lock is initialized, and stays so.
        let data = unsafe { &(*Self::of(shost)).data };

        data.lock().clone().ok_or(ENODEV)
    }
}

/// The functions of a template.
struct Callbacks<T: Template>(PhantomData<T>);

impl<T: Template> Callbacks<T> {
    const TEMPLATE: bindings::scsi_host_template = bindings::scsi_host_template {
        module: this_module::<T::OwnerModule>().as_ptr(),
        name: as_char_ptr_in_const_context(T::NAME),
        proc_name: as_char_ptr_in_const_context(T::PROC_NAME),
        queuecommand: Some(Self::queuecommand),
        commit_rqs: if T::HAS_COMMIT_RQS {
            Some(Self::commit_rqs)
        } else {
            None
        },
        eh_timed_out: if T::HAS_EH_TIMED_OUT {
            Some(Self::eh_timed_out)
        } else {
            None
        },
        eh_host_reset_handler: if T::HAS_EH_HOST_RESET {
            Some(Self::eh_host_reset)
        } else {
            None
        },
        sdev_init: if T::HAS_SDEV_INIT {
            Some(Self::sdev_init)
        } else {
            None
        },
        sdev_configure: if T::HAS_SDEV_CONFIGURE {
            Some(Self::sdev_configure)
        } else {
            None
        },
        change_queue_depth: if T::HAS_CHANGE_QUEUE_DEPTH {
            Some(Self::change_queue_depth)
        } else {
            None
        },
        bios_param: if T::HAS_BIOS_PARAM {
            Some(Self::bios_param)
        } else {
            None
        },
        // Each host says its own.
        can_queue: 1,
        // Hosts have no address of their own.
        this_id: -1,
        cmd_per_lun: T::CMD_PER_LUN,
        // CAST: Of the same size.
        virt_boundary_mask: {
            assert!(T::VIRT_BOUNDARY.is_power_of_two());
            (T::VIRT_BOUNDARY - 1) as c_ulong
        },
        ..pin_init::zeroed()
    };

    unsafe extern "C" fn queuecommand(
        shost: *mut bindings::Scsi_Host,
        cmd: *mut bindings::scsi_cmnd,
    ) -> bindings::scsi_qc_status {
        // SAFETY: Commands come from registered hosts only, and removing one waits for them.
        let data = unsafe { Private::<T>::fast(shost) };
        let Some(cmd) = NonNull::new(cmd) else {
            return bindings::scsi_qc_status::SCSI_MLQUEUE_HOST_BUSY;
        };
        // SAFETY: The mid layer hands it to the driver just now.
        let command = unsafe { Command::from_raw(cmd) };

        match data.queuecommand(command) {
            Ok(()) => bindings::scsi_qc_status(0),
            Err((busy, command)) => {
                // By the return value it is the mid layer's again.
                let _ = command.into_raw();
                match busy {
                    Busy::Device => bindings::scsi_qc_status::SCSI_MLQUEUE_DEVICE_BUSY,
                    Busy::Host => bindings::scsi_qc_status::SCSI_MLQUEUE_HOST_BUSY,
                }
            }
        }
    }

    unsafe extern "C" fn commit_rqs(shost: *mut bindings::Scsi_Host, hw_queue: u16) {
        // SAFETY: The block layer has commands under way; as in `queuecommand()`.
        let data = unsafe { Private::<T>::fast(shost) };

        data.commit_rqs(hw_queue.into());
    }

    unsafe extern "C" fn eh_timed_out(
        cmd: *mut bindings::scsi_cmnd,
    ) -> bindings::scsi_timeout_action {
        // SAFETY: The mid layer gives us a valid command, under way on our host.
        let data = unsafe { Private::<T>::fast((*(*cmd).device).host) };

        match data.eh_timed_out() {
            TimeoutAction::ResetTimer => bindings::scsi_timeout_action::SCSI_EH_RESET_TIMER,
        }
    }

    unsafe extern "C" fn eh_host_reset(cmd: *mut bindings::scsi_cmnd) -> c_int {
        // SAFETY: The mid layer gives us a valid command of a device of our host, which is not
        // always one that is under way.
        let data = unsafe { Private::<T>::data((*(*cmd).device).host) };

        // CAST: Small numbers.
        match data.and_then(|data| data.eh_host_reset()) {
            Ok(()) => bindings::scsi_disposition_SUCCESS as c_int,
            Err(_) => bindings::scsi_disposition_FAILED as c_int,
        }
    }

    unsafe extern "C" fn sdev_init(sdev: *mut bindings::scsi_device) -> c_int {
        // SAFETY: The mid layer gives us a valid device of our host.
        let data = unsafe { Private::<T>::data((*sdev).host) };
        // SAFETY: As above. Nobody else uses the device yet.
        let mut setup = unsafe { Setup::new(Device::from_raw(sdev)) };

        from_result(|| {
            data?.sdev_init(&mut setup)?;
            Ok(0)
        })
    }

    unsafe extern "C" fn sdev_configure(
        sdev: *mut bindings::scsi_device,
        _limits: *mut bindings::queue_limits,
    ) -> c_int {
        // SAFETY: The mid layer gives us a valid device of our host.
        let data = unsafe { Private::<T>::data((*sdev).host) };
        // SAFETY: As above. The mid layer keeps others away meanwhile.
        let mut setup = unsafe { Setup::new(Device::from_raw(sdev)) };

        from_result(|| {
            data?.sdev_configure(&mut setup)?;
            Ok(0)
        })
    }

    unsafe extern "C" fn change_queue_depth(
        sdev: *mut bindings::scsi_device,
        depth: c_int,
    ) -> c_int {
        // SAFETY: The mid layer gives us a valid device of our host. It calls for a file of the
        // device, or for a command that it completes; removing the host waits for both.
        let data = unsafe { Private::<T>::fast((*sdev).host) };
        // SAFETY: As above.
        let dev = unsafe { Device::from_raw(sdev) };

        from_result(|| {
            let depth = u32::try_from(depth).map_err(|_| EINVAL)?;
            let depth = data.change_queue_depth(dev, depth)?;

            Ok(c_int::try_from(depth)?)
        })
    }

    unsafe extern "C" fn bios_param(
        _sdev: *mut bindings::scsi_device,
        _disk: *mut bindings::gendisk,
        capacity: bindings::sector_t,
        info: *mut c_int,
    ) -> c_int {
        let geometry = T::bios_param(capacity);

        for (at, figure) in [geometry.heads, geometry.sectors, geometry.cylinders]
            .into_iter()
            .enumerate()
        {
            // SAFETY: The mid layer gives us an array of at least three.
            // CAST: Programs read it without a sign.
            unsafe { *info.add(at) = figure as c_int };
        }
        0
    }
}

/// A host that is not registered yet: its limits can still be set.
///
/// # Invariants
///
/// The host was allocated for `T`, and its [`Private`] is initialized.
pub struct NewHost<T: Template> {
    host: ARef<Host>,
    #[cfg(CONFIG_SCSI_FC_ATTRS)]
    fc: Option<(fc::Transport<T>, fc::Names)>,
    _template: PhantomData<fn() -> T>,
}

impl<T: Template> NewHost<T> {
    /// Allocates a host. Process context, may sleep.
    #[inline]
    pub fn new() -> Result<Self> {
        const {
            assert!(align_of::<Private<T>>() <= align_of::<c_ulong>());
        }
        let size = c_int::try_from(size_of::<Private<T>>())?;

        // SAFETY: The template is valid, and promoted to a `'static` one.
        let shost = unsafe { bindings::scsi_host_alloc(&Callbacks::<T>::TEMPLATE, size) };
        let shost = NonNull::new(shost).ok_or(ENOMEM)?;
        // SAFETY: The host is valid, we own its first reference, and `Host` wraps it transparently.
        let host = unsafe { ARef::<Host>::from_raw(shost.cast()) };
        let shost = shost.as_ptr();

        // SAFETY: The host has room for it.
        let private = unsafe { Private::<T>::of(shost) };
        // SAFETY: As above; the block is ours, and nobody has it yet.
        let template = unsafe { &raw mut (*private).template };
        // SAFETY: As above.
        unsafe { template.write(Callbacks::<T>::TEMPLATE) };
        // SAFETY: It was just initialized.
        unsafe {
            bindings::scsi_host_template::set_no_write_same_raw(template, T::NO_WRITE_SAME.into())
        };
        // SAFETY: As above.
        unsafe {
            bindings::scsi_host_template::set_track_queue_depth_raw(
                template,
                T::TRACK_QUEUE_DEPTH.into(),
            )
        };
        // SAFETY: As above. From now on the host uses the copy, which lives as long as it does.
        unsafe {
            (*shost).hostt = template;
            bindings::Scsi_Host::set_no_write_same_raw(shost, T::NO_WRITE_SAME.into());
        }
        // SAFETY: The block is ours and has room for it.
        unsafe { (&raw mut (*private).fast).write(core::ptr::null()) };
        // SAFETY: As above. It stays where it is, and needs no destructor: it is empty again when
        // the host goes.
        unsafe { pin_init::raw_init(&raw mut (*private).data, new_spinlock!(None)) };

        // INVARIANT: All of it is initialized.
        Ok(Self {
            host,
            #[cfg(CONFIG_SCSI_FC_ATTRS)]
            fc: None,
            _template: PhantomData,
        })
    }

    #[inline]
    fn fields(&mut self) -> *mut bindings::Scsi_Host {
        self.host.as_raw()
    }

    /// Sets how many commands each hardware queue may have under way: at least one.
    #[inline]
    pub fn set_can_queue(&mut self, commands: u32) {
        let commands = c_int::try_from(commands).unwrap_or(c_int::MAX).max(1);

        // SAFETY: Nobody else uses the host yet.
        unsafe { (*self.fields()).can_queue = commands };
    }

    /// Sets how many channels, targets on each, and logical units of each there can be.
    #[inline]
    pub fn set_addresses(&mut self, channels: u32, targets: u32, luns: u64) {
        let host = self.fields();

        // SAFETY: Nobody else uses the host yet.
        unsafe {
            (*host).max_channel = channels.saturating_sub(1);
            (*host).max_id = targets;
            (*host).max_lun = luns;
        }
    }

    /// Sets the length of the longest command descriptor block (bytes).
    #[inline]
    pub fn set_max_cmd_len(&mut self, len: u16) {
        // SAFETY: Nobody else uses the host yet.
        unsafe { (*self.fields()).max_cmd_len = len };
    }

    /// Sets the most data that a command may have: sectors of 512 bytes, and pieces of memory.
    #[inline]
    pub fn set_transfer_limits(&mut self, sectors: u32, segments: u16) {
        let host = self.fields();

        // SAFETY: Nobody else uses the host yet.
        unsafe {
            (*host).max_sectors = sectors;
            (*host).sg_tablesize = segments;
        }
    }

    /// Sets the number of hardware queues.
    #[inline]
    pub fn set_nr_hw_queues(&mut self, queues: u32) {
        // SAFETY: Nobody else uses the host yet.
        unsafe { (*self.fields()).nr_hw_queues = queues.max(1) };
    }

    /// Makes the host an adapter of Fibre Channel, with one remote port. Process context, may
    /// sleep.
    #[cfg(CONFIG_SCSI_FC_ATTRS)]
    #[inline]
    pub fn set_fc(&mut self, names: fc::Names) -> Result {
        let transport = fc::Transport::new()?;

        // SAFETY: Nobody else uses the host yet. The transport is released when it is removed.
        unsafe { (*self.fields()).transportt = transport.as_raw() };
        self.fc = Some((transport, names));
        Ok(())
    }

    /// Registers the host below a device, which does its DMA.
    ///
    /// From here on `data` gets commands, as soon as devices are looked for.
    /// Process context; sleeps.
    #[inline]
    pub fn register(
        self,
        dev: &device::Device<device::Bound>,
        data: Arc<T>,
    ) -> Result<Registration<T>> {
        let shost = self.host.as_raw();
        // SAFETY: By the type invariant it is initialized.
        let private = unsafe { Private::<T>::of(shost) };

        // Bounce buffers must not make gaps where there were none.
        //
        // SAFETY: The device is bound to the driver that calls this, and not used for DMA yet.
        // CAST: A power of two less one; larger than 32 bits it makes no difference.
        unsafe { bindings::dma_set_min_align_mask(dev.as_raw(), (T::VIRT_BOUNDARY - 1) as c_uint) };

        // SAFETY: Nobody else uses the host yet. What it points to lives as long as `data`.
        unsafe { (*private).fast = &*data };
        // SAFETY: By the type invariant it is initialized.
        unsafe { *(*private).data.lock() = Some(data) };

        // SAFETY: The host is valid and was not registered before; so is the device.
        let added = to_result(unsafe {
            bindings::scsi_add_host_with_dma(shost, dev.as_raw(), dev.as_raw())
        });
        if let Err(error) = added {
            // SAFETY: As above.
            let data = unsafe { (*private).data.lock().take() };
            drop(data);
            return Err(error);
        }

        // A registration that is leaked ends when the device is unbound.
        let host = self.host.clone();
        let registered = Registered {
            #[cfg(CONFIG_SCSI_FC_ATTRS)]
            port: None,
            host: self,
        };
        #[cfg(CONFIG_SCSI_FC_ATTRS)]
        let registered = registered.add_port()?;

        let registered = Devres::new(dev, Ok::<_, Error>(registered))?;
        Ok(Registration {
            host,
            _registered: registered,
        })
    }
}

impl<T: Template> Deref for NewHost<T> {
    type Target = Host;

    #[inline]
    fn deref(&self) -> &Host {
        &self.host
    }
}

/// Removes a registered host when it is dropped.
struct Registered<T: Template> {
    #[cfg(CONFIG_SCSI_FC_ATTRS)]
    port: Option<fc::RemotePort<T>>,
    host: NewHost<T>,
}

#[cfg(CONFIG_SCSI_FC_ATTRS)]
impl<T: Template> Registered<T> {
    /// Adds the remote port of a host of Fibre Channel.
    #[inline]
    fn add_port(mut self) -> Result<Self> {
        if let Some((_, names)) = &self.host.fc {
            // SAFETY: A host is never NULL.
            let shost = unsafe { NonNull::new_unchecked(self.host.host.as_raw()) };

            // SAFETY: The host is registered with a transport, and the port goes first.
            self.port = Some(unsafe { fc::RemotePort::new(shost, *names) }?);
        }
        Ok(self)
    }
}

impl<T: Template> Drop for Registered<T> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(CONFIG_SCSI_FC_ATTRS)]
        drop(self.port.take());

        let shost = self.host.fields();
        // SAFETY: The host is registered. When this returns, its commands are done and there will
        // be no more.
        unsafe { bindings::scsi_remove_host(shost) };

        // SAFETY: It is initialized.
        let private = unsafe { Private::<T>::of(shost) };
        // SAFETY: As above. Nobody uses `fast` any more.
        let data = unsafe { (*private).data.lock().take() };
        drop(data);
    }
}

/// A registered host.
///
/// Dropping it removes the host with its devices. That sleeps, and waits until all commands are
/// done: their owners, the driver, must see to that.
pub struct Registration<T: Template> {
    host: ARef<Host>,
    _registered: Devres<Registered<T>>,
}

impl<T: Template> Deref for Registration<T> {
    type Target = Host;

    #[inline]
    fn deref(&self) -> &Host {
        &self.host
    }
}
