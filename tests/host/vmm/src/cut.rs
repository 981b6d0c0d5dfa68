// SPDX-License-Identifier: GPL-2.0

//! Power cuts, and what comes back from hibernation: this program starts itself anew, with other
//! memory and the same disks.
//!
//! Disks with the option `:cache`, with `--boots` all of them, lie in memory files, which pass from
//! one to the next. Everything else begins as it did at first; what the guest wants to know later
//! it tells the host.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{bail, Context, Result};
use clap::Args;
use hvengine::disk::{Backing, WriteCache};
use hvengine::fault::Rng;

use crate::FileBacking;

/// What the program before a power cut tells the one after it.
#[derive(Args, Clone)]
pub struct Before {
    /// How often the guest was started, this time included.
    #[arg(long, hide = true, default_value_t = 1, overrides_with = "power_on")]
    power_on: u32,
    /// What the guest wants to know.
    #[arg(long, hide = true, default_value = "", overrides_with = "remembered")]
    remembered: String,
    /// The files of disks, in their order.
    #[arg(long, hide = true)]
    kept_disk: Vec<i32>,
}

/// What outlives a power cut.
pub struct Power {
    boot: u32,
    text: String,
    keeps_all: bool,
    /// Files of an earlier program that nobody has taken yet, the last one first.
    files: Vec<File>,
    disks: Vec<(File, WriteCache)>,
}

impl Power {
    /// Takes over what there was before; all disks, or those that are to outlive a cut. To be called
    /// once.
    pub fn on(before: &Before, keeps_all: bool) -> Self {
        // SAFETY: The descriptors are ours: the program before has left them to us for this, and
        // this is the only one that takes them.
        let file = |&fd: &i32| unsafe { File::from_raw_fd(fd) };
        Self {
            boot: before.power_on,
            text: before.remembered.clone(),
            keeps_all,
            files: before.kept_disk.iter().rev().map(file).collect(),
            disks: Vec::new(),
        }
    }

    /// How often the guest was started.
    pub fn boot(&self) -> u32 {
        self.boot
    }

    /// Whether all disks outlive this program.
    pub fn keeps_all(&self) -> bool {
        self.keeps_all
    }

    /// The next disk that stays: of so many bytes of zeros at first.
    pub fn disk(&mut self, size: u64) -> Result<WriteCache> {
        let file = match self.files.pop() {
            Some(file) => file,
            None => {
                // SAFETY: The name ends with a zero, and the flags are none.
                let fd = unsafe { libc::memfd_create(c"disk".as_ptr(), 0) };
                if fd < 0 {
                    return Err(io::Error::last_os_error()).context("memfd_create");
                }
                // SAFETY: The descriptor was just made, and nobody else has it.
                let file = unsafe { File::from_raw_fd(fd) };
                file.set_len(size)?;
                file
            }
        };
        let backing = FileBacking { file: file.try_clone()?, size };
        let cache = WriteCache::new(Box::new(backing));
        self.disks.push((file, cache.clone()));
        Ok(cache)
    }

    /// Keeps a text for after the cut.
    pub fn remember(&mut self, text: &str) {
        self.text = text.to_owned();
    }

    /// The text that was kept.
    pub fn recall(&self) -> &str {
        &self.text
    }

    /// Switches the power on again: does not return if that works. After a cut disks have lost
    /// some of what was not flushed.
    pub fn start_anew(self, cut: bool) -> Result<()> {
        if self.disks.is_empty() {
            bail!("no disk outlives a power cut: that wants the option :cache");
        }
        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
        let mut rng = Rng::new(now);
        let mut command = Command::new("/proc/self/exe");
        // What a cut before has added goes.
        let words: Vec<_> = std::env::args_os().skip(1).collect();
        let own = words.iter().position(|word| word == "--power-on").unwrap_or(words.len());
        command.args(&words[..own]);
        command.args(["--power-on", &(self.boot + 1).to_string()]);
        command.arg(format!("--remembered={}", self.text));
        for (file, cache) in self.disks {
            if cut {
                let (dirty, lost) = cache.cut(&mut rng)?;
                eprintln!(
                    "hvhost: power cut: {lost} of {dirty} sectors that were not flushed are lost"
                );
            } else {
                cache.clone().flush()?;
            }
            // A copy of its own, which the next program inherits.
            let fd = file.into_raw_fd();
            // SAFETY: The descriptor is open, and belongs to nobody any more.
            let copy = unsafe { libc::dup(fd) };
            if copy < 0 {
                return Err(io::Error::last_os_error()).context("dup");
            }
            command.args(["--kept-disk", &copy.to_string()]);
        }
        // The processors and everything else of this program end here.
        Err(command.exec()).context("cannot start anew")
    }
}
