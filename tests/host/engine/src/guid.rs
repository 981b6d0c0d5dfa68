// SPDX-License-Identifier: GPL-2.0

//! GUIDs in the byte order of the wire.

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A GUID as it lies in a message: the first three fields little endian, the rest as written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(transparent)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// Reads the text form `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`; a wrong one does not compile
    /// where the result is a constant.
    pub const fn new(text: &str) -> Self {
        // Place of each text byte's value in the wire form.
        const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        let text = text.as_bytes();
        assert!(text.len() == 36);
        let mut out = [0; 16];
        let (mut at, mut n) = (0, 0);
        while n < 16 {
            if matches!(at, 8 | 13 | 18 | 23) {
                assert!(text[at] == b'-');
                at += 1;
            }
            out[ORDER[n]] = hex(text[at]) << 4 | hex(text[at + 1]);
            at += 2;
            n += 1;
        }
        Self(out)
    }
}

const fn hex(c: u8) -> u8 {
    match c {
        b'0'..=b'9' => c - b'0',
        b'a'..=b'f' => c - b'a' + 10,
        b'A'..=b'F' => c - b'A' + 10,
        _ => panic!("not a hexadecimal digit"),
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = &self.0;
        let a = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let (c, d) = (u16::from_le_bytes([b[4], b[5]]), u16::from_le_bytes([b[6], b[7]]));
        write!(f, "{a:08x}-{c:04x}-{d:04x}-{:02x}{:02x}-", b[8], b[9])?;
        b[10..].iter().try_for_each(|x| write!(f, "{x:02x}"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire_agree() {
        let text = "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f";
        let guid = Guid::new(text);
        assert_eq!(guid.to_string(), text);
        assert_eq!(guid.0[..4], [0xd9, 0x63, 0x61, 0xba]);
        assert_eq!(guid.0[8..10], [0xb6, 0x05]);
    }
}
