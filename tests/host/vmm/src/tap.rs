// SPDX-License-Identifier: GPL-2.0

//! The network behind the NIC: a Linux TAP that somebody made in this network namespace.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{bail, Context, Result};
use hvengine::netvsp::Backend;
use vmm_sys_util::ioctl::{ioctl_with_ref, ioctl_with_val};
use vmm_sys_util::ioctl_iow_nr;

ioctl_iow_nr!(TUNSETIFF, b'T' as u32, 202, libc::c_int);
ioctl_iow_nr!(TUNSETOFFLOAD, b'T' as u32, 208, libc::c_uint);
ioctl_iow_nr!(TUNSETVNETHDRSZ, b'T' as u32, 216, libc::c_int);

/// Bytes of the virtio header in front of each frame.
pub const HEADER: usize = 10;

/// An open TAP.
pub struct Tap(File);

impl Tap {
    /// Attaches to the TAP `name`: frames with a virtio header, no large segments towards us.
    pub fn open(name: &str) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .context("cannot open /dev/net/tun")?;
        // SAFETY: All bytes zero is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.is_empty() || name.len() >= request.ifr_name.len() {
            bail!("'{name}' is no interface name");
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags =
            (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        // SAFETY: The request reads one ifreq, which `request` is.
        if unsafe { ioctl_with_ref(&file, TUNSETIFF(), &request) } < 0 {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("cannot attach to the TAP {name}: does it exist?"));
        }
        let header = HEADER as libc::c_int;
        // SAFETY: The request reads one int.
        if unsafe { ioctl_with_ref(&file, TUNSETVNETHDRSZ(), &header) } < 0 {
            return Err(io::Error::last_os_error()).context("TUNSETVNETHDRSZ");
        }
        let tap = Self(file);
        // Checksums may be left to us, segmentation not: the guest takes no large packets yet.
        tap.leave_to_us(libc::TUN_F_CSUM).context("TUNSETOFFLOAD")?;
        Ok(tap)
    }

    /// Says which work of a network card is ours.
    fn leave_to_us(&self, work: libc::c_uint) -> io::Result<()> {
        // SAFETY: The request takes its argument by value.
        if unsafe { ioctl_with_val(&self.0, TUNSETOFFLOAD(), work.into()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// The descriptor, for polling.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Backend for Tap {
    fn transmit(&mut self, packet: &[u8]) {
        // A full queue drops, like any network.
        let _ = self.0.write(packet);
    }

    fn receive(&mut self, buf: &mut [u8]) -> Option<usize> {
        self.0.read(buf).ok()
    }

    fn coalesce(&mut self, v4: bool, v6: bool) {
        let large = if v4 { libc::TUN_F_TSO4 } else { 0 } | if v6 { libc::TUN_F_TSO6 } else { 0 };
        let ecn = if large != 0 { libc::TUN_F_TSO_ECN } else { 0 };
        if let Err(e) = self.leave_to_us(libc::TUN_F_CSUM | large | ecn) {
            // The guest gets segments as they are on the wire.
            eprintln!("hvhost: the TAP does not coalesce: {e}");
        }
    }
}
