// SPDX-License-Identifier: GPL-2.0

//! Little-endian words in byte strings, as both protocols have them.

/// The word at `at`, if it is there.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;

    Some(u32::from_le_bytes(word.try_into().ok()?))
}

/// Stores a word at `at`, if there is room.
#[inline]
pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = at.checked_add(4).and_then(|end| bytes.get_mut(at..end)) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// `len` bytes from `at` on, if they are there.
#[inline]
pub(crate) fn slice_at(bytes: &[u8], at: u32, len: u32) -> Option<&[u8]> {
    let at = at as usize;

    bytes.get(at..at.checked_add(len as usize)?)
}
