// SPDX-License-Identifier: GPL-2.0

//! Vectors that say when there is no memory, of which there is always some here.

use super::error::AllocError;
use std::ops::{Deref, DerefMut};

#[derive(Clone, Copy)]
pub struct Flags;

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, _other: Self) -> Self {
        self
    }
}

pub const GFP_KERNEL: Flags = Flags;
pub const GFP_ATOMIC: Flags = Flags;
#[allow(non_upper_case_globals)]
pub const __GFP_ZERO: Flags = Flags;

#[derive(Debug)]
pub struct KVVec<T>(Vec<T>);

pub type KVec<T> = KVVec<T>;

impl<T> KVVec<T> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn with_capacity(count: usize, _flags: Flags) -> Result<Self, AllocError> {
        Ok(Self(Vec::with_capacity(count)))
    }

    pub fn push(&mut self, value: T, _flags: Flags) -> Result<(), AllocError> {
        self.0.push(value);
        Ok(())
    }

    pub fn from_elem(value: T, count: usize, _flags: Flags) -> Result<Self, AllocError>
    where
        T: Clone,
    {
        Ok(Self(vec![value; count]))
    }

    pub fn extend_from_slice(&mut self, from: &[T], _flags: Flags) -> Result<(), AllocError>
    where
        T: Clone,
    {
        self.0.extend_from_slice(from);
        Ok(())
    }
}

impl<T> Deref for KVVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<'a, T> IntoIterator for &'a KVVec<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
