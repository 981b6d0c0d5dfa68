// SPDX-License-Identifier: GPL-2.0

//! What is sent to the echo device, and whether it comes back as it was.

use kernel::{
    alloc::{
        KVVec,
        KVec, //
    },
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    vmbus::{
        Packet,
        Sender, //
    }, //
};

/// Bytes of the largest payload, in both directions: with its header and trailer it leaves 8 of
/// a ring's 60 KiB.
pub(crate) const MAX_SIZE: usize = 61408;

/// First word of a packet that the host sends by itself and wants back.
const SENT: u32 = 0xec80_5e4d;

/// Packets under way at once.
const WINDOW: usize = 32;

/// Packets of the host that we hold because there is no room to send them back.
const MAX_HELD: usize = 4096;

/// What has happened so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Packets sent.
    pub(crate) sent: u64,
    /// Requests that came back as completions.
    pub(crate) completed: u64,
    /// Other packets that came back.
    pub(crate) echoed: u64,
    /// Packets of the host that were sent back.
    pub(crate) returned: u64,
    /// Packets that were not what was sent, or not ours, or could not be sent.
    pub(crate) wrong: u64,
    /// How often the ring to the host was full.
    pub(crate) full: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent={} completed={} echoed={} returned={} wrong={} full={}",
            self.sent, self.completed, self.echoed, self.returned, self.wrong, self.full
        )
    }
}

struct State {
    figures: Figures,
    /// The id of the next packet; ids count from 1.
    next: u64,
    /// How many packets are still to be sent.
    left: u64,
    /// The largest size.
    max: usize,
    /// Ids under way, each at its place modulo the window; 0 where there is none.
    open: [u64; WINDOW],
    /// A payload is made here.
    buffer: KVVec<u8>,
    /// Packets of the host that wait for room, oldest first.
    held: KVec<KVVec<u8>>,
}

/// The packets of one device.
#[pin_data]
pub(crate) struct Exchange {
    /// The device speaks the language of the echo device.
    known: bool,
    #[pin]
    state: Mutex<State>,
}

impl Exchange {
    pub(crate) fn new(known: bool) -> Result<Arc<Self>> {
        let buffer = KVVec::from_elem(0u8, MAX_SIZE, GFP_KERNEL)?;

        Arc::pin_init(
            pin_init!(Self {
                known,
                state <- new_mutex!(State {
                    figures: Figures::default(),
                    next: 1,
                    left: 0,
                    max: 0,
                    open: [0; WINDOW],
                    buffer,
                    held: KVec::new(),
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Has so many packets sent, of up to `size` bytes.
    pub(crate) fn start(&self, packets: u64, size: u32) -> Result {
        let size = usize::try_from(size)?;
        if size == 0 || size > MAX_SIZE {
            return Err(EINVAL);
        }

        let mut state = self.state.lock();
        state.left = packets;
        state.max = size;
        Ok(())
    }

    /// Whether all packets have come back.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.state.lock();

        state.left == 0 && state.open.iter().all(|id| *id == 0)
    }

    pub(crate) fn figures(&self) -> Figures {
        self.state.lock().figures
    }

    /// Sends what there is to send, as far as there is room.
    pub(crate) fn pump(&self, sender: &Sender) {
        let state = &mut *self.state.lock();

        if state.give_back(sender) {
            state.send(sender);
        }
    }

    pub(crate) fn receive(&self, sender: &Sender, packet: Packet<'_>) {
        if !self.known {
            return;
        }

        let state = &mut *self.state.lock();
        match packet {
            Packet::Data { payload, .. } if payload.starts_with(&SENT.to_le_bytes()) => {
                state.hold(payload);
                state.give_back(sender);
            }
            Packet::Data { id, payload } => state.settle(id, false, payload),
            Packet::Completion { id, payload } => state.settle(id, true, payload),
            // The echo device asks for nothing; but whoever does waits for an answer.
            Packet::Request { owed, payload } => {
                if owed.complete(sender, payload).is_err() {
                    state.figures.wrong += 1;
                }
            }
            Packet::Other { .. } => state.figures.wrong += 1,
        }
    }
}

impl State {
    /// Sends packets until the window or the ring is full.
    fn send(&mut self, sender: &Sender) {
        while self.left > 0 {
            let id = self.next;
            let len = size(id, self.max);
            let (Some(slot), Some(payload)) =
                (slot(&mut self.open, id), self.buffer.get_mut(..len))
            else {
                return;
            };
            if *slot != 0 {
                return;
            }

            for (at, byte) in payload.iter_mut().enumerate() {
                *byte = pattern(id, at);
            }
            let sent = if is_request(id) {
                sender.request(payload, id)
            } else {
                sender.send(payload, id)
            };
            match sent {
                Ok(()) => *slot = id,
                Err(EAGAIN) => {
                    self.figures.full += 1;
                    return;
                }
                // The device is gone, and we will be told.
                Err(ENODEV) => return,
                Err(_) => {
                    self.figures.wrong += 1;
                    self.left = 0;
                    return;
                }
            }
            self.figures.sent += 1;
            self.next += 1;
            self.left -= 1;
        }
    }

    /// One of our packets has come back.
    fn settle(&mut self, id: u64, completion: bool, payload: &[u8]) {
        let len = size(id, self.max);
        let expected = |(at, byte): (usize, &u8)| {
            // The host fills up to whole words.
            *byte == if at < len { pattern(id, at) } else { 0 }
        };

        let ours = match slot(&mut self.open, id) {
            Some(slot) if *slot == id && id != 0 => {
                *slot = 0;
                true
            }
            _ => false,
        };
        if !ours
            || completion != is_request(id)
            || payload.len() != len.next_multiple_of(8)
            || !payload.iter().enumerate().all(expected)
        {
            self.figures.wrong += 1;
        } else if completion {
            self.figures.completed += 1;
        } else {
            self.figures.echoed += 1;
        }
    }

    /// Keeps a packet that the host wants back.
    fn hold(&mut self, payload: &[u8]) {
        let mut copy = KVVec::new();

        if self.held.len() >= MAX_HELD
            || copy.extend_from_slice(payload, GFP_KERNEL).is_err()
            || self.held.push(copy, GFP_KERNEL).is_err()
        {
            self.figures.wrong += 1;
        }
    }

    /// Sends back what is held; `false` if there was no room for all of it.
    fn give_back(&mut self, sender: &Sender) -> bool {
        while let Some(payload) = self.held.first() {
            match sender.send(payload, 0) {
                Ok(()) => self.figures.returned += 1,
                Err(EAGAIN) => {
                    self.figures.full += 1;
                    return false;
                }
                Err(ENODEV) => return false,
                Err(_) => self.figures.wrong += 1,
            }
            let _ = self.held.remove(0);
        }
        true
    }
}

fn is_request(id: u64) -> bool {
    id % 2 == 1
}

/// The size of a packet's payload, from 1 to `max`, with both limits among the first.
fn size(id: u64, max: usize) -> usize {
    let max = max.max(1);

    match id % 16 {
        1 | 2 => 1,
        3 | 4 => max,
        // CAST: Any number will do.
        _ => (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % max + 1,
    }
}

/// Byte `at` of a packet's payload. The first word is none that means something to the host.
fn pattern(id: u64, at: usize) -> u8 {
    match at {
        3 => 0,
        // CAST: The low byte of the sum.
        _ => id.wrapping_mul(31).wrapping_add(at as u64) as u8,
    }
}

/// Where a packet is that is under way.
fn slot(open: &mut [u64; WINDOW], id: u64) -> Option<&mut u64> {
    // CAST: Below `WINDOW`.
    open.get_mut((id % WINDOW as u64) as usize)
}
