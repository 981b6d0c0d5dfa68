// SPDX-License-Identifier: GPL-2.0

//! What a device has: its channels, its receive buffer, and figures.

use crate::line::{
    Line,
    Sent,
    What, //
};
use kernel::{
    device::Bound,
    fmt,
    io::{
        io_project,
        Io, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::Delta,
    vmbus::{
        self,
        SharedMemory,
        Sizes,
        SubChannel, //
    }, //
};

/// Pages of both rings: the largest payload fills them after a few packets.
pub(crate) const PAGES: (usize, usize) = (16, 16);
/// Bytes of the largest payload, in both directions: with its header and trailer it leaves 8 of
/// a ring's 60 KiB.
pub(crate) const MAX_SIZE: usize = 61408;
/// Bytes of a section of the receive buffer.
const SECTION: usize = 4096;
/// How long the host may take to answer.
const PATIENCE: Delta = Delta::from_secs(60);

/// First word of a packet that asks the host for something.
const CONTROL: u32 = 0xec80_c0de;
const SUB_CHANNELS: u32 = 1;
const SET_BUFFER: u32 = 2;

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
    /// Transfer-page packets that were completed.
    pub(crate) pages: u64,
    /// Requests with pages that came back.
    pub(crate) inverted: u64,
    /// Requests that were never answered.
    pub(crate) cancelled: u64,
    /// Sub-channels that were opened, and that were not.
    pub(crate) subs: u64,
    pub(crate) refused: u64,
    /// How often the channels were opened.
    pub(crate) opened: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent={} completed={} echoed={} returned={} wrong={} full={} pages={} inverted={} \
             cancelled={} subs={} refused={} opened={}",
            self.sent,
            self.completed,
            self.echoed,
            self.returned,
            self.wrong,
            self.full,
            self.pages,
            self.inverted,
            self.cancelled,
            self.subs,
            self.refused,
            self.opened
        )
    }
}

/// What the module was asked to do.
pub(crate) struct Parameters {
    pub(crate) packets: u64,
    pub(crate) size: usize,
    pub(crate) subs: u32,
    pub(crate) sections: u32,
}

/// The rings of an opening.
#[derive(Clone, Copy)]
struct Rings {
    sizes: Sizes,
    /// The largest payload that is sent.
    max: usize,
}

/// A device.
#[pin_data]
pub(crate) struct Exchange {
    /// The device speaks the language of the echo device.
    pub(crate) known: bool,
    #[pin]
    figures: Mutex<Figures>,
    /// The primary comes first.
    #[pin]
    lines: Mutex<KVec<Arc<Line>>>,
    #[pin]
    rings: Mutex<Option<Rings>>,
    /// The host's answer to what it was asked for: status and value.
    #[pin]
    answer: Mutex<Option<(u32, u32)>>,
    #[pin]
    buffer: Mutex<Option<SharedMemory>>,
}

impl Exchange {
    pub(crate) fn new(known: bool) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                known,
                figures <- new_mutex!(Figures::default()),
                lines <- new_mutex!(KVec::new()),
                rings <- new_mutex!(None),
                answer <- new_mutex!(None),
                buffer <- new_mutex!(None),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn figures(&self) -> Figures {
        *self.figures.lock()
    }

    pub(crate) fn count(&self, f: impl FnOnce(&mut Figures)) {
        f(&mut self.figures.lock());
    }

    /// Has those who wait for something look again.
    pub(crate) fn notify(&self) {
        if let Ok(primary) = self.primary() {
            primary.notify();
        }
    }

    fn primary(&self) -> Result<Arc<Line>> {
        self.lines.lock().first().cloned().ok_or(ENODEV)
    }

    /// Opens the primary channel, with so many pages for both rings.
    pub(crate) fn open(
        self: &Arc<Self>,
        dev: &vmbus::Device<Bound>,
        (send, receive): (usize, usize),
        size: usize,
    ) -> Result {
        // Header and trailer, and one that stays free.
        let room = |pages: usize| (pages - 1) * PAGE_SIZE - 32;
        let payload = room(receive).min(MAX_SIZE);
        let rings = Rings {
            sizes: Sizes::new(send * PAGE_SIZE, receive * PAGE_SIZE, payload).ok_or(EINVAL)?,
            max: size.min(room(send)).min(payload),
        };
        let line = Line::new(self.clone(), 0, rings.max)?;

        *self.rings.lock() = Some(rings);
        let session = dev
            .channel()
            .open(rings.sizes, crate::line::REQUESTS, line.waker())?;
        line.publish(session);
        let pushed = self.lines.lock().push(line.clone(), GFP_KERNEL);
        if pushed.is_err() {
            line.close();
            return Err(ENOMEM);
        }
        self.count(|figures| figures.opened += 1);
        Ok(())
    }

    /// The host has offered a sub-channel.
    pub(crate) fn open_sub(self: &Arc<Self>, offer: SubChannel<'_>) {
        let index = offer.index();
        let opened = || -> Result {
            let rings = (*self.rings.lock()).ok_or(ENODEV)?;
            let line = Line::new(self.clone(), index, rings.max)?;

            self.lines.lock().reserve(1, GFP_KERNEL)?;
            let session = offer.open(rings.sizes, crate::line::REQUESTS, line.waker())?;
            line.publish(session);
            self.lines.lock().push(line, GFP_KERNEL)?;
            Ok(())
        }();

        self.count(|figures| match opened {
            Ok(()) => figures.subs += 1,
            Err(_) => figures.refused += 1,
        });
        self.notify();
    }

    /// Closes all channels: the primary takes its sub-channels along.
    pub(crate) fn close(&self) {
        let primary = self.primary();

        if let Ok(primary) = &primary {
            primary.close();
        }
        let lines = core::mem::take(&mut *self.lines.lock());
        for line in lines {
            line.close();
        }
    }

    /// Gives the receive buffer back, when the channels are closed.
    pub(crate) fn free_buffer(&self) {
        let buffer = self.buffer.lock().take();

        drop(buffer);
    }

    /// Keeps the answer of the host to what it was asked for.
    pub(crate) fn answered(&self, payload: &[u8]) {
        let word = |n: usize| {
            let bytes = payload.get(4 * n..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };

        match (word(0), word(2), word(3)) {
            (Some(CONTROL), Some(status), Some(value)) => {
                *self.answer.lock() = Some((status, value))
            }
            _ => self.count(|figures| figures.wrong += 1),
        }
    }

    /// Asks the host for something, and waits for the answer.
    fn control(self: &Arc<Self>, command: u32, arguments: [u32; 2]) -> Result<u32> {
        let session = self.primary()?.session().ok_or(ENODEV)?;
        let mut bytes = [0; 16];
        let words = [CONTROL, command, arguments[0], arguments[1]];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }

        *self.answer.lock() = None;
        let sent = Sent::new(What::Control, self.clone());
        session
            .writer()
            .request(&bytes, sent)
            .map_err(|(error, _)| error)?;
        session.wait(PATIENCE, || self.answer.lock().is_some())?;
        match *self.answer.lock() {
            Some((0, value)) => Ok(value),
            _ => Err(EPERM),
        }
    }

    /// Gives the host a receive buffer: that of earlier openings if there is one.
    fn set_buffer(self: &Arc<Self>, dev: &vmbus::Device<Bound>, sections: u32) -> Result {
        let handle = self.buffer.lock().as_ref().map(|buffer| buffer.handle());
        let handle = match handle {
            Some(handle) => handle,
            None => {
                let buffer = SharedMemory::new(dev, sections as usize * SECTION)?;
                let handle = buffer.handle();

                *self.buffer.lock() = Some(buffer);
                handle
            }
        };

        // CAST: It is a page.
        self.control(SET_BUFFER, [handle, SECTION as u32])
            .map(|_| ())
    }

    /// Copies a range out of the receive buffer; [`None`] if it is not in a section.
    pub(crate) fn received(&self, offset: u32, to: &mut [u8]) -> Option<()> {
        let buffer = self.buffer.lock();
        let memory = buffer.as_ref()?.memory();
        let start = offset as usize;
        let end = start.checked_add(to.len())?;

        if end > memory.len() || to.len() > SECTION {
            return None;
        }
        let mut read = || -> Result {
            io_project!(memory, [try: start..end]).copy_to_slice(to);
            Ok(())
        };
        read().ok()
    }

    /// Asks for sub-channels and waits until each was opened, or was not.
    fn ask_for_subs(self: &Arc<Self>, dev: &vmbus::Device<Bound>, count: u32) -> Result {
        let offered = |figures: &Figures| figures.subs + figures.refused;
        let before = offered(&self.figures());
        let session = self.primary()?.session().ok_or(ENODEV)?;

        if let Err(EPERM) = self.control(SUB_CHANNELS, [count, 0]) {
            dev_info!(dev, "the host refuses {} sub-channels\n", count);
            return Ok(());
        }
        session.wait(PATIENCE, || {
            offered(&self.figures()) - before >= u64::from(count)
        })
    }

    /// Opens all channels with a receive buffer.
    fn open_all(
        self: &Arc<Self>,
        dev: &vmbus::Device<Bound>,
        parameters: &Parameters,
        pages: (usize, usize),
    ) -> Result {
        if parameters.size == 0 || parameters.size > MAX_SIZE {
            return Err(EINVAL);
        }
        self.open(dev, pages, parameters.size)?;
        if parameters.sections > 0 {
            self.set_buffer(dev, parameters.sections)?;
        }
        if parameters.subs > 0 {
            self.ask_for_subs(dev, parameters.subs)?;
        }
        Ok(())
    }

    /// Has so many packets sent on each channel.
    pub(crate) fn start(&self, packets: u64) -> Result {
        let mut index = 0;

        loop {
            // The lines' own locks are not taken under that of the list.
            let Some(line) = self.lines.lock().get(index).cloned() else {
                return Ok(());
            };
            line.start(packets);
            index += 1;
        }
    }

    /// Whether all packets have come back on all channels that are there.
    fn is_settled(&self) -> bool {
        let mut index = 0;

        loop {
            let Some(line) = self.lines.lock().get(index).cloned() else {
                return true;
            };
            if !line.is_settled() {
                return false;
            }
            index += 1;
        }
    }

    /// Sends packets on all channels and waits until they have come back.
    pub(crate) fn exchange(
        self: &Arc<Self>,
        dev: &vmbus::Device<Bound>,
        parameters: &Parameters,
        pages: (usize, usize),
    ) -> Result {
        self.open_all(dev, parameters, pages)?;
        self.start(parameters.packets)?;
        let session = self.primary()?.session().ok_or(ENODEV)?;
        session.wait(PATIENCE, || self.is_settled())?;

        if self.figures().wrong != 0 {
            return Err(EIO);
        }
        Ok(())
    }

    /// Closes the channels amid traffic, and opens them again with rings of other sizes.
    pub(crate) fn reopen(
        self: &Arc<Self>,
        dev: &vmbus::Device<Bound>,
        parameters: &Parameters,
        round: u32,
    ) -> Result {
        // CAST: Any number will do.
        let round = round as usize;
        let pages = (3 + round % 14, 3 + round * 5 % 14);
        let came_back = |figures: Figures| figures.completed + figures.echoed;

        let before = came_back(self.figures());
        self.start(u64::MAX)?;
        let session = self.primary()?.session().ok_or(ENODEV)?;
        session.wait(PATIENCE, || came_back(self.figures()) - before >= 40)?;
        drop(session);
        self.close();
        self.open_all(dev, parameters, pages)
    }
}
