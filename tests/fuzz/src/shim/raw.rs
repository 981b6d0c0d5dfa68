// SPDX-License-Identifier: GPL-2.0

//! A channel of `kernel::vmbus`: what its session asks of the bus.

#[derive(Clone, Copy)]
pub(crate) struct Raw;

impl Raw {
    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn is_rescinded(self) -> bool {
        false
    }

    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn count_full(self, _first: bool) {}

    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn show_full(self, _full: bool) {}

    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn count_empty(self) {}

    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn count_in_full(self) {}

    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn signal(self) {}

    /// # Safety
    ///
    /// None.
    pub(crate) unsafe fn delay(self, _interrupt: bool) {}
}
