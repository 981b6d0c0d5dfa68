// SPDX-License-Identifier: GPL-2.0

//! Frames to send, and a check of them that shares nothing with the device.

/// An IP packet with TCP or UDP in it.
#[derive(Clone, Copy)]
pub struct Shape {
    pub v6: bool,
    pub udp: bool,
    pub payload: usize,
}

pub const ETHERNET: usize = 14;

impl Shape {
    pub const TCP4: Self = Self { v6: false, udp: false, payload: 100 };
    pub const UDP4: Self = Self { v6: false, udp: true, payload: 101 };
    pub const TCP6: Self = Self { v6: true, udp: false, payload: 99 };
    pub const UDP6: Self = Self { v6: true, udp: true, payload: 1 };
    pub const ALL: [Self; 4] = [Self::TCP4, Self::UDP4, Self::TCP6, Self::UDP6];

    pub fn l4(&self) -> usize {
        ETHERNET + if self.v6 { 40 } else { 20 }
    }

    pub fn field(&self) -> usize {
        self.l4() + if self.udp { 6 } else { 16 }
    }

    pub fn header(&self) -> usize {
        self.l4() + if self.udp { 8 } else { 20 }
    }

    /// A complete and correct frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut f = super::MAC.to_vec();
        f.extend([0x02, 0, 0, 0, 0, 9]);
        let l4_len = self.header() - self.l4() + self.payload;
        let protocol = if self.udp { 17 } else { 6 };
        if self.v6 {
            f.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            f.extend((l4_len as u16).to_be_bytes());
            f.extend([protocol, 64]);
            f.extend([0xfd; 16]);
            f.extend((0..16).map(|n| n * 17));
        } else {
            f.extend([0x08, 0x00, 0x45, 0]);
            f.extend((20 + l4_len as u16).to_be_bytes());
            f.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 192, 168, 255, 254]);
            let sum = !add(&f[ETHERNET..ETHERNET + 20], 0);
            f[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        f.extend([0x04, 0xd2, 0x16, 0x2e]);
        if self.udp {
            f.extend((l4_len as u16).to_be_bytes());
            f.extend([0, 0]);
        } else {
            f.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
        }
        f.extend((0..self.payload).map(|n| (n * 7) as u8));
        let sum = !add(&f[self.l4()..], self.pseudo(&f, l4_len));
        self.put(&mut f, sum);
        f
    }

    pub fn put(&self, frame: &mut [u8], checksum: u16) {
        frame[self.field()..self.field() + 2].copy_from_slice(&checksum.to_be_bytes());
    }

    /// The pseudo-header's sum for this length.
    pub fn pseudo(&self, frame: &[u8], len: usize) -> u16 {
        let addresses = &frame[if self.v6 { 22..54 } else { 26..34 }];
        let rest = [0, if self.udp { 17 } else { 6 }];
        add(&[addresses, &rest, &(len as u16).to_be_bytes()].concat(), 0)
    }

    /// A frame as a guest leaves it to the host's checksum offload.
    pub fn unfinished(&self) -> Vec<u8> {
        let mut frame = self.frame();
        let sum = self.pseudo(&frame, frame.len() - self.l4());
        self.put(&mut frame, sum);
        frame
    }

    /// A frame as Linux leaves it to the host's segmentation.
    pub fn large(&self) -> Vec<u8> {
        let mut frame = self.frame();
        let sum = self.pseudo(&frame, 0);
        self.put(&mut frame, sum);
        frame[if self.v6 { 18..20 } else { 16..18 }].fill(0);
        if !self.v6 {
            frame[24..26].fill(0);
        }
        frame
    }
}

/// One's complement addition of 16-bit words.
pub fn add(bytes: &[u8], start: u16) -> u16 {
    bytes.chunks(2).fold(start, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}
