// SPDX-License-Identifier: GPL-2.0

//! A session of `kernel::vmbus` that is open: its writer, and what its reader asks of it.

use super::raw::Raw;
use super::sync::PinInit;
use crate::prelude::*;
use crate::vmbus::inflight::Request;
use crate::vmbus::writer::Writer;
use std::cell::Cell;

pub(crate) struct Link<R: Request> {
    writer: Writer<R>,
    pub(crate) refused: Cell<u32>,
    pub(crate) spoilt: Cell<bool>,
}

impl<R: Request> Link<R> {
    pub(crate) fn new(writer: Writer<R>) -> Self {
        Self {
            writer,
            refused: Cell::new(0),
            spoilt: Cell::new(false),
        }
    }

    pub(crate) fn channel(&self) -> Raw {
        Raw
    }

    pub(crate) fn writer(&self) -> &Writer<R> {
        &self.writer
    }

    pub(crate) fn refuse(&self, _what: &str) {
        self.refused.set(self.refused.get() + 1);
    }

    pub(crate) fn spoilt(&self, error: Error) -> Error {
        self.spoilt.set(true);
        error
    }

    pub(crate) fn release(&self) -> bool {
        false
    }
}
