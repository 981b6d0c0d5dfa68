// SPDX-License-Identifier: GPL-2.0

//! Abstractions for VMBus, the bus of Hyper-V's synthetic devices.
//!
//! A driver implements [`Driver`] and is registered by [`module_vmbus_driver!`]. Its probe gets a
//! [`Device`], whose [`Channel`] it opens; what is open is a [`Session`], which can be closed and
//! opened again. Its [`Writer`] sends packets, in any context; its [`Reader`] is taken by whatever
//! context polls: that in which the bus calls the [`Handler`], a softirq, or one of the driver's
//! own, after the handler was woken in an interrupt. A [`Request`] that the host has to answer is in
//! flight until its answer is read. [`SharedMemory`] is what the host may write to by itself; it
//! says so in packets of which each is [`Owed`] a completion.
//!
//! # Where this code runs
//!
//! The bus driver, `hv_vmbus`, may be a module, while this crate is part of the kernel image.
//! Whatever refers to a symbol of that module is therefore generic or `#[inline]`: it is compiled
//! into the driver that uses it. No `static` here holds anything of the module either.
//!
//! # What does not compile
//!
//! Reading and writing take a session that lives, one packet is looked at at a time, and what is
//! published, completed or given back is gone:
//!
//! ```ignore,compile_fail
//! fn keep(session: Arc<Session<Echo>>) -> Result {
//!     let writer = session.writer();
//!     drop(session); // error[E0505]: cannot move out of `session` because it is borrowed
//!     writer.send(b"too late")
//! }
//!
//! fn both(reader: &mut Reader<'_, Ask>) -> Result<bool> {
//!     let first = reader.next()?;
//!     let second = reader.next()?; // error[E0499]: cannot borrow `*reader` as mutable
//!     Ok(first.is_some() && second.is_some())
//! }
//!
//! fn twice(owed: Owed, writer: &Writer<Ask>) {
//!     let _ = owed.complete(writer, b"", false);
//!     let _ = owed.complete(writer, b"", false); // error[E0382]: use of moved value: `owed`
//! }
//! ```
//!
//! A session that somebody has a reference to can be closed. Then there is no reader any more, and
//! whoever writes gets [`ENODEV`].
//!
//! These examples are not compiled with the kernel's documentation tests, which have no failing
//! ones.
//!
//! C header: [`include/linux/hyperv.h`](srctree/include/linux/hyperv.h)

use crate::{
    bindings,
    device,
    device_id::RawDeviceIdIndex,
    driver,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    prelude::*,
    sync::aref::AlwaysRefCounted,
    types::Opaque,
    ThisModule, //
};
use ::core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::NonNull, //
};

mod channel;
mod core;
mod ends;
mod id;
mod inflight;
mod link;
mod memory;
mod owed;
mod raw;
mod reader;
mod ring;
mod session;
#[cfg(CONFIG_KUNIT = "y")]
mod tests;
mod writer;

pub use self::channel::{
    Channel,
    Sizes,
    SubChannel, //
};
pub use self::id::{
    DeviceId,
    Guid,
    IdTable, //
};
pub use self::inflight::{
    Answered,
    Request, //
};
pub use self::memory::SharedMemory;
pub use self::owed::Owed;
pub use self::reader::{
    Incoming,
    Ranges,
    Reader, //
};
pub use self::session::{
    Handler,
    Session, //
};
pub use self::writer::{
    Packet,
    Pfns,
    Shape,
    Writer, //
};

/// Whether the host cannot see the guest's memory, but for what is shared with it.
#[inline]
pub fn is_isolated() -> bool {
    // SAFETY: This may be called in any context.
    unsafe { bindings::hv_is_isolation_supported() }
}

/// An adapter for the registration of VMBus drivers.
pub struct Adapter<T: Driver>(T);

// SAFETY:
// - `bindings::hv_driver` is a C type declared as `repr(C)`.
// - `PrivateData<'bound, T>` is the type of the driver's device private data.
// - `struct hv_driver` embeds a `struct device_driver`.
// - `DEVICE_DRIVER_OFFSET` is the correct byte offset to the embedded `struct device_driver`.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = bindings::hv_driver;
    type DriverData<'bound> = PrivateData<'bound, T>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(Self::DriverType, driver);
}

// SAFETY: A call to `unregister` for a given instance of `DriverType` is guaranteed to be valid if
// a preceding call to `register` has been successful.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        hdrv: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: It's safe to set the fields of `struct hv_driver` on initialization.
        unsafe {
            (*hdrv.get()).name = name.as_char_ptr();
            (*hdrv.get()).probe = Some(Self::probe_callback);
            (*hdrv.get()).remove = Some(Self::remove_callback);
            (*hdrv.get()).id_table = T::ID_TABLE.as_ptr();
            (*hdrv.get()).driver.probe_type = T::PROBE.as_raw();
            if T::HAS_SUSPEND {
                (*hdrv.get()).suspend = Some(Self::suspend_callback);
            }
            if T::HAS_RESUME {
                (*hdrv.get()).resume = Some(Self::resume_callback);
            }
            if T::HAS_SHUTDOWN {
                (*hdrv.get()).shutdown = Some(Self::shutdown_callback);
            }
        }

        // SAFETY: `hdrv` is guaranteed to be a valid `DriverType`.
        to_result(unsafe {
            bindings::__vmbus_driver_register(hdrv.get(), module.as_ptr(), name.as_char_ptr())
        })
    }

    unsafe fn unregister(hdrv: &Opaque<Self::DriverType>) {
        // SAFETY: `hdrv` is guaranteed to be a valid `DriverType`.
        unsafe { bindings::vmbus_driver_unregister(hdrv.get()) }
    }
}

impl<T: Driver> Adapter<T> {
    /// Returns the information of the entry of [`Driver::ID_TABLE`] that `id` points to, if any.
    ///
    /// `id` may also be an entry that user space added by `new_id`, and can take away at any time
    /// by `remove_id`. It is therefore compared and never looked into.
    fn info_of(id: *const bindings::hv_vmbus_device_id) -> Option<&'static T::IdInfo> {
        let mut entry = T::ID_TABLE.as_ptr();
        loop {
            // SAFETY: `entry` is in the table: it is the first entry, or follows one that was not
            // the zeroed one at the end. `DeviceId` transparently wraps what the table holds.
            let this = unsafe { &*entry.cast::<DeviceId>() };

            if this.is_end() {
                return None;
            }
            if ::core::ptr::eq(entry, id) {
                // SAFETY: `this` is in `T::ID_TABLE`, which is an `IdArray<_, T::IdInfo>`.
                return Some(unsafe { this.info_unchecked() });
            }
            // SAFETY: An entry follows, because this one is not the last.
            entry = unsafe { entry.add(1) };
        }
    }

    extern "C" fn probe_callback(
        hdev: *mut bindings::hv_device,
        id: *const bindings::hv_vmbus_device_id,
    ) -> c_int {
        // SAFETY: VMBus only ever calls the probe callback with a valid pointer to a
        // `struct hv_device`.
        //
        // INVARIANT: `hdev` is valid for the duration of `probe_callback()`.
        let hdev = unsafe { &*hdev.cast::<Device<device::CoreInternal<'_>>>() };

        let info = Self::info_of(id);

        from_result(|| {
            hdev.as_ref().set_drvdata(try_pin_init!(PrivateData::<T> {
                _leaked: self::core::Leaked::new(hdev),
                data <- T::probe(hdev, info),
            }))?;
            Ok(0)
        })
    }

    extern "C" fn remove_callback(hdev: *mut bindings::hv_device) {
        // SAFETY: VMBus only ever calls the remove callback with a valid pointer to a
        // `struct hv_device`.
        //
        // INVARIANT: `hdev` is valid for the duration of `remove_callback()`.
        let hdev = unsafe { &*hdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: `remove_callback` is only ever called after a successful call to
        // `probe_callback`, hence it's guaranteed that `Device::set_drvdata()` has been called
        // and stored a `Pin<KBox<PrivateData<'_, T>>>`.
        let data = unsafe { hdev.as_ref().drvdata_borrow::<PrivateData<'_, T>>() };

        T::unbind(hdev, data.data());
    }

    extern "C" fn suspend_callback(hdev: *mut bindings::hv_device) -> c_int {
        // SAFETY: VMBus only ever calls the suspend callback with a valid pointer to a
        // `struct hv_device`.
        //
        // INVARIANT: `hdev` is valid for the duration of `suspend_callback()`.
        let hdev = unsafe { &*hdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: Only a device that is bound is suspended, hence it's guaranteed that
        // `Device::set_drvdata()` has been called and stored a `Pin<KBox<PrivateData<'_, T>>>`.
        let data = unsafe { hdev.as_ref().drvdata_borrow::<PrivateData<'_, T>>() };

        from_result(|| T::suspend(hdev, data.data()).map(|()| 0))
    }

    extern "C" fn resume_callback(hdev: *mut bindings::hv_device) -> c_int {
        // SAFETY: VMBus only ever calls the resume callback with a valid pointer to a
        // `struct hv_device`.
        //
        // INVARIANT: `hdev` is valid for the duration of `resume_callback()`.
        let hdev = unsafe { &*hdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: As in `suspend_callback()`.
        let data = unsafe { hdev.as_ref().drvdata_borrow::<PrivateData<'_, T>>() };

        from_result(|| T::resume(hdev, data.data()).map(|()| 0))
    }

    extern "C" fn shutdown_callback(hdev: *mut bindings::hv_device) {
        // SAFETY: VMBus only ever calls the shutdown callback with a valid pointer to a
        // `struct hv_device`.
        //
        // INVARIANT: `hdev` is valid for the duration of `shutdown_callback()`.
        let hdev = unsafe { &*hdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: The bus calls this for a device that is bound, with its lock held, hence it's
        // guaranteed that `Device::set_drvdata()` has been called and stored a
        // `Pin<KBox<PrivateData<'_, T>>>`.
        let data = unsafe { hdev.as_ref().drvdata_borrow::<PrivateData<'_, T>>() };

        T::shutdown(hdev, data.data());
    }
}

/// The driver's data of a bound device, and what closes a channel that the driver left open.
#[doc(hidden)]
#[pin_data]
pub struct PrivateData<'bound, T: Driver> {
    // Dropped in this order: what is still open after the first was leaked by it.
    #[pin]
    data: T::Data<'bound>,
    _leaked: self::core::Leaked<'bound>,
}

impl<'bound, T: Driver> PrivateData<'bound, T> {
    fn data<'a>(self: Pin<&'a Self>) -> Pin<&'a T::Data<'bound>> {
        // SAFETY: `data` is structurally pinned.
        unsafe { self.map_unchecked(|this| &this.data) }
    }
}

/// Declares a kernel module that exposes a single VMBus driver.
///
/// # Examples
///
/// ```ignore
/// kernel::module_vmbus_driver! {
///     type: MyDriver,
///     name: "my_driver",
///     authors: ["Author name"],
///     description: "Description",
///     license: "GPL",
/// }
/// ```
#[macro_export]
macro_rules! module_vmbus_driver {
    ($($f:tt)*) => {
        $crate::module_driver!(<T>, $crate::vmbus::Adapter<T>, { $($f)* });
    };
}

/// The VMBus driver trait.
///
/// Drivers must implement this trait in order to get a VMBus driver registered.
///
/// # Examples
///
/// ```
/// # use kernel::{device::Core, vmbus};
/// struct MyDriver;
///
/// kernel::vmbus_device_table!(
///     VMBUS_TABLE,
///     <MyDriver as vmbus::Driver>::IdInfo,
///     [(
///         vmbus::DeviceId::new(vmbus::Guid::new(
///             0x57164f39,
///             0x9115,
///             0x4e78,
///             [0xab, 0x55, 0x38, 0x2f, 0x3b, 0xd5, 0x42, 0x2d],
///         )),
///         ()
///     )]
/// );
///
/// #[vtable]
/// impl vmbus::Driver for MyDriver {
///     type IdInfo = ();
///     type Data<'bound> = Self;
///     const ID_TABLE: vmbus::IdTable<Self::IdInfo> = &VMBUS_TABLE;
///
///     fn probe<'bound>(
///         _dev: &'bound vmbus::Device<Core<'_>>,
///         _id_info: Option<&'bound Self::IdInfo>,
///     ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
///         Err(ENODEV)
///     }
/// }
/// ```
#[vtable]
pub trait Driver {
    /// The type holding information about each device id supported by the driver.
    // TODO: Use associated_type_defaults once stabilized:
    //
    // ```
    // type IdInfo: 'static = ();
    // ```
    type IdInfo: 'static;

    /// The type of the driver's bus device private data.
    type Data<'bound>: Send + 'bound;

    /// The table of device ids supported by the driver.
    const ID_TABLE: IdTable<Self::IdInfo>;

    /// Whether probe may run beside other things, while the system boots for example.
    const PROBE: ProbeType = ProbeType::Default;

    /// VMBus driver probe.
    ///
    /// Called in process context, with the device's lock held, when a device is offered by the
    /// host or bound by hand. `id_info` is [`None`] for a device that is not matched by an entry
    /// of [`Self::ID_TABLE`]: one bound through `new_id` or `driver_override`.
    ///
    /// While probe runs the bus cannot remove the device, even if the host takes it back; see
    /// [`Session::wait`].
    fn probe<'bound>(
        dev: &'bound Device<device::Core<'_>>,
        id_info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

    /// VMBus driver unbind.
    ///
    /// Called when a [`Device`] is unbound from its bound [`Driver`], be it by user space, by the
    /// end of the module, or because the host has rescinded the device. Implementing this callback
    /// is optional.
    ///
    /// This callback serves as a place for teardown operations that need the device, and for
    /// closing sessions ([`Session::close`]), which ends the waits of other tasks. Otherwise, release operations for
    /// driver resources should be performed in `Drop`.
    fn unbind<'bound>(dev: &'bound Device<device::Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        let _ = (dev, this);
    }

    /// Suspends the device, before the system hibernates.
    ///
    /// Process context, with the device's lock held; may sleep. The driver closes its sessions:
    /// the connection to the host ends, and all that it knows of them. A bus whose devices have
    /// drivers without this method does not hibernate.
    fn suspend<'bound>(
        dev: &'bound Device<device::Core<'_>>,
        this: Pin<&Self::Data<'bound>>,
    ) -> Result {
        let _ = (dev, this);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Resumes the device, after hibernation or after a failed attempt at it.
    ///
    /// Process context, with the device's lock held; may sleep. The driver opens its sessions anew.
    fn resume<'bound>(
        dev: &'bound Device<device::Core<'_>>,
        this: Pin<&Self::Data<'bound>>,
    ) -> Result {
        let _ = (dev, this);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Brings the device to rest, before the system goes down or another kernel is started.
    ///
    /// Process context, with the device's lock held; may sleep.
    fn shutdown<'bound>(dev: &'bound Device<device::Core<'_>>, this: Pin<&Self::Data<'bound>>) {
        let _ = (dev, this);
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// When a driver is probed (`enum probe_type`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ProbeType {
    /// As the kernel decides.
    Default,
    /// Beside other things, if that can be done: the system does not wait for the device.
    PreferAsynchronous,
    /// One device after another: their order matters, as that of network devices' names does.
    ForceSynchronous,
}

impl ProbeType {
    #[inline]
    fn as_raw(self) -> bindings::probe_type {
        match self {
            Self::Default => bindings::probe_type_PROBE_DEFAULT_STRATEGY,
            Self::PreferAsynchronous => bindings::probe_type_PROBE_PREFER_ASYNCHRONOUS,
            Self::ForceSynchronous => bindings::probe_type_PROBE_FORCE_SYNCHRONOUS,
        }
    }
}

/// The VMBus device representation.
///
/// This structure represents the Rust abstraction for a C `struct hv_device`. The implementation
/// abstracts the usage of an already existing C `struct hv_device` within Rust code that we get
/// passed from the C side.
///
/// # Invariants
///
/// A [`Device`] instance represents a valid `struct hv_device` created by the bus driver, whose
/// `channel` is valid as long as the device is.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(
    Opaque<bindings::hv_device>,
    PhantomData<Ctx>,
);

impl<Ctx: device::DeviceContext> Device<Ctx> {
    #[inline]
    fn as_raw(&self) -> *mut bindings::hv_device {
        self.0.get()
    }

    /// The primary channel, which is valid as long as the device is.
    #[inline]
    fn raw_channel(&self) -> self::raw::Raw {
        // SAFETY: By the type invariant the device and its channel are valid, and the pointer is
        // not null and never changes.
        self::raw::Raw::new(unsafe { NonNull::new_unchecked((*self.as_raw()).channel) })
    }

    /// Returns the GUID of the device's class, by which drivers are matched.
    pub fn class(&self) -> Guid {
        // SAFETY: By the type invariant `self.as_raw()` is a valid pointer to a
        // `struct hv_device`, and its GUIDs never change.
        Guid::from_raw(unsafe { (*self.as_raw()).dev_type })
    }

    /// Returns the GUID of the device itself.
    pub fn instance(&self) -> Guid {
        // SAFETY: As in `class()`.
        Guid::from_raw(unsafe { (*self.as_raw()).dev_instance })
    }
}

impl Device<device::Bound> {
    /// Returns the device's primary channel.
    pub fn channel(&self) -> Channel<'_> {
        Channel::new(self)
    }
}

// SAFETY: `vmbus::Device` is a transparent wrapper of `struct hv_device`.
// The offset is guaranteed to point to a valid device field inside `vmbus::Device`.
unsafe impl<Ctx: device::DeviceContext> device::AsBusDevice<Ctx> for Device<Ctx> {
    const OFFSET: usize = offset_of!(bindings::hv_device, device);
}

// SAFETY: `Device` is a transparent wrapper of a type that doesn't depend on `Device`'s generic
// argument.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: Instances of `Device` are always reference-counted.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        self.as_ref().inc_ref();
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // CAST: `Self` is a transparent wrapper of `bindings::hv_device`.
        let hdev: *mut bindings::hv_device = obj.cast().as_ptr();

        // SAFETY: By the type invariant of `Self`, `hdev` is a pointer to a valid
        // `struct hv_device`.
        let dev = unsafe { &raw mut (*hdev).device };

        // SAFETY: The safety requirements guarantee that the refcount is non-zero.
        unsafe { bindings::put_device(dev) }
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: By the type invariant of `Self`, `self.as_raw()` is a pointer to a valid
        // `struct hv_device`.
        let dev = unsafe { &raw mut (*self.as_raw()).device };

        // SAFETY: `dev` points to a valid `struct device`.
        unsafe { device::Device::from_raw(dev) }
    }
}

// SAFETY: A `Device` is always reference-counted and can be released from any thread.
unsafe impl Send for Device {}

// SAFETY: `Device` can be shared among threads because all methods of `Device`
// (i.e. `Device<Normal>) are thread safe.
unsafe impl Sync for Device {}

// SAFETY: Same as `Device<Normal>` -- the underlying `struct hv_device` is the same;
// `Bound` is a zero-sized type-state marker that does not affect thread safety.
unsafe impl Sync for Device<device::Bound> {}
