// SPDX-License-Identifier: GPL-2.0

//! Memory that somebody else writes too: volatile accesses, as in the kernel, that know which pages
//! are mapped twice.

use super::error::{Result, EINVAL, ERANGE};
use super::vmap;
use std::marker::PhantomData;
use std::ops::Range;

pub use crate::{io_project, io_read, io_write};

/// Brings methods into scope in the kernel; here they are there.
pub trait Io {}

pub struct SysMem<'a, T: ?Sized>(*mut T, PhantomData<&'a ()>);

impl<T: ?Sized> Clone for SysMem<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for SysMem<'_, T> {}

impl<'a, T: ?Sized> SysMem<'a, T> {
    /// # Safety
    ///
    /// The memory is valid during `'a`, and only accessed through this.
    pub unsafe fn new(at: *mut T) -> Self {
        Self(at, PhantomData)
    }

    pub fn as_ptr(self) -> *mut T {
        self.0
    }

    /// # Safety
    ///
    /// `f` returns a part of what it gets.
    pub unsafe fn part<U: ?Sized>(self, f: impl FnOnce(*mut T) -> *mut U) -> SysMem<'a, U> {
        SysMem(f(self.0), PhantomData)
    }
}

impl<T: Copy> SysMem<'_, T> {
    pub fn read_val(self) -> T {
        assert!(self.0.is_aligned());
        // SAFETY: It is valid.
        unsafe { self.0.read_volatile() }
    }

    pub fn write_val(self, value: T) {
        assert!(self.0.is_aligned());
        // SAFETY: It is valid.
        unsafe { self.0.write_volatile(value) };
        vmap::written(self.0.cast(), size_of::<T>());
    }
}

impl<'a> SysMem<'a, [u8]> {
    pub fn len(self) -> usize {
        self.0.len()
    }

    pub fn copy_from_slice(self, from: &[u8]) {
        assert_eq!(self.len(), from.len());
        // SAFETY: It is valid, and nobody has a reference to it.
        unsafe {
            self.0
                .cast::<u8>()
                .copy_from_nonoverlapping(from.as_ptr(), from.len())
        };
        vmap::written(self.0.cast(), from.len());
    }

    pub fn copy_to_slice(self, to: &mut [u8]) {
        assert_eq!(self.len(), to.len());
        // SAFETY: As above.
        unsafe {
            self.0
                .cast::<u8>()
                .copy_to_nonoverlapping(to.as_mut_ptr(), to.len())
        };
    }

    pub fn try_cast<T>(self) -> Result<SysMem<'a, T>> {
        let start = self.0.cast::<T>();
        if self.len() < size_of::<T>() || !start.is_aligned() {
            return Err(EINVAL);
        }
        Ok(SysMem(start, PhantomData))
    }
}

/// What `[try: ...]` takes.
pub trait Index<T: ?Sized> {
    type Output: ?Sized;

    fn of(self, from: *mut T) -> Option<*mut Self::Output>;
}

impl Index<[u8]> for Range<usize> {
    type Output = [u8];

    fn of(self, from: *mut [u8]) -> Option<*mut [u8]> {
        let start = from.cast::<u8>().wrapping_add(self.start);
        (self.start <= self.end && self.end <= from.len())
            .then(|| std::ptr::slice_from_raw_parts_mut(start, self.end - self.start))
    }
}

impl<T, const N: usize> Index<[T; N]> for usize {
    type Output = T;

    fn of(self, from: *mut [T; N]) -> Option<*mut T> {
        (self < N).then(|| from.cast::<T>().wrapping_add(self))
    }
}

pub fn index<'a, T: ?Sized, I: Index<T>>(
    view: SysMem<'a, T>,
    at: I,
) -> Result<SysMem<'a, I::Output>> {
    at.of(view.0)
        .map(|part| SysMem(part, PhantomData))
        .ok_or(ERANGE)
}

#[macro_export]
macro_rules! io_project {
    ($io:expr, [try: $at:expr]) => { $crate::io::index($io, $at)? };
    ($io:expr, .$field:ident) => {
        // SAFETY: A field is a part; nothing is read.
        unsafe { $io.part(|all| &raw mut (*all).$field) }
    };
    ($io:expr, .$field:ident [try: $at:expr]) => {
        $crate::io::index($crate::io_project!($io, .$field), $at)?
    };
}

#[macro_export]
macro_rules! io_read {
    ($io:expr, $($at:tt)*) => { $crate::io_project!($io, $($at)*).read_val() };
}

#[macro_export]
macro_rules! io_write {
    ($io:expr, .$field:ident, $value:expr) => {
        $crate::io_project!($io, .$field).write_val($value)
    };
    ($io:expr, .$field:ident [try: $at:expr], $value:expr) => {
        $crate::io_project!($io, .$field [try: $at]).write_val($value)
    };
}
