// SPDX-License-Identifier: GPL-2.0

//! XDP: programs of users that look at received frames before the stack does.
//!
//! A device that has them implements [`super::Operations::set_xdp`], and has an [`RxQueue`] for
//! each queue that it polls. [`RxQueue::run`] copies a frame, once, to a page, and runs a program
//! on that; the [`Verdict`] owns whatever has become of it.
//!
//! C header: [`include/net/xdp.h`](srctree/include/net/xdp.h)

use super::{
    device::Device,
    interface::Interface,
    napi::Budget,
    operations::Operations,
    skb::{
        RxSkb,
        TxSkb, //
    }, //
};
use crate::{
    bindings,
    error::to_result,
    io::{
        Io,
        SysMem, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};

/// Bytes before a frame that programs may use (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = bindings::XDP_PACKET_HEADROOM as usize;

/// A program.
///
/// # Invariants
///
/// This is a valid `struct bpf_prog` of the type `BPF_PROG_TYPE_XDP`.
#[repr(transparent)]
pub struct Program(Opaque<bindings::bpf_prog>);

// SAFETY: A program may be run, and released, by any thread.
unsafe impl Send for Program {}

// SAFETY: As above; nothing changes it.
unsafe impl Sync for Program {}

// SAFETY: A program is freed some time after its last reference was dropped, and all are counted.
unsafe impl AlwaysRefCounted for Program {
    fn inc_ref(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::xdp_prog_get(self.0.get()) }
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // CAST: `Program` is transparent.
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::xdp_prog_put(obj.as_ptr().cast()) }
    }
}

impl Program {
    /// # Safety
    ///
    /// `prog` must be NULL, or a valid program of this type that stays valid for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(prog: *mut bindings::bpf_prog) -> Option<&'a Self> {
        // CAST: `Program` is transparent.
        // SAFETY: By the safety requirements.
        unsafe { prog.cast::<Self>().as_ref() }
    }
}

/// Whether frames of so many bytes, with their Ethernet header, can be looked at.
#[inline]
pub fn fits(len: usize) -> bool {
    let Ok(len) = u32::try_from(len) else {
        return false;
    };
    // SAFETY: This may be called in any context.
    let needed = unsafe { bindings::xdp_page_need(len) };

    // CAST: Bytes of a page.
    len <= PAGE_SIZE as u32 && needed <= PAGE_SIZE as u32
}

/// What has become of a frame that a program has looked at.
pub enum Verdict {
    /// The stack gets it.
    Pass(RxSkb),
    /// It is sent back, on the same device.
    Send(TxSkb),
    /// It is on its way somewhere else.
    Redirected,
    /// It is gone; because the program wanted that, or did not do what it may.
    Dropped,
    /// There is no memory for it.
    NoMemory,
}

/// A queue whose frames programs look at, with a page for them.
///
/// Used by one poll function. It must be dropped in process context.
///
/// # Invariants
///
/// `info` is registered, for `dev`. `page` is a page that nobody else has.
pub struct RxQueue<T: Operations> {
    info: KBox<Opaque<bindings::xdp_rxq_info>>,
    dev: ARef<Device<T>>,
    page: Option<NonNull<c_void>>,
}

// SAFETY: It belongs to no thread.
unsafe impl<T: Operations> Send for RxQueue<T> {}

impl<T: Operations> RxQueue<T> {
    /// Makes one for the queue of this number. May sleep.
    pub fn new(dev: ARef<Device<T>>, index: u16) -> Result<Self> {
        let info = KBox::new(Opaque::zeroed(), GFP_KERNEL)?;

        // SAFETY: Both pointers are valid, and the structure is all zeroes. It is unregistered
        // before the device is given up.
        to_result(unsafe {
            bindings::__xdp_rxq_info_reg(info.get(), dev.as_raw(), index.into(), 0, 0)
        })?;
        // INVARIANT: It is registered now.
        let this = Self {
            info,
            dev,
            page: None,
        };

        // SAFETY: It is registered. Pages are allocated one by one, and have one user.
        to_result(unsafe {
            bindings::xdp_rxq_info_reg_mem_model(
                this.info.get(),
                bindings::xdp_mem_type_MEM_TYPE_PAGE_SHARED,
                core::ptr::null_mut(),
            )
        })?;
        Ok(this)
    }

    /// Gets the page that the last frame has left, or a new one.
    #[inline]
    fn take_page(&mut self) -> Option<NonNull<c_void>> {
        self.page.take().or_else(|| {
            // SAFETY: This may be called in any context.
            let page = unsafe { bindings::get_free_pages_noprof(GFP_ATOMIC.as_raw(), 0) };

            // CAST: The address of a page that is mapped.
            NonNull::new(page as *mut c_void)
        })
    }

    /// Runs `program` on a copy of the frame that `frame` holds at this moment.
    ///
    /// A frame that does not fit ([`fits`]) is dropped.
    pub fn run(
        &mut self,
        budget: &mut Budget,
        program: &Program,
        frame: SysMem<'_, [u8]>,
    ) -> Verdict {
        if !fits(frame.len()) {
            return Verdict::Dropped;
        }
        let Some(page) = self.take_page() else {
            return Verdict::NoMemory;
        };
        let mut buff = MaybeUninit::<bindings::xdp_buff>::zeroed();
        let buff = buff.as_mut_ptr();

        // SAFETY: The page is ours, and the frame fits behind the headroom, as was checked; the
        // other memory is valid for reads. `memcpy()` reads what others may write meanwhile.
        unsafe {
            bindings::memcpy(
                page.as_ptr().wrapping_byte_add(HEADROOM),
                frame.as_ptr().cast(),
                frame.len(),
            )
        };
        // SAFETY: `buff` is valid for writes, the queue is registered, and the frame is where this
        // says.
        unsafe {
            // CAST: Less than a page.
            bindings::xdp_prepare_page(buff, page.as_ptr(), frame.len() as u32, self.info.get())
        };
        let prog = program.0.get();
        // SAFETY: The program is valid, and of XDP's type, and the buffer was prepared. We are in a
        // poll function: softirqs are off.
        let action = unsafe { bindings::xdp_prog_run(prog, buff) };

        match action {
            bindings::xdp_action_XDP_PASS | bindings::xdp_action_XDP_TX => {
                // SAFETY: The buffer holds a frame in a page that is ours, and that the new socket
                // buffer takes over.
                let skb = NonNull::new(unsafe { bindings::xdp_page_build_skb(buff) });
                let Some(skb) = skb else {
                    self.page = Some(page);
                    return Verdict::NoMemory;
                };
                // SAFETY: It is valid, linear, and ours; what it holds was copied above, or the
                // program has written it.
                let skb = unsafe { RxSkb::from_raw(skb) };

                if action == bindings::xdp_action_XDP_PASS {
                    return Verdict::Pass(skb);
                }
                return match skb.into_tx(&self.dev) {
                    Some(skb) => Verdict::Send(skb),
                    None => Verdict::Dropped,
                };
            }
            bindings::xdp_action_XDP_REDIRECT => {
                // SAFETY: The program has just run, in this poll function, and the page is given
                // away if this succeeds.
                if unsafe { bindings::xdp_do_redirect(self.dev.as_raw(), buff, prog) } == 0 {
                    budget.redirected();
                    return Verdict::Redirected;
                }
                self.refused(prog, action);
            }
            bindings::xdp_action_XDP_DROP => {}
            _ => self.refused(prog, action),
        }
        self.page = Some(page);
        Verdict::Dropped
    }

    /// Says that a program has done what it should not, or could not.
    #[cold]
    fn refused(&self, prog: *mut bindings::bpf_prog, action: u32) {
        // SAFETY: The device and the program are valid.
        unsafe { bindings::xdp_prog_refused(self.dev.as_raw(), prog, action) }
    }
}

impl<T: Operations> Drop for RxQueue<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is registered; nobody uses it any more.
        unsafe { bindings::xdp_rxq_info_unreg(self.info.get()) };
        if let Some(page) = self.page.take() {
            // SAFETY: By the type invariant the page is ours.
            unsafe { bindings::free_pages(page.as_ptr() as c_ulong, 0) };
        }
    }
}

/// Frames that a program somewhere else has redirected to a device.
///
/// As an iterator it makes frames to be sent of them. What was not taken when this is dropped
/// stays with those who have brought it.
///
/// # Invariants
///
/// `frames` are `count` frames, of which the first `taken` are gone. They are for `dev`.
pub struct Redirected<'a> {
    frames: *mut *mut bindings::xdp_frame,
    count: usize,
    taken: usize,
    flags: u32,
    dev: *mut bindings::net_device,
    _borrowed: PhantomData<&'a ()>,
}

impl Redirected<'_> {
    /// # Safety
    ///
    /// `frames` must be `count` valid frames, of which the caller gives up the first ones, as many
    /// as [`Self::taken`] says in the end; `dev` must be a valid device.
    #[inline]
    pub(super) unsafe fn from_raw(
        dev: *mut bindings::net_device,
        frames: *mut *mut bindings::xdp_frame,
        count: usize,
        flags: u32,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            frames,
            count,
            taken: 0,
            flags,
            dev,
            _borrowed: PhantomData,
        }
    }

    /// Has the lower device of the one that they are for ([`Device::join`]) send those that are left,
    /// as many as it takes. Returns whether it can do that at all. With softirqs off.
    pub fn forward(&mut self, lower: &Interface) -> bool {
        // SAFETY: The device is valid; its table lives as long.
        let Some(xmit) = (unsafe { (*(*lower.as_raw()).netdev_ops).ndo_xdp_xmit }) else {
            return false;
        };
        // CAST: There were as many as a `c_int` says.
        let left = (self.count - self.taken) as c_int;

        // SAFETY: By the type invariant there are so many frames that are not gone. The device takes
        // the first ones, as many as this returns; it is up, or takes none.
        let sent = unsafe {
            xmit(
                lower.as_raw(),
                left,
                self.frames.add(self.taken),
                self.flags,
            )
        };
        // INVARIANT: So many more are gone.
        self.taken += usize::try_from(sent.min(left)).unwrap_or(0);
        true
    }

    /// How many were taken.
    #[inline]
    pub fn taken(&self) -> usize {
        self.taken
    }
}

impl Iterator for Redirected<'_> {
    type Item = TxSkb;

    /// [`None`]: that was the last one, or there is no memory.
    fn next(&mut self) -> Option<TxSkb> {
        if self.taken >= self.count {
            return None;
        }
        // SAFETY: By the type invariant there are so many frames.
        let frame = unsafe { *self.frames.add(self.taken) };
        // SAFETY: The frame is valid, and not taken yet; the device is valid.
        let skb = unsafe { bindings::xdp_build_skb_from_frame(frame, self.dev) };
        let skb = NonNull::new(skb)?;

        // INVARIANT: The frame's memory belongs to the socket buffer now.
        self.taken += 1;
        // SAFETY: The buffer is ours, all of its fragments are pages, and its Ethernet header,
        // which was taken off just now, lies before its data.
        unsafe { bindings::skb_push(skb.as_ptr(), bindings::ETH_HLEN) };
        // SAFETY: As above.
        Some(unsafe { TxSkb::from_raw(skb) })
    }
}
