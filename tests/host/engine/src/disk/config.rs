// SPDX-License-Identifier: GPL-2.0

//! Where a disk is, what kind of disk it is, and how people write that.

use std::fmt;
use std::str::FromStr;

/// Where a logical unit is on its controller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The path (bus), which Linux calls a channel.
    pub path: u8,
    /// The target.
    pub target: u8,
    /// The logical unit number.
    pub lun: u8,
}

impl Address {
    /// A logical unit of path 0, target 0, where Hyper-V has its disks.
    pub fn lun(lun: u8) -> Self {
        Self { lun, ..Self::default() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, target, lun } = self;
        match (path, target) {
            (0, 0) => write!(f, "{lun}"),
            _ => write!(f, "{path}:{target}:{lun}"),
        }
    }
}

/// Reads `LUN` or `PATH:TARGET:LUN`.
impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Result<Vec<u8>, _> = text.split(':').map(str::parse).collect();
        match fields.as_deref() {
            Ok(&[lun]) => Ok(Self::lun(lun)),
            Ok(&[path, target, lun]) => Ok(Self { path, target, lun }),
            _ => Err(format!("{text} is neither LUN nor PATH:TARGET:LUN")),
        }
    }
}

/// What tells one disk from another.
#[derive(Debug, Clone)]
pub struct DiskConfig {
    /// Where it is.
    pub address: Address,
    /// Unit serial number; the world wide name is made of it too.
    pub serial: String,
    /// Writes are refused.
    pub read_only: bool,
    /// Bytes of a logical block: 512 or 4096, and 2048 of a DVD.
    pub block: u32,
    /// It is a DVD drive, whose medium can be changed and not written.
    pub dvd: bool,
    /// What is written and not made durable yet may get lost when the power is cut.
    pub cache: bool,
    /// What is written stays in memory, and the file as it was.
    pub copy: bool,
    /// The version of SPC that it claims: 5 is SPC-3.
    pub spc: u8,
    /// It can have several commands at a time.
    pub tagged: bool,
    /// Who made it: up to eight characters.
    pub vendor: String,
}

impl DiskConfig {
    /// A disk of 512-byte blocks that can be written.
    pub fn new(address: Address, serial: impl Into<String>) -> Self {
        Self {
            address,
            serial: serial.into(),
            read_only: false,
            block: 512,
            dvd: false,
            cache: false,
            copy: false,
            spc: 5,
            tagged: true,
            vendor: "Msft".into(),
        }
    }

    /// Takes the options behind the first colon of `WHAT[:ro][:4k][:dvd][:cache][:copy][:untagged]
    /// [:spc=N][:vendor=NAME][:path=N][:target=N][:lun=N]` and returns WHAT.
    pub fn parse<'a>(&mut self, text: &'a str) -> Result<&'a str, String> {
        let mut words = text.split(':');
        let what = words.next().unwrap_or_default();
        for word in words {
            let number = |value: &str| value.parse().map_err(|_| format!("not a number: {word}"));
            match word.split_once('=') {
                None if word == "ro" => self.read_only = true,
                None if word == "4k" => self.block = 4096,
                None if word == "dvd" => (self.dvd, self.block) = (true, 2048),
                None if word == "cache" => self.cache = true,
                None if word == "copy" => self.copy = true,
                None if word == "untagged" => self.tagged = false,
                Some(("spc", value)) => self.spc = number(value)?,
                Some(("vendor", name)) if name.is_ascii() && name.len() <= 8 => {
                    self.vendor = name.into();
                }
                Some(("path", value)) => self.address.path = number(value)?,
                Some(("target", value)) => self.address.target = number(value)?,
                Some(("lun", value)) => self.address.lun = number(value)?,
                _ => return Err(format!("unknown option of a disk: {word}")),
            }
        }
        Ok(what)
    }
}

/// Reads `256M`, `2G`, `512K`.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let shift = match unit {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(1 << shift).filter(|&size| size > 0)
}
