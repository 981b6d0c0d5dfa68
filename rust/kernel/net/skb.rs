// SPDX-License-Identifier: GPL-2.0

//! Socket buffers as a driver of a network device sees them.
//!
//! There is a type for each use: a [`TxSkb`] is a frame that the stack wants to be sent, an
//! [`RxSkb`] one that a driver fills and hands to the stack. Both are owned, and end in a call that
//! says what has become of the frame.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use super::{
    device::Device,
    napi::Budget,
    operations::Operations, //
};
use crate::{
    bindings,
    error::to_result,
    io::{
        Io,
        SysMem, //
    },
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// Bytes of an Ethernet header without tags.
pub const ETH_HLEN: usize = bindings::ETH_HLEN as usize;

/// Why a frame is dropped (`enum skb_drop_reason`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DropReason(bindings::skb_drop_reason);

impl DropReason {
    /// None of the others.
    pub const NOT_SPECIFIED: Self = Self(bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED);
    /// The device is not ready, or gone.
    pub const DEV_READY: Self = Self(bindings::skb_drop_reason_SKB_DROP_REASON_DEV_READY);
    /// A ring is full.
    pub const FULL_RING: Self = Self(bindings::skb_drop_reason_SKB_DROP_REASON_FULL_RING);
    /// No memory.
    pub const NO_MEMORY: Self = Self(bindings::skb_drop_reason_SKB_DROP_REASON_NOMEM);
    /// The frame is larger than the device takes.
    pub const PKT_TOO_BIG: Self = Self(bindings::skb_drop_reason_SKB_DROP_REASON_PKT_TOO_BIG);
    /// Its checksum cannot be computed.
    pub const SKB_CSUM: Self = Self(bindings::skb_drop_reason_SKB_DROP_REASON_SKB_CSUM);
    /// What the device says about the frame makes no sense.
    pub const DEV_HDR: Self = Self(bindings::skb_drop_reason_SKB_DROP_REASON_DEV_HDR);
}

/// Protocols of the network layer that drivers ask about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Protocols of the transport layer that drivers ask about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A piece of a frame that is contiguous in physical memory.
#[derive(Clone, Copy)]
pub struct Segment {
    /// Where it begins.
    pub phys: u64,
    /// Bytes.
    pub len: u32,
}

/// A frame to be sent.
///
/// It must end in [`TxSkb::consume`], [`TxSkb::consume_polled`] or [`TxSkb::drop_reason`], or go
/// back to the stack ([`super::Transmit::Busy`]). One that is forgotten is freed, with a warning.
///
/// # Invariants
///
/// The pointer is a valid `struct sk_buff` that is owned by this object. Its data begin with an
/// Ethernet header, and all of its fragments are pages.
#[must_use = "a frame is consumed, dropped with a reason, or given back"]
pub struct TxSkb(NonNull<bindings::sk_buff>);

// SAFETY: A `struct sk_buff` may be used, and freed, by any thread.
unsafe impl Send for TxSkb {}

// SAFETY: Methods that take a shared reference only read.
unsafe impl Sync for TxSkb {}

impl TxSkb {
    /// Takes the frame over.
    ///
    /// # Safety
    ///
    /// `skb` must be a valid frame that is the caller's, with its Ethernet header, and without
    /// fragments that are no pages.
    #[inline]
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(skb)
    }

    /// Gives the frame up.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).0.as_ptr()
    }

    #[inline]
    fn as_raw(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    #[inline]
    fn headers(&self) -> *const bindings::sk_buff__bindgen_ty_4__bindgen_ty_1 {
        // SAFETY: By the type invariant the pointer is valid.
        let both = unsafe { &raw const (*self.as_raw()).__bindgen_anon_4 };

        // CAST: A union of which both members are the same structure.
        both.cast()
    }

    #[inline]
    fn shinfo(&self) -> *const bindings::skb_shared_info {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::skb_shinfo(self.as_raw()) }
    }

    /// Bytes of the frame.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { (*self.as_raw()).len as usize }
    }

    /// Bytes of it that are not in fragments.
    #[inline]
    pub fn head_len(&self) -> usize {
        // SAFETY: By the type invariant the pointer is valid.
        let (len, data_len) = unsafe { ((*self.as_raw()).len, (*self.as_raw()).data_len) };

        len.saturating_sub(data_len) as usize
    }

    /// The bytes that are not in fragments.
    #[inline]
    pub fn head(&self) -> &[u8] {
        // SAFETY: By the type invariant `data` is valid for so many bytes. They change only
        // through methods that take a mutable reference.
        unsafe { core::slice::from_raw_parts((*self.as_raw()).data, self.head_len()) }
    }

    /// The queue that was chosen for the frame.
    #[inline]
    pub fn queue(&self) -> u16 {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { (*self.as_raw()).queue_mapping }
    }

    /// The hash of the frame's flow, or 0 if nobody has computed it.
    #[inline]
    pub fn hash(&self) -> u32 {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { (*self.headers()).hash }
    }

    /// The protocol of the network layer, if it is one of [`Network`].
    #[inline]
    pub fn network(&self) -> Option<Network> {
        // SAFETY: By the type invariant the pointer is valid.
        match u32::from(u16::from_be(unsafe { (*self.headers()).protocol })) {
            bindings::ETH_P_IP => Some(Network::Ipv4),
            bindings::ETH_P_IPV6 => Some(Network::Ipv6),
            _ => None,
        }
    }

    /// The tag that is to be sent with the frame: priority, CFI and VLAN, as on the wire.
    #[inline]
    pub fn vlan_tci(&self) -> Option<u16> {
        // SAFETY: By the type invariant the pointer is valid. All bits are initialized.
        let (all, tci) = unsafe {
            let tag = &raw const (*self.headers()).__bindgen_anon_2;
            ((*tag).vlan_all, (*tag).__bindgen_anon_1.vlan_tci)
        };

        (all != 0).then_some(tci)
    }

    /// Takes a tag out of the data of a frame that a packet socket sends, so that it is the one
    /// of [`TxSkb::vlan_tci`].
    #[inline]
    pub fn untag(&mut self) -> Result {
        const TAG: u16 = (bindings::ETH_P_8021Q as u16).to_be();

        // SAFETY: By the type invariant the pointer is valid.
        if unsafe { (*self.headers()).protocol } != TAG {
            return Ok(());
        }
        self.do_untag()
    }

    /// See [`TxSkb::untag`].
    #[cold]
    fn do_untag(&mut self) -> Result {
        if self.head().get(12..14) != Some(&[0x81, 0]) {
            return Ok(());
        }
        let mut tci = 0;

        // SAFETY: By the type invariant the pointer is valid; the header of the frame is where its
        // data begin.
        to_result(unsafe { bindings::skb_vlan_untag_tx(self.as_raw(), &mut tci) })
    }

    /// Bytes of payload of each segment that the frame is to be split into; [`None`] if it is sent
    /// as it is.
    #[inline]
    pub fn gso_size(&self) -> Option<u16> {
        // SAFETY: A frame has a valid `skb_shared_info`.
        let size = unsafe { (*self.shinfo()).gso_size };

        (size != 0).then_some(size)
    }

    /// Whether the device is to compute the checksum of the transport layer.
    #[inline]
    pub fn wants_checksum(&self) -> bool {
        // SAFETY: By the type invariant the pointer is valid, and nobody writes the field.
        let summed = unsafe { (*self.headers()).ip_summed() };

        u32::from(summed) == bindings::CHECKSUM_PARTIAL
    }

    /// Where the header of the transport layer begins, from the first byte of the frame.
    #[inline]
    pub fn transport_offset(&self) -> Option<usize> {
        self.header_offset(
            // SAFETY: By the type invariant the pointer is valid.
            unsafe { (*self.headers()).transport_header },
        )
    }

    /// Where the header of the network layer begins, from the first byte of the frame.
    #[inline]
    pub fn network_offset(&self) -> Option<usize> {
        self.header_offset(
            // SAFETY: By the type invariant the pointer is valid.
            unsafe { (*self.headers()).network_header },
        )
    }

    #[inline]
    fn header_offset(&self, header: u16) -> Option<usize> {
        // SAFETY: By the type invariant the pointers are valid.
        let headroom = unsafe { (*self.as_raw()).data.addr() - (*self.as_raw()).head.addr() };

        usize::from(header).checked_sub(headroom)
    }

    /// The protocol of the transport layer, if it is one of [`Transport`] and follows the header
    /// of the network layer at once.
    #[inline]
    pub fn transport(&self) -> Option<Transport> {
        const PROTOCOL: usize = 9;
        const NEXT_HEADER: usize = 6;
        let at = match self.network()? {
            Network::Ipv4 => PROTOCOL,
            Network::Ipv6 => NEXT_HEADER,
        };

        match u32::from(*self.head().get(self.network_offset()?.checked_add(at)?)?) {
            bindings::IPPROTO_TCP => Some(Transport::Tcp),
            bindings::IPPROTO_UDP => Some(Transport::Udp),
            _ => None,
        }
    }

    /// Prepares the headers of a frame that the device segments ([`TxSkb::gso_size`]): lengths
    /// and checksums of IP become 0, that of TCP the one of a pseudo-header without length.
    ///
    /// Fails with [`EINVAL`] if it is no such frame, or its headers are not in the head, and with
    /// [`ENOMEM`].
    #[inline]
    pub fn prepare_tso(&mut self) -> Result {
        const TCP_HEADER: usize = 20;
        let network = self.network_offset().ok_or(EINVAL)?;
        let transport = self.transport_offset().ok_or(EINVAL)?;

        if self.gso_size().is_none()
            || self.network().is_none()
            || transport <= network
            || transport + TCP_HEADER > self.head_len()
        {
            return Err(EINVAL);
        }
        self.unshare_head()?;
        // SAFETY: By the type invariant the pointer is valid. Both headers are in its head, as was
        // just checked, and nobody shares that.
        unsafe { bindings::skb_prepare_tso(self.as_raw()) }
        Ok(())
    }

    /// Makes sure that the head of the frame is not shared, so that its headers may be changed.
    #[inline]
    pub fn unshare_head(&mut self) -> Result {
        // SAFETY: By the type invariant the pointer is valid.
        to_result(unsafe { bindings::skb_cow_head(self.as_raw(), 0) })
    }

    /// Computes the checksum that the device cannot. May change where the bytes are.
    #[inline]
    pub fn checksum_help(&mut self) -> Result {
        // SAFETY: By the type invariant the pointer is valid.
        to_result(unsafe { bindings::skb_checksum_help(self.as_raw()) })
    }

    /// Brings all bytes into one piece. Fails with [`ENOMEM`].
    #[inline]
    pub fn linearize(&mut self) -> Result {
        // SAFETY: By the type invariant the pointer is valid.
        to_result(unsafe { bindings::skb_linearize(self.as_raw()) })
    }

    /// Tells who wants to know that the frame is sent now.
    #[inline]
    pub fn timestamp(&self) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::skb_tx_timestamp(self.as_raw()) }
    }

    /// The frame's bytes, as pieces of physical memory, in their order. None is empty.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        let info = self.shinfo();

        // INVARIANT: The frame has so many fragments, and keeps them as long as it is borrowed.
        Segments {
            head: Segment {
                // SAFETY: By the type invariant the pointer is valid.
                phys: unsafe { bindings::skb_head_phys(self.as_raw()) },
                // CAST: Part of the frame's length, which has 32 bits.
                len: self.head_len() as u32,
            },
            // SAFETY: A frame has a valid `skb_shared_info`.
            fragment: unsafe { &raw const (*info).frags }.cast(),
            // SAFETY: As above.
            left: usize::from(unsafe { (*info).nr_frags }),
            _frame: PhantomData,
        }
    }

    /// How many [pieces](TxSkb::segments) there are at most.
    #[inline]
    pub fn max_segments(&self) -> usize {
        // SAFETY: A frame has a valid `skb_shared_info`.
        1 + usize::from(unsafe { (*self.shinfo()).nr_frags })
    }

    /// Copies the whole frame to memory that is as long as it.
    ///
    /// Fails with [`EINVAL`] if it is not as long.
    #[inline]
    pub fn copy_to(&self, memory: SysMem<'_, [u8]>) -> Result {
        let head = self.head();

        if memory.len() != self.len() {
            return Err(EINVAL);
        }
        if head.len() == memory.len() {
            memory.copy_from_slice(head);
            return Ok(());
        }
        // CAST: A frame has less than 2^31 bytes.
        let len = self.len() as c_int;
        let to: *mut c_void = memory.as_ptr().cast();

        // SAFETY: By the type invariant the pointer is valid. `to` is valid for writes of `len`
        // bytes; whoever else accesses it is none of this kernel's threads.
        to_result(unsafe { bindings::skb_copy_bits(self.as_raw(), 0, to, len) })
    }

    /// The frame is sent. Any context but hard interrupts.
    #[inline]
    pub fn consume(self) {
        // SAFETY: By the type invariant the frame is ours, and from now on nobody's.
        unsafe {
            bindings::dev_kfree_skb_any_reason(
                self.into_raw(),
                bindings::skb_drop_reason_SKB_CONSUMED,
            )
        }
    }

    /// The frame is sent; for the poll function of a NAPI instance.
    #[inline]
    pub fn consume_polled(self, budget: &Budget) {
        // SAFETY: By the type invariant the frame is ours, and from now on nobody's. The limit is
        // that of the poll that we are in.
        unsafe { bindings::napi_consume_skb(self.into_raw(), budget.limit() as c_int) }
    }

    /// The frame is not sent. Any context.
    #[inline]
    pub fn drop_reason(self, reason: DropReason) {
        // SAFETY: By the type invariant the frame is ours, and from now on nobody's.
        unsafe { bindings::dev_kfree_skb_any_reason(self.into_raw(), reason.0) }
    }
}

impl Drop for TxSkb {
    #[inline]
    fn drop(&mut self) {
        forgotten(self.0);
    }
}

/// Frees a frame of which a driver has not said what became of it.
#[cold]
#[inline(never)]
fn forgotten(skb: NonNull<bindings::sk_buff>) {
    crate::pr_warn_once!("a network driver has forgotten a frame\n");
    // SAFETY: The caller owns the frame, and gives it up.
    unsafe {
        bindings::dev_kfree_skb_any_reason(skb.as_ptr(), DropReason::NOT_SPECIFIED.0);
    }
}

/// The pieces of a frame; see [`TxSkb::segments`].
///
/// # Invariants
///
/// From `fragment` on there are `left` valid fragments of the frame.
#[derive(Clone)]
pub struct Segments<'a> {
    /// Empty once it was returned.
    head: Segment,
    fragment: *const bindings::skb_frag_t,
    left: usize,
    _frame: PhantomData<&'a TxSkb>,
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    #[inline]
    fn next(&mut self) -> Option<Segment> {
        if self.head.len != 0 {
            let head = self.head;

            self.head.len = 0;
            return Some(head);
        }
        while let Some(left) = self.left.checked_sub(1) {
            let fragment = self.fragment;

            // INVARIANT: There is one less behind this one.
            self.left = left;
            self.fragment = fragment.wrapping_add(1);
            // SAFETY: By the type invariant this is a fragment.
            let len = unsafe { (*fragment).len };
            if len != 0 {
                return Some(Segment {
                    // SAFETY: As above, and by the type invariant of `TxSkb` it is a page.
                    phys: unsafe { bindings::skb_frag_phys(fragment) },
                    len,
                });
            }
        }
        None
    }
}

/// A frame that was received, or is about to be.
///
/// It is made by [`Budget::alloc_skb`] and ends in [`Budget::gro_receive`]; one that is dropped is
/// a frame that could not be received.
///
/// # Invariants
///
/// The pointer is a valid, linear `struct sk_buff` that is owned by this object, and of which
/// `len` bytes are initialized.
pub struct RxSkb(NonNull<bindings::sk_buff>);

impl RxSkb {
    /// Takes over a buffer.
    ///
    /// # Safety
    ///
    /// `skb` must be valid, linear, empty, and the caller's.
    #[inline]
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: By the safety requirements.
        Self(skb)
    }

    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).0.as_ptr()
    }

    #[inline]
    fn as_raw(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// Bytes of the frame.
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { (*self.as_raw()).len as usize }
    }

    /// The bytes of the frame.
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: By the type invariant they are initialized, and nobody else has the buffer.
        unsafe { core::slice::from_raw_parts((*self.as_raw()).data, self.len()) }
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the type invariant they are initialized, and nobody else has the buffer.
        unsafe { core::slice::from_raw_parts_mut((*self.as_raw()).data, self.len()) }
    }

    /// Appends what `memory` holds at this moment.
    ///
    /// Fails with [`ENOSPC`] if the buffer is not large enough.
    #[inline]
    pub fn put_copy(&mut self, memory: SysMem<'_, [u8]>) -> Result {
        let len = memory.len();

        // SAFETY: By the type invariant the buffer is valid, and linear: the room is between its
        // tail and its end.
        let room = unsafe { bindings::skb_tailroom(self.as_raw()) };
        let room = usize::try_from(room).map_err(|_| ENOSPC)?;
        if len > room {
            return Err(ENOSPC);
        }
        // SAFETY: There is room, as was just checked.
        // INVARIANT: The bytes that are added are initialized below.
        let to = unsafe { bindings::skb_put(self.as_raw(), len as c_uint) };

        // SAFETY: `to` is valid for writes of `len` bytes, and the buffer is ours; `memory` is
        // valid for reads of them. `memcpy()` reads what others may write meanwhile.
        unsafe { bindings::memcpy(to, memory.as_ptr().cast(), len) };
        Ok(())
    }

    /// Computes the checksum of the IPv4 header anew, if there is one.
    ///
    /// Fails with [`EINVAL`] if the frame should have one and is too short.
    pub fn fix_ip_checksum(&mut self) -> Result {
        let data = self.data_mut();
        if data.get(12..14) != Some(&[0x08, 0x00]) {
            return Ok(());
        }
        let ip = data.get_mut(ETH_HLEN..).ok_or(EINVAL)?;
        let words = ip.first().ok_or(EINVAL)? & 0xf;
        let header = ip.get_mut(..usize::from(words) * 4).ok_or(EINVAL)?;

        if words < 5 {
            return Err(EINVAL);
        }
        if let Some(check) = header.get_mut(10..12) {
            check.fill(0);
        }
        // SAFETY: `header` is valid for `words` words of 4 bytes, at least 5.
        let sum = unsafe { bindings::ip_fast_csum(header.as_ptr().cast(), words.into()) };
        if let Some(check) = header.get_mut(10..12) {
            check.copy_from_slice(&sum.to_ne_bytes());
        }
        Ok(())
    }

    /// Somebody has checked the checksum of the transport layer, and found it right.
    #[inline]
    pub fn checksum_unnecessary(&mut self) {
        // SAFETY: By the type invariant the pointer is valid.
        let both = unsafe { &raw mut (*self.as_raw()).__bindgen_anon_4 };
        // CAST: A union of which both members are the same structure.
        let headers: *mut bindings::sk_buff__bindgen_ty_4__bindgen_ty_1 = both.cast();

        // SAFETY: The frame is ours.
        unsafe { (*headers).set_ip_summed(bindings::CHECKSUM_UNNECESSARY as u8) }
    }

    /// The hash of the frame's flow, over addresses and ports.
    #[inline]
    pub fn set_hash_l4(&mut self, hash: u32) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::skb_set_hash_l4(self.as_raw(), hash) }
    }

    /// The frame came with this 802.1Q tag.
    #[inline]
    pub fn set_vlan_tci(&mut self, tci: u16) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::skb_put_ctag(self.as_raw(), tci) }
    }

    /// The queue that the frame was received on.
    #[inline]
    pub fn set_queue(&mut self, queue: u16) {
        // SAFETY: By the type invariant the pointer is valid.
        unsafe { bindings::skb_record_rx_queue(self.as_raw(), queue) }
    }

    /// Makes a frame to be sent of it, on `dev`; [`None`] if it is shorter than an Ethernet header.
    pub(super) fn into_tx<T: Operations>(self, dev: &Device<T>) -> Option<TxSkb> {
        if self.len() < ETH_HLEN {
            return None;
        }
        let skb = NonNull::new(self.into_raw())?;

        // SAFETY: The frame has a whole Ethernet header, which is taken off here, and put back. All
        // of it is linear.
        unsafe {
            (*skb.as_ptr()).__bindgen_anon_4.headers.as_mut().protocol =
                bindings::eth_type_trans(skb.as_ptr(), dev.as_raw());
            bindings::skb_push(skb.as_ptr(), bindings::ETH_HLEN);
        }
        // SAFETY: The frame is ours, and has no fragments.
        Some(unsafe { TxSkb::from_raw(skb) })
    }

    /// Whether the frame is for all, or for a group.
    #[inline]
    pub fn is_multicast(&self) -> bool {
        self.data().first().is_some_and(|byte| byte & 1 != 0)
    }
}

impl Drop for RxSkb {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant the frame is ours, and from now on nobody's.
        unsafe {
            bindings::dev_kfree_skb_any_reason(self.as_raw(), DropReason::DEV_HDR.0);
        }
    }
}
