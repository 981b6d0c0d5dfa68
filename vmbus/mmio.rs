// SPDX-License-Identifier: GPL-2.0

//! The pool of guest physical address space that devices on VMBus take their MMIO ranges from.
//!
//! Firmware grants the bus one window below 4 GiB and usually one above. Pass-through PCI devices,
//! their configuration space and the frame buffer lie in there. The pool only does the arithmetic;
//! what a client is granted is claimed in the kernel's resource tree by `abi::plat`, which also
//! holds the one pool that there is.
//!
//! C source: `drivers/hv/vmbus_drv.c`, from `vmbus_walk_resources()` to `vmbus_free_mmio()`.

use kernel::{
    fmt,
    prelude::*,
    sizes::{
        SZ_128M,
        SZ_1M,
        SZ_8M, //
    },
};

/// Where the page of the virtual TPM begins; firmware puts it into the low window.
const VTPM: u64 = 0xfed4_0000;
const LOW: u64 = SZ_1M as u64;
const FOUR_GIB: u64 = 1 << 32;

/// A range of guest physical addresses, not empty.
///
/// # Invariants
///
/// `first <= last`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Range {
    first: u64,
    last: u64,
}

impl Range {
    /// The range from `first` to `last`, both of them in it.
    pub(crate) fn new(first: u64, last: u64) -> Option<Self> {
        // INVARIANT: Just looked at.
        (first <= last).then_some(Self { first, last })
    }

    /// The range of `size` bytes at `first`; [`None`] if it is empty or does not end.
    pub(crate) fn with_size(first: u64, size: u64) -> Option<Self> {
        Self::new(first, first.checked_add(size.checked_sub(1)?)?)
    }

    /// The lowest address of the range.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The highest address of the range.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// The number of bytes; one less than true for the whole address space.
    pub(crate) fn size(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    fn contains(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// What both cover together, if that is one range.
    fn union(&self, other: &Self) -> Option<Self> {
        let adjacent = self.last.checked_add(1) == Some(other.first)
            || other.last.checked_add(1) == Some(self.first);

        if !adjacent && !self.overlaps(other) {
            return None;
        }
        Self::new(self.first.min(other.first), self.last.max(other.last))
    }
}

/// Prints what `%pR` prints.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[mem {:#010x}-{:#010x}]", self.first, self.last)
    }
}

/// What the bus may use of an address window that ACPI describes.
///
/// Windows that end below 1 MiB are of no use for a device. A window that holds the virtual TPM
/// ends in front of it.
pub(crate) fn usable(window: Range) -> Option<Range> {
    if window.last < LOW {
        return None;
    }
    if window.first < VTPM && window.last >= VTPM {
        return Range::new(window.first, VTPM - 1);
    }
    Some(window)
}

/// What firmware knows about the frame buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Firmware {
    /// Nothing: there is no display.
    None,
    /// A virtual machine of generation 2: the base of the frame buffer of UEFI, which is 0 in a
    /// kernel that was started by kexec.
    Efi(u64),
    /// A virtual machine of generation 1: the first BAR of the emulated video card.
    Pci { base: u64, size: u64 },
}

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Where the range has to lie.
    pub(crate) within: Range,
    /// How long it has to be, in bytes.
    pub(crate) size: u64,
    /// What its address must be a multiple of: a power of two.
    pub(crate) align: u64,
    /// The client is the driver of the frame buffer.
    pub(crate) framebuffer_ok: bool,
}

/// The windows of the bus, and what of them is in use.
pub(crate) struct Pool {
    /// In ascending order, neither overlapping nor adjacent.
    windows: KVec<Range>,
    /// What is kept for the frame buffer; part of the first window.
    framebuffer: Option<Range>,
    /// What was granted, but for what lies in the frame buffer.
    granted: KVec<Range>,
}

impl Pool {
    /// A pool without any window.
    pub(crate) const fn new() -> Self {
        Self {
            windows: KVec::new(),
            framebuffer: None,
            granted: KVec::new(),
        }
    }

    /// Whether no window was added yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// The windows, in ascending order.
    pub(crate) fn windows(&self) -> &[Range] {
        &self.windows
    }

    /// What is kept for the frame buffer.
    pub(crate) fn framebuffer(&self) -> Option<Range> {
        self.framebuffer
    }

    /// Adds a window; windows that touch become one.
    ///
    /// May sleep. Fails with `ENOMEM`; the pool is then as it was.
    pub(crate) fn add(&mut self, window: Range) -> Result {
        // With room for one more, nothing below fails.
        self.windows.reserve(1, GFP_KERNEL)?;

        let mut window = window;
        self.windows.retain(|other| match window.union(other) {
            Some(both) => {
                window = both;
                false
            }
            None => true,
        });

        let place = self
            .windows
            .iter()
            .position(|other| other.first > window.last)
            .unwrap_or(self.windows.len());
        self.windows
            .insert_within_capacity(place, window)
            .map_err(|_| ENOMEM)
    }

    /// Keeps address space for the frame buffer, so that nothing else is put where it lies.
    ///
    /// Firmware tends to report less than the frame buffer can become when the resolution grows,
    /// and a kernel that was started by kexec knows of none although there is one. So this keeps
    /// more than was reported, and then less and less, down to 1 MiB, until it fits.
    pub(crate) fn reserve_framebuffer(&mut self, firmware: Firmware) -> Result<Range> {
        let window = *self.windows.first().ok_or(ENXIO)?;
        let (base, mut size) = match firmware {
            Firmware::None => return Err(ENODEV),
            Firmware::Pci { base, size } => (base, size),
            Firmware::Efi(base) => {
                if window.first == 0
                    || window.first >= FOUR_GIB
                    || (base != 0 && base < window.first)
                {
                    pr_warn!("Unexpected low mmio base {:#x}\n", window.first);
                    (base, SZ_8M as u64)
                } else {
                    let base = if base == 0 { window.first } else { base };
                    // Half of what is left below 4 GiB.
                    let half = FOUR_GIB.saturating_sub(base) / 2;
                    (base, half.min(SZ_128M as u64))
                }
            }
        };

        if base == 0 {
            pr_warn!("Unexpected framebuffer mmio base of zero\n");
            return Err(ENXIO);
        }
        while size >= LOW {
            if let Some(range) = Range::with_size(base, size) {
                if window.contains(&range) {
                    self.framebuffer = Some(range);
                    return Ok(range);
                }
            }
            size /= 2;
        }
        Err(ENOSPC)
    }

    /// Looks for a free range, and grants the first one that `claim` gets hold of.
    ///
    /// The driver of the frame buffer is given a part of what is kept for it if that is possible;
    /// such a part may be granted several times as far as the pool is concerned.
    ///
    /// May sleep. Fails with `EINVAL` for a size of zero or an alignment that is no power of two,
    /// `ENXIO` if nothing is free, `ENOMEM`.
    pub(crate) fn allocate<T>(
        &mut self,
        request: &Request,
        mut claim: impl FnMut(Range) -> Option<T>,
    ) -> Result<T> {
        if request.size == 0 || !request.align.is_power_of_two() {
            return Err(EINVAL);
        }
        self.granted.reserve(1, GFP_KERNEL)?;

        if let (true, Some(framebuffer)) = (request.framebuffer_ok, self.framebuffer) {
            if let Some(within) = framebuffer.intersection(&request.within) {
                let claimed = Candidates::new(within, request).find_map(&mut claim);
                if let Some(claimed) = claimed {
                    return Ok(claimed);
                }
            }
        }

        for window in &self.windows {
            let Some(within) = window.intersection(&request.within) else {
                continue;
            };
            let mut candidates = Candidates::new(within, request);

            while let Some(range) = candidates.next() {
                let taken = Iterator::chain(self.framebuffer.iter(), &self.granted)
                    .filter(|taken| taken.overlaps(&range))
                    .map(Range::last)
                    .max();

                if let Some(last) = taken {
                    candidates.skip_past(last);
                    continue;
                }
                if let Some(claimed) = claim(range) {
                    // There is room, see above.
                    let _ = self.granted.push_within_capacity(range);
                    return Ok(claimed);
                }
            }
        }
        Err(ENXIO)
    }

    /// Takes a range back. Returns whether it had been granted.
    pub(crate) fn free(&mut self, range: Range) -> bool {
        // What lies in the frame buffer is not counted.
        if self.framebuffer.is_some_and(|fb| fb.contains(&range)) {
            return true;
        }
        match self.granted.iter().position(|granted| *granted == range) {
            Some(at) => self.granted.remove(at).is_ok(),
            None => false,
        }
    }
}

/// The ranges of one size and alignment within another range, in ascending order.
struct Candidates {
    within: Range,
    size: u64,
    align: u64,
    /// No candidate lies below; [`None`] when the end of the address space was reached.
    from: Option<u64>,
}

impl Candidates {
    fn new(within: Range, request: &Request) -> Self {
        Self {
            within,
            size: request.size,
            align: request.align,
            from: Some(within.first),
        }
    }

    /// Goes on behind the address `last`.
    fn skip_past(&mut self, last: u64) {
        self.from = last.checked_add(1);
    }
}

impl Iterator for Candidates {
    type Item = Range;

    fn next(&mut self) -> Option<Range> {
        let first = self.from?.checked_next_multiple_of(self.align)?;
        let range = Range::with_size(first, self.size)?;

        self.from = first.checked_add(self.align);
        self.within.contains(&range).then_some(range)
    }
}

#[kunit_tests(hv_vmbus_mmio)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> Result<Range> {
        Range::new(first, last).ok_or(EINVAL)
    }

    /// The two windows of a usual virtual machine.
    fn pool() -> Result<Pool> {
        let mut pool = Pool::new();

        pool.add(range(0xf_e000_0000, 0xf_ffff_ffff)?)?;
        pool.add(range(0xf800_0000, 0xfed3_ffff)?)?;
        Ok(pool)
    }

    fn request(size: u64, align: u64) -> Result<Request> {
        Ok(Request {
            within: range(0, u64::MAX)?,
            size,
            align,
            framebuffer_ok: false,
        })
    }

    #[test]
    fn ranges() -> Result {
        assert!(Range::new(2, 1).is_none());
        assert!(Range::with_size(5, 0).is_none());
        assert!(Range::with_size(u64::MAX, 2).is_none());
        assert_eq!(
            Range::with_size(u64::MAX, 1),
            Range::new(u64::MAX, u64::MAX)
        );
        assert_eq!(range(0, u64::MAX)?.size(), u64::MAX);
        Ok(())
    }

    #[test]
    fn windows_of_firmware() -> Result {
        assert_eq!(usable(range(0xa_0000, 0xf_ffff)?), None);
        assert_eq!(
            usable(range(0xa_0000, 0x10_0000)?),
            Some(range(0xa_0000, 0x10_0000)?)
        );
        assert_eq!(
            usable(range(0xf800_0000, 0xfffb_ffff)?),
            Some(range(0xf800_0000, 0xfed3_ffff)?)
        );
        assert_eq!(
            usable(range(VTPM, 0xfffb_ffff)?),
            Some(range(VTPM, 0xfffb_ffff)?)
        );
        Ok(())
    }

    #[test]
    fn windows_are_sorted_and_merged() -> Result {
        let mut pool = Pool::new();

        pool.add(range(0x5000, 0x5fff)?)?;
        pool.add(range(0x1000, 0x1fff)?)?;
        pool.add(range(0x3000, 0x3fff)?)?;
        assert_eq!(pool.windows().len(), 3);
        // Fills the gap, and overlaps.
        pool.add(range(0x2000, 0x37ff)?)?;
        assert_eq!(
            pool.windows(),
            &[range(0x1000, 0x3fff)?, range(0x5000, 0x5fff)?]
        );
        pool.add(range(0, u64::MAX)?)?;
        assert_eq!(pool.windows(), &[range(0, u64::MAX)?]);
        Ok(())
    }

    #[test]
    fn framebuffer_of_generation_2() -> Result {
        let mut first = pool()?;
        assert_eq!(
            first.reserve_framebuffer(Firmware::Efi(0xf800_0000))?,
            range(0xf800_0000, 0xfbff_ffff)?
        );
        // After kexec the base is not known.
        let mut second = pool()?;
        assert_eq!(
            second.reserve_framebuffer(Firmware::Efi(0))?,
            range(0xf800_0000, 0xfbff_ffff)?
        );
        // Outside of the window.
        let mut third = pool()?;
        assert!(third.reserve_framebuffer(Firmware::Efi(0x1000)).is_err());
        assert!(third.framebuffer().is_none());
        Ok(())
    }

    #[test]
    fn framebuffer_of_generation_1() -> Result {
        let mut pool = pool()?;
        let firmware = Firmware::Pci {
            base: 0xfe00_0000,
            size: 0x400_0000,
        };

        // What the card claims does not fit, a quarter of it does.
        assert_eq!(
            pool.reserve_framebuffer(firmware)?,
            range(0xfe00_0000, 0xfe7f_ffff)?
        );
        assert!(pool.reserve_framebuffer(Firmware::None).is_err());
        Ok(())
    }

    #[test]
    fn nothing_is_put_on_the_framebuffer() -> Result {
        let mut pool = pool()?;
        pool.reserve_framebuffer(Firmware::Efi(0xf800_0000))?;

        assert_eq!(
            pool.allocate(&request(0x2000, 0x1000)?, Some)?,
            range(0xfc00_0000, 0xfc00_1fff)?
        );
        // Larger than what is left below.
        assert_eq!(
            pool.allocate(&request(0x400_0000, 0x1000)?, Some)?,
            range(0xf_e000_0000, 0xf_e3ff_ffff)?
        );

        let ours = Request {
            framebuffer_ok: true,
            ..request(0x10_0000, 0x10_0000)?
        };
        let granted = pool.allocate(&ours, Some)?;
        assert_eq!(granted, range(0xf800_0000, 0xf80f_ffff)?);
        assert!(pool.free(granted));
        Ok(())
    }

    #[test]
    fn bounds_and_alignment() -> Result {
        let mut pool = pool()?;
        let low = Request {
            within: range(0, u64::from(u32::MAX))?,
            ..request(0x800_0000, 0x800_0000)?
        };
        assert_eq!(pool.allocate(&low, Some), Err(ENXIO));

        let high = Request {
            within: range(1 << 32, u64::MAX)?,
            ..request(0x800_0000, 0x800_0000)?
        };
        assert_eq!(
            pool.allocate(&high, Some)?,
            range(0xf_e000_0000, 0xf_e7ff_ffff)?
        );

        assert_eq!(pool.allocate(&request(0, 1)?, Some), Err(EINVAL));
        assert_eq!(pool.allocate(&request(1, 0)?, Some), Err(EINVAL));
        assert_eq!(pool.allocate(&request(1, 3)?, Some), Err(EINVAL));
        assert_eq!(pool.allocate(&request(u64::MAX, 1)?, Some), Err(ENXIO));
        assert_eq!(pool.allocate(&request(1, 1 << 63)?, Some), Err(ENXIO));
        Ok(())
    }

    #[test]
    fn grants_do_not_overlap_and_come_back() -> Result {
        let mut pool = Pool::new();
        pool.add(range(0x10_0000, 0x10_3fff)?)?;

        let one = pool.allocate(&request(0x1000, 0x1000)?, Some)?;
        // Somebody else has the second page in the resource tree.
        let two = pool.allocate(&request(0x2000, 0x1000)?, |range| {
            (range.first() > 0x10_1000).then_some(range)
        })?;
        assert_eq!(one, range(0x10_0000, 0x10_0fff)?);
        assert_eq!(two, range(0x10_2000, 0x10_3fff)?);
        assert_eq!(pool.allocate(&request(0x2000, 0x1000)?, Some), Err(ENXIO));

        // Not what was granted.
        assert!(!pool.free(range(0x10_0000, 0x10_07ff)?));
        assert!(pool.free(one));
        assert!(!pool.free(one));
        assert_eq!(
            pool.allocate(&request(0x2000, 0x1000)?, Some)?,
            range(0x10_0000, 0x10_1fff)?
        );
        Ok(())
    }
}
