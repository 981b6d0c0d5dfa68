// SPDX-License-Identifier: GPL-2.0

//! The two serial lines: the console, and the control line on which tests talk to the host.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Mutex;

use anyhow::Result;
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// I/O port of the console.
pub const COM1: u16 = 0x3f8;
/// I/O port of the control line.
pub const COM2: u16 = 0x2f8;

/// An interrupt line by its irqfd.
pub struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

type Sink = Box<dyn Write + Send>;

/// A 16550 with an input queue of any length: the chip's own holds 64 bytes.
pub struct Port(Mutex<Inner>);

struct Inner {
    uart: Serial<Line, NoEvents, Sink>,
    input: VecDeque<u8>,
}

// Registers, and bits in them.
const IER: u8 = 1;
const IER_RECEIVE: u8 = 1;
const IIR: u8 = 2;
const IIR_NONE: u8 = 1;
const IIR_RECEIVE: u8 = 1 << 2;
const LCR: u8 = 3;
const LCR_DIVISOR: u8 = 1 << 7;
const LSR: u8 = 5;
const LSR_DATA: u8 = 1;

impl Inner {
    /// Whether there is data, and the guest wants to be told.
    fn wants_reader(&mut self) -> bool {
        self.uart.read(LCR) & LCR_DIVISOR == 0
            && self.uart.read(IER) & IER_RECEIVE != 0
            && self.uart.read(LSR) & LSR_DATA != 0
    }

    fn feed(&mut self) {
        let n = self.uart.fifo_capacity().min(self.input.len());
        let bytes: Vec<u8> = self.input.drain(..n).collect();
        // In loopback mode the chip takes nothing: those bytes are lost, as on a wire.
        let _ = self.uart.enqueue_raw_bytes(&bytes);
    }
}

impl Port {
    /// A port that raises `irq` and writes what the guest sends to `out`.
    pub fn new(irq: EventFd, out: Sink) -> Self {
        Self(Mutex::new(Inner { uart: Serial::new(Line(irq), out), input: VecDeque::new() }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The guest writes a register.
    pub fn write(&self, offset: u8, value: u8) {
        // The sink's errors (a full disk under the log) must not stop the guest.
        let _ = self.lock().uart.write(offset, value);
    }

    /// The guest reads a register.
    pub fn read(&self, offset: u8) -> u8 {
        let mut inner = self.lock();
        let mut value = inner.uart.read(offset);
        match offset {
            0 if !inner.input.is_empty() => inner.feed(),
            // The crate forgets a receive interrupt once a byte was read. A driver that stops in
            // the middle of the FIFO would then never come back for the rest.
            IIR if inner.wants_reader() => value = value & !IIR_NONE | IIR_RECEIVE,
            _ => {}
        }
        value
    }

    /// Writes out what the sink holds back.
    pub fn flush(&self) {
        let _ = self.lock().uart.writer_mut().flush();
    }

    /// Sends bytes to the guest.
    pub fn send(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        inner.input.extend(bytes);
        inner.feed();
    }
}

/// Cuts what the guest sends into lines and hands each to `f`.
pub struct Lines<F> {
    line: Vec<u8>,
    f: F,
}

impl<F: FnMut(String) + Send> Lines<F> {
    /// A sink that calls `f` per line.
    pub fn new(f: F) -> Self {
        Self { line: Vec::new(), f }
    }
}

/// The guest's lines are short; one without an end is cut here.
const LINE_MAX: usize = 4096;

impl<F: FnMut(String) + Send> Write for Lines<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if byte == b'\n' || self.line.len() >= LINE_MAX {
                let line = String::from_utf8_lossy(&self.line).trim().to_owned();
                self.line.clear();
                (self.f)(line);
            } else {
                self.line.push(byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An interrupt line for a port.
pub fn irq_line() -> Result<EventFd> {
    Ok(EventFd::new(libc::EFD_NONBLOCK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver may leave bytes in the FIFO: the next look at the interrupt register finds them.
    #[test]
    fn bytes_left_in_the_fifo_are_announced() {
        let port = Port::new(irq_line().unwrap(), Box::new(io::sink()));
        port.write(IER, IER_RECEIVE);
        port.send(&[7; 100]);
        (0..90).for_each(|_| assert_eq!(port.read(0), 7));
        assert_eq!(port.read(IIR) & (IIR_NONE | IIR_RECEIVE), IIR_RECEIVE);
        (0..10).for_each(|_| assert_eq!(port.read(0), 7));
        assert_eq!(port.read(IIR) & IIR_NONE, IIR_NONE);
    }
}
