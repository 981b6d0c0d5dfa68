// SPDX-License-Identifier: GPL-2.0

//! sysfs attributes: files with a line of text, in the directory of an object.
//!
//! The attributes of a type of objects are an array of [`Attribute`]s in a `static`, from which a
//! [`List`] and a [`Group`] are made. All of it exists at compile time; nothing is registered or
//! allocated when an object appears.
//!
//! # Examples
//!
//! ```
//! use kernel::{
//!     bindings,
//!     prelude::*,
//!     sync::atomic::{Atomic, Relaxed},
//!     sysfs::{self, Attribute, Group, List},
//!     types::Opaque,
//! };
//!
//! struct Lamp {
//!     kobj: Opaque<bindings::kobject>,
//!     level: Atomic<u32>,
//! }
//!
//! // SAFETY: All that may be called concurrently for a `kobject` is.
//! unsafe impl Sync for Lamp {}
//!
//! impl sysfs::Object for Lamp {
//!     unsafe fn from_kobj<'a>(kobj: *mut bindings::kobject) -> &'a Self {
//!         // SAFETY: By the safety requirements, `kobj` is in a `Lamp` that lives long enough.
//!         unsafe { &*kernel::container_of!(Opaque::cast_from(kobj), Self, kobj) }
//!     }
//! }
//!
//! static ATTRIBUTES: [Attribute<Lamp>; 2] = [
//!     Attribute::ro(c"watts", |_, out| out.emit(fmt!("40\n"))),
//!     Attribute::rw(
//!         c"level",
//!         |lamp, out| out.emit(fmt!("{}\n", lamp.level.load(Relaxed))),
//!         |lamp, text| {
//!             lamp.level.store(u32::from(text.starts_with(b"on")), Relaxed);
//!             Ok(())
//!         },
//!     ),
//! ];
//! static LIST: List<Lamp, 2> = List::new(&ATTRIBUTES);
//! static GROUP: Group<Lamp> = Group::new(&LIST);
//! # let _ = GROUP.as_raw();
//! ```
//!
//! C header: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use crate::{
    bindings,
    error::from_result,
    fmt,
    page::PAGE_SIZE,
    prelude::*,
    str::as_char_ptr_in_const_context,
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    ptr, //
};

/// An object with a directory in sysfs: one that has a `struct kobject`.
pub trait Object: Sync + 'static {
    /// Returns the object that a kobject is of.
    ///
    /// # Safety
    ///
    /// `kobj` must point to the kobject of an object of type `Self`, which must live, and be
    /// shared only, for the duration of `'a`.
    unsafe fn from_kobj<'a>(kobj: *mut bindings::kobject) -> &'a Self;
}

/// The text of an attribute while it is made.
///
/// A text longer than a page, less one byte, loses its end.
///
/// # Invariants
///
/// `len` is less than [`PAGE_SIZE`].
pub struct Writer<'a> {
    page: &'a mut [u8; PAGE_SIZE],
    len: usize,
}

impl Writer<'_> {
    /// Makes the text of an attribute in the page that sysfs has given to a callback, and returns
    /// what the callback is to return: the text's length, or an error.
    ///
    /// # Safety
    ///
    /// `page` must be valid for writing [`PAGE_SIZE`] initialized bytes, and nobody else may use
    /// it during the call.
    pub unsafe fn fill(page: *mut c_char, show: impl FnOnce(&mut Writer<'_>) -> Result) -> isize {
        // INVARIANT: 0 is less than the size of a page.
        let mut out = Writer {
            // SAFETY: By the safety requirements of this function.
            page: unsafe { &mut *page.cast::<[u8; PAGE_SIZE]>() },
            len: 0,
        };

        from_result(|| {
            show(&mut out)?;
            Ok(out.len as isize)
        })
    }

    /// Adds text. It fails only if what is to be formatted does.
    ///
    /// C counterpart: `sysfs_emit_at()`.
    pub fn emit(&mut self, text: fmt::Arguments<'_>) -> Result {
        Ok(fmt::Write::write_fmt(self, text)?)
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(free) = self.page.get_mut(self.len..PAGE_SIZE - 1) {
            let len = text.len().min(free.len());

            for (to, from) in free.iter_mut().zip(text.bytes()) {
                *to = from;
            }
            // INVARIANT: `self.len + free.len()` is `PAGE_SIZE - 1`.
            self.len += len;
        }
        Ok(())
    }
}

/// Makes the text of an attribute of an object.
///
/// Process context, may sleep. The object may be in any state in which it has a directory, and
/// removing the directory waits for this function: neither may take a lock that the other waits
/// for.
pub type Show<T> = fn(&T, &mut Writer<'_>) -> Result;

/// Takes what user space has written to an attribute of an object; context as [`Show`].
pub type Store<T> = fn(&T, &[u8]) -> Result;

/// An attribute of objects of type `T`.
///
/// It serves devices, whose attributes are found by the driver core, and other objects, whose
/// `kobj_type` has the operations that [`ops`] returns.
// `raw` comes first: it is what C has a pointer to. Lock checking writes to it.
#[repr(C)]
pub struct Attribute<T> {
    raw: Opaque<bindings::device_attribute>,
    mode: bindings::umode_t,
    show: Show<T>,
    store: Option<Store<T>>,
    visible: fn(&T) -> bool,
}

// SAFETY: Rust code does not look at `raw` again; the other fields are `Sync`.
unsafe impl<T> Sync for Attribute<T> {}

impl<T: Object> Attribute<T> {
    /// An attribute that all may read.
    pub const fn ro(name: &'static CStr, show: Show<T>) -> Self {
        Self::new(name, 0o444, show, None)
    }

    /// An attribute that all may read and the owner of the file, root, may write.
    pub const fn rw(name: &'static CStr, show: Show<T>, store: Store<T>) -> Self {
        Self::new(name, 0o644, show, Some(store))
    }

    const fn new(
        name: &'static CStr,
        mode: bindings::umode_t,
        show: Show<T>,
        store: Option<Store<T>>,
    ) -> Self {
        let mut raw: bindings::device_attribute = pin_init::zeroed();

        raw.attr.name = as_char_ptr_in_const_context(name);
        raw.attr.mode = mode;
        raw.__bindgen_anon_1.show = Some(Self::show_device);
        raw.__bindgen_anon_2.store = Some(Self::store_device);

        Self {
            raw: Opaque::new(raw),
            mode,
            show,
            store,
            visible: |_| true,
        }
    }

    /// Leaves the attribute away for objects for which `visible` says no when they are added.
    pub const fn visible_if(self, visible: fn(&T) -> bool) -> Self {
        Self {
            raw: self.raw,
            mode: self.mode,
            show: self.show,
            store: self.store,
            visible,
        }
    }

    /// # Safety
    ///
    /// `text` must be valid for reading `len` bytes.
    unsafe fn store(&self, object: &T, text: *const c_char, len: usize) -> isize {
        // SAFETY: By the safety requirements of this function.
        let text = unsafe { core::slice::from_raw_parts(text, len) };

        from_result(|| {
            self.store.ok_or(EIO)?(object, text)?;
            Ok(len as isize)
        })
    }

    /// # Safety
    ///
    /// Only to be called by the driver core, with a device that is a `T` and the `raw` of an
    /// attribute.
    unsafe extern "C" fn show_device(
        dev: *mut bindings::device,
        attr: *mut bindings::device_attribute,
        page: *mut c_char,
    ) -> isize {
        // SAFETY: The driver core calls this with a valid device.
        let kobj = unsafe { &raw mut (*dev).kobj };

        // SAFETY: As the function's. The attribute is the first member of the device attribute.
        unsafe { show::<T>(kobj, attr.cast(), page) }
    }

    /// # Safety
    ///
    /// As [`Self::show_device`].
    unsafe extern "C" fn store_device(
        dev: *mut bindings::device,
        attr: *mut bindings::device_attribute,
        text: *const c_char,
        len: usize,
    ) -> isize {
        // SAFETY: The driver core calls this with a valid device.
        let kobj = unsafe { &raw mut (*dev).kobj };

        // SAFETY: As the function's. The attribute is the first member of the device attribute.
        unsafe { store::<T>(kobj, attr.cast(), text, len) }
    }

    /// # Safety
    ///
    /// `attr` must be the first member of a static `Attribute<T>`.
    unsafe fn from_raw(attr: *mut bindings::attribute) -> &'static Self {
        // CAST: `attr` is the first member of `raw`, which is the first member of `Self`, and both
        // are `repr(C)`.
        // SAFETY: By the safety requirements of this function.
        unsafe { &*attr.cast::<Self>() }
    }
}

/// # Safety
///
/// Only to be called by sysfs, for the kobject of a `T` and the `raw` of an `Attribute<T>`.
unsafe extern "C" fn show<T: Object>(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    page: *mut c_char,
) -> isize {
    // SAFETY: The object has a directory, whose removal waits for this function.
    let object = unsafe { T::from_kobj(kobj) };

    // SAFETY: By the safety requirements of this function.
    let attribute = unsafe { Attribute::<T>::from_raw(attr) };

    // SAFETY: sysfs gives each call a zeroed page.
    unsafe { Writer::fill(page, |out| (attribute.show)(object, out)) }
}

/// # Safety
///
/// As [`show`].
unsafe extern "C" fn store<T: Object>(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    text: *const c_char,
    len: usize,
) -> isize {
    // SAFETY: The object has a directory, whose removal waits for this function.
    let object = unsafe { T::from_kobj(kobj) };

    // SAFETY: By the safety requirements of this function.
    let attribute = unsafe { Attribute::<T>::from_raw(attr) };

    // SAFETY: sysfs gives a buffer with `len` bytes in it.
    unsafe { attribute.store(object, text, len) }
}

/// # Safety
///
/// As [`show`]; the directory may still be under construction.
unsafe extern "C" fn is_visible<T: Object>(
    kobj: *mut bindings::kobject,
    attr: *mut bindings::attribute,
    _index: c_int,
) -> bindings::umode_t {
    // SAFETY: The object is complete before it gets its directory.
    let object = unsafe { T::from_kobj(kobj) };

    // SAFETY: By the safety requirements of this function.
    let attribute = unsafe { Attribute::<T>::from_raw(attr) };

    if (attribute.visible)(object) {
        attribute.mode
    } else {
        0
    }
}

/// The operations of a `kobj_type` whose attributes all are `Attribute<T>`.
pub const fn ops<T: Object>() -> &'static bindings::sysfs_ops {
    &bindings::sysfs_ops {
        show: Some(show::<T>),
        store: Some(store::<T>),
    }
}

/// A list of attributes, as C wants it.
#[repr(C)]
pub struct List<T: 'static, const N: usize> {
    attributes: [*mut bindings::attribute; N],
    end: *mut bindings::attribute,
    _type: PhantomData<&'static Attribute<T>>,
}

// SAFETY: The list never changes.
unsafe impl<T: 'static, const N: usize> Sync for List<T, N> {}

impl<T: 'static, const N: usize> List<T, N> {
    /// Creates a list of all attributes of an array.
    pub const fn new(array: &'static [Attribute<T>; N]) -> Self {
        let mut attributes = [ptr::null_mut(); N];
        let mut index = 0;

        while index < N {
            // CAST: The attribute is the first member of the device attribute.
            attributes[index] = array[index].raw.get().cast();
            index += 1;
        }

        Self {
            attributes,
            end: ptr::null_mut(),
            _type: PhantomData,
        }
    }
}

/// A group of attributes of objects of type `T`, without a directory of its own.
#[repr(transparent)]
pub struct Group<T: 'static>(
    bindings::attribute_group,
    PhantomData<&'static Attribute<T>>,
);

// SAFETY: The group never changes.
unsafe impl<T: 'static> Sync for Group<T> {}

impl<T: Object> Group<T> {
    /// Creates a group of the attributes of a list.
    pub const fn new<const N: usize>(list: &'static List<T, N>) -> Self {
        let mut raw: bindings::attribute_group = pin_init::zeroed();

        raw.__bindgen_anon_1.is_visible = Some(is_visible::<T>);
        // CAST: The list starts with the pointers, and a null pointer follows them. C only reads.
        raw.__bindgen_anon_2.attrs = ptr::from_ref(list).cast_mut().cast();

        Self(raw, PhantomData)
    }

    /// Returns the C structure, which is only to be used for objects of type `T`.
    pub const fn as_raw(&'static self) -> *const bindings::attribute_group {
        &raw const self.0
    }
}

/// A list of groups, as C wants it.
#[repr(C)]
pub struct Groups<const N: usize> {
    groups: [*const bindings::attribute_group; N],
    end: *const bindings::attribute_group,
}

// SAFETY: The list never changes.
unsafe impl<const N: usize> Sync for Groups<N> {}

impl<const N: usize> Groups<N> {
    /// Creates a list of groups, which must be static.
    pub const fn new(groups: [*const bindings::attribute_group; N]) -> Self {
        Self {
            groups,
            end: ptr::null(),
        }
    }

    /// Returns the C array, which ends with a null pointer.
    pub const fn as_raw(&'static self) -> *const *const bindings::attribute_group {
        ptr::from_ref(self).cast()
    }
}
