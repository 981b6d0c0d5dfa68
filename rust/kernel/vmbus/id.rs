// SPDX-License-Identifier: GPL-2.0

//! What VMBus devices are matched by.

use crate::{
    bindings,
    device_id::{
        RawDeviceId,
        RawDeviceIdIndex, //
    },
    fmt,
    prelude::*, //
};
use core::mem::offset_of;

/// A GUID, in the order of bytes that VMBus uses (`guid_t`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Guid([u8; 16]);

impl Guid {
    /// Creates a GUID from its groups as they are written, the last two as bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::vmbus::Guid;
    ///
    /// // f8615163-df3e-46c5-913f-f2d2f965ed0e
    /// const NETWORK: Guid = Guid::new(
    ///     0xf8615163,
    ///     0xdf3e,
    ///     0x46c5,
    ///     [0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e],
    /// );
    /// ```
    pub const fn new(a: u32, b: u16, c: u16, rest: [u8; 8]) -> Self {
        let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), rest);

        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5],
            d[6], d[7],
        ])
    }

    /// The bytes, as they lie in memory: the first three fields are little-endian.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Creates a GUID from the C type.
    pub const fn from_raw(raw: bindings::guid_t) -> Self {
        Self(raw.b)
    }

    /// Returns the GUID as the C type.
    pub const fn into_raw(self) -> bindings::guid_t {
        bindings::guid_t { b: self.0 }
    }

    /// Reads a GUID as user space writes it; what follows it does not matter.
    ///
    /// Returns [`EINVAL`] if there is none at the start of `text`.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::vmbus::Guid;
    ///
    /// let text = b"F8615163-df3e-46c5-913f-f2d2f965ed0e\n";
    /// let rest = [0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65, 0xed, 0x0e];
    ///
    /// assert!(Guid::parse(text)? == Guid::new(0xf8615163, 0xdf3e, 0x46c5, rest));
    /// assert!(Guid::parse(b"f8615163df3e46c5913ff2d2f965ed0e").is_err());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self> {
        let (mut high, mut low) = (0u64, 0u64);

        for (at, &byte) in text.get(..36).ok_or(EINVAL)?.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return Err(EINVAL);
                }
                continue;
            }

            let digit = char::from(byte).to_digit(16).ok_or(EINVAL)?;
            high = high << 4 | low >> 60;
            low = low << 4 | u64::from(digit);
        }

        Ok(Self::new(
            (high >> 32) as u32,
            (high >> 16) as u16,
            high as u16,
            low.to_be_bytes(),
        ))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, rest @ ..] = self.0;

        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:02x}{:02x}-",
            u32::from_le_bytes([a0, a1, a2, a3]),
            u16::from_le_bytes([b0, b1]),
            u16::from_le_bytes([c0, c1]),
            d0,
            d1
        )?;
        for byte in rest {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Abstraction for `struct hv_vmbus_device_id`: the class of the devices that a driver wants.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::hv_vmbus_device_id);

impl DeviceId {
    /// Creates an id for the devices of a class.
    pub const fn new(class: Guid) -> Self {
        let mut id: bindings::hv_vmbus_device_id = pin_init::zeroed();
        id.guid = bindings::guid_t { b: class.0 };

        Self(id)
    }

    /// Whether this is the zeroed entry that ends a table.
    pub(super) fn is_end(&self) -> bool {
        self.0.guid.b == [0; 16]
    }
}

// SAFETY: `DeviceId` is a `#[repr(transparent)]` wrapper of `hv_vmbus_device_id` and does not add
// additional invariants, so it's safe to transmute to `RawType`.
unsafe impl RawDeviceId for DeviceId {
    type RawType = bindings::hv_vmbus_device_id;
}

// SAFETY: `DRIVER_DATA_OFFSET` is the offset to the `driver_data` field.
unsafe impl RawDeviceIdIndex for DeviceId {
    const DRIVER_DATA_OFFSET: usize = offset_of!(bindings::hv_vmbus_device_id, driver_data);
}

/// IdTable type for VMBus drivers.
pub type IdTable<T> = &'static dyn kernel::device_id::IdTable<DeviceId, T>;

/// Creates a VMBus `IdTable` with its alias for modpost.
#[macro_export]
macro_rules! vmbus_device_table {
    ($($tt:tt)*) => {
        $crate::module_device_table!("vmbus", $crate::vmbus::DeviceId, $($tt)*);
    };
}
