// SPDX-License-Identifier: GPL-2.0

//! `hvhost`: boots a Linux guest on KVM with an emulated Hyper-V host around it.
//!
//! One process is one boot of one guest. The Hyper-V side (VMBus and its devices) is the crate
//! `hvengine`; here are the machine, its two serial lines, the backends, and the loop that
//! connects them.

mod acpi;
mod boot;
mod cmos;
mod events;
mod machine;
mod memory;
mod results;
mod serial;
mod synic;
mod tap;
mod vcpu;

use std::fs::{self, File};
use std::io::{self, BufWriter, LineWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{mpsc, Arc};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use clap::{Parser, ValueEnum};
use hvengine::disk::{Backing, Disk, DiskConfig, MemoryBacking};
use hvengine::heartbeat::Heartbeat;
use hvengine::netvsp::{NetConfig, Netvsp};
use hvengine::shutdown::Shutdown;
use hvengine::storvsp::Storvsp;
use hvengine::{Host, Level, Trace, Version};
use vmm_sys_util::epoll::Epoll;
use vmm_sys_util::eventfd::EventFd;

use events::Loop;
use machine::{Machine, MAX_VCPUS};
use memory::{Ram, MAX_MIB};
use serial::{irq_line, Lines, Port};
use synic::{Pages, Refusals, Synic};
use vcpu::{End, Event, Mailbox, Shared};

/// Boots a Linux guest on KVM with an emulated Hyper-V host: VMBus, a SCSI controller with disks,
/// a network card, heartbeat and shutdown services.
///
/// The console is ttyS0. ttyS1 is the control line: the guest writes READY, BEGIN name, PASS,
/// FAIL why, and commands for the host as `host COMMAND`, which are answered with `ok ...` or
/// `error ...`. Exit status: 0 powered off, 1 set-up error, 2 crashed, 3 out of time or
/// stopped, 4 reset.
#[derive(Parser)]
#[command(name = "hvhost", version)]
struct Options {
    /// The kernel: an uncompressed vmlinux.
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// An initramfs; several are unpacked one after another.
    #[arg(long, value_name = "FILE")]
    initrd: Vec<PathBuf>,
    /// More for the kernel's command line.
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Number of processors.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_VCPUS)))]
    vcpus: u8,
    /// Memory in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(64..=MAX_MIB))]
    memory: u64,
    /// A disk of the SCSI controller, LUN 0, 1, and so on: a size (256M: zeros, in memory) or a
    /// file.
    #[arg(long, value_name = "SIZE|FILE")]
    disk: Vec<String>,
    /// The network card's TAP, which must exist: NAME[,mac=XX:XX:XX:XX:XX:XX].
    #[arg(long, value_name = "TAP")]
    nic: Option<String>,
    /// The highest VMBus version that the host speaks.
    #[arg(long, value_name = "VERSION", default_value = "6.0")]
    vmbus_max: Version,
    /// Devices of a class that nobody drives, to fill the bus.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=2047))]
    null_devices: u16,
    /// Gives channels monitor ids: the guest sets bits in shared memory instead of calling.
    #[arg(long)]
    monitor: bool,
    /// Reads a ring only after the guest's signal, never by chance.
    #[arg(long)]
    strict: bool,
    /// Stops reading each ring for so long after one packet of a batch, then after two of
    /// another, and so on: writers meet full rings at every position of their batches.
    #[arg(long, value_name = "MS")]
    pauses: Option<u64>,
    /// Writes over shared memory that the guest takes back, until it has the answer, which comes
    /// late.
    #[arg(long)]
    pattern: bool,
    /// The guest is meant to crash: it has to leave the bus and to report what happened, and that
    /// ends with status 0, everything else with 2.
    #[arg(long)]
    expect_crash: bool,
    /// Where console.log, trace.jsonl and result.json go.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seconds after which the guest is ended.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Where the guest's console goes: the log in --out, or this terminal too.
    #[arg(long, value_enum, default_value_t = Console::Log)]
    console: Console,
    /// What the trace holds.
    #[arg(long, value_enum, default_value_t = TraceLevel::Messages)]
    trace: TraceLevel,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Console {
    Log,
    Stdio,
}

#[derive(Clone, Copy, ValueEnum)]
enum TraceLevel {
    Off,
    Messages,
    Packets,
}

/// A disk in a file.
struct FileBacking {
    file: File,
    size: u64,
}

impl Backing for FileBacking {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, at)
    }

    fn write_at(&mut self, at: u64, buf: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, buf, at)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Reads `256M`, `2G`, `512K`.
fn size(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    number.checked_mul(1 << unit).filter(|size| *size > 0 && size % 512 == 0)
}

fn backing(what: &str) -> Result<Box<dyn Backing>> {
    if let Some(size) = size(what) {
        return Ok(Box::new(MemoryBacking::new(size)));
    }
    let file = File::options()
        .read(true)
        .write(true)
        .open(what)
        .with_context(|| format!("--disk {what}: neither a size (256M) nor a file"))?;
    let size = file.metadata()?.len();
    if size == 0 || size % 512 != 0 {
        bail!("--disk {what}: its {size} bytes are not a whole number of 512-byte blocks");
    }
    Ok(Box::new(FileBacking { file, size }))
}

/// The MAC address of a card that got none: Microsoft's prefix.
const MAC: [u8; 6] = [0x00, 0x15, 0x5d, 0x00, 0x00, 0x01];

/// Splits `TAP[,mac=XX:XX:XX:XX:XX:XX]`.
fn nic(what: &str) -> Result<(&str, [u8; 6])> {
    let Some((name, option)) = what.split_once(',') else { return Ok((what, MAC)) };
    let mac: Option<Vec<u8>> = option
        .strip_prefix("mac=")
        .and_then(|text| text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect());
    match mac.and_then(|mac| mac.try_into().ok()) {
        Some(mac) => Ok((name, mac)),
        None => bail!("--nic {what}: after the name goes mac=XX:XX:XX:XX:XX:XX"),
    }
}

fn log_file(dir: Option<&Path>, name: &str) -> Result<Option<File>> {
    let Some(dir) = dir else { return Ok(None) };
    let path = dir.join(name);
    Ok(Some(File::create(&path).with_context(|| format!("cannot write {}", path.display()))?))
}

/// Writes to the log, line by line (the log may be on a slow network file system, and the guest
/// waits for each byte), and at once to the terminal.
struct Tee(Option<LineWriter<File>>, bool);

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.0 {
            file.write_all(bytes)?;
        }
        if self.1 {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), LineWriter::flush)
    }
}

/// The kernel's command line: no PCI, no probing for what is not there, timers that are exact.
fn cmdline(append: &str) -> String {
    let fixed = "console=ttyS0 loglevel=5 panic=1 pci=off nokaslr mitigations=off no_timer_check \
                 rcupdate.rcu_cpu_stall_timeout=120";
    format!("{fixed} {append}")
}

/// Makes SIGTERM an event, so that the logs and the result of a guest that hangs are kept. To be
/// called before there are other threads: they inherit that the signal is blocked.
fn stop_on_sigterm(mailbox: Mailbox) -> Result<()> {
    // SAFETY: All bytes zero is a valid set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: The set is a valid one of this function's own.
    unsafe { libc::sigaddset(&mut set, libc::SIGTERM) };
    // SAFETY: The set is valid, and the old one is not wanted.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut signal = 0;
        // SAFETY: Both are valid, and the signal is blocked in every thread.
        unsafe { libc::sigwait(&set, &mut signal) };
        mailbox.send(Event::End(End::Stopped));
    })?;
    Ok(())
}

fn run(options: &Options) -> Result<(Option<End>, Loop)> {
    let out = options.out.as_deref();
    if let Some(dir) = out {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let ram = Ram::new(options.memory << 20)?;
    let machine = Machine::new(&ram, options.vcpus)?;
    let image = boot::Image {
        kernel: &options.kernel,
        initrds: &options.initrd,
        cmdline: &cmdline(&options.append),
    };
    let entry = boot::load(&ram.mmap, ram.size(), &image)?;
    acpi::write(&ram.mmap, options.vcpus)?;
    boot::enter(&ram.mmap, &machine.vcpus[0], entry)?;

    let (queue, inbox) = mpsc::channel();
    let mailbox = Mailbox { queue, bell: Arc::new(EventFd::new(libc::EFD_NONBLOCK)?) };
    stop_on_sigterm(mailbox.clone())?;
    let console =
        Tee(log_file(out, "console.log")?.map(LineWriter::new), options.console == Console::Stdio);
    let lines = mailbox.clone();
    let irqs = [irq_line()?, irq_line()?];
    machine.irq(&irqs[0], 4)?;
    machine.irq(&irqs[1], 3)?;
    let [irq0, irq1] = irqs;
    let pages: Arc<Vec<Pages>> = Arc::new((0..options.vcpus).map(|_| Pages::default()).collect());
    let refusals = Arc::new(Refusals::default());
    let shared = Arc::new(Shared {
        ram: ram.clone(),
        ports: [
            Port::new(irq0, Box::new(console)),
            Port::new(irq1, Box::new(Lines::new(move |line| lines.send(Event::Line(line))))),
        ],
        cmos: Default::default(),
        pages: pages.clone(),
        max_version: options.vmbus_max,
        refusals: refusals.clone(),
    });

    let level = match options.trace {
        TraceLevel::Off => Level::Off,
        TraceLevel::Messages => Level::Messages,
        TraceLevel::Packets => Level::Packets,
    };
    let trace = log_file(out, "trace.jsonl")?
        .map(|file| Box::new(BufWriter::new(file)) as Box<dyn Write + Send>);
    let epoll = Arc::new(Epoll::new()?);
    let synic = Synic::new(ram.clone(), machine.vm.clone(), pages, epoll.clone(), refusals);
    let mut host =
        Host::new(Arc::new(ram), Box::new(synic), Trace::new(level, trace), options.vmbus_max);
    if options.monitor {
        host.use_monitor();
    }
    if options.strict {
        host.be_strict();
    }
    if options.pattern {
        host.write_patterns();
    }
    let mut disks = Vec::new();
    for (lun, what) in (0..).zip(&options.disk) {
        let config = DiskConfig { lun, serial: format!("HVRUST{lun:02}") };
        disks.push(Disk::new(backing(what)?, config));
    }
    host.add("heartbeat", Box::new(Heartbeat::new()));
    host.add("shutdown", Box::new(Shutdown::new()));
    if !disks.is_empty() {
        host.add("scsi0", Box::new(Storvsp::new(0, disks)));
    }
    let mut taps = Vec::new();
    if let Some(what) = &options.nic {
        let (name, mac) = nic(what)?;
        let tap = tap::Tap::open(name)?;
        let fd = tap.fd();
        let card = Netvsp::new(NetConfig { mac, ..NetConfig::default() }, Box::new(tap));
        taps.push((host.add("nic0", Box::new(card)), fd));
    }

    if let Some(ms) = options.pauses {
        host.pause_everywhere(ms);
    }
    host.add_null_devices(options.null_devices).map_err(anyhow::Error::msg)?;
    let mut events = Loop::new(host, epoll, inbox, &mailbox, shared.clone(), &machine.eom)?;
    events.log_control(log_file(out, "control.log")?);
    for (index, fd) in taps {
        events.watch_backend(index, fd)?;
    }
    if options.console == Console::Stdio {
        events.watch_stdin()?;
    }
    for (vp, vcpu) in machine.vcpus.into_iter().enumerate() {
        let (shared, mailbox) = (shared.clone(), mailbox.clone());
        std::thread::Builder::new()
            .name(format!("vcpu{vp}"))
            .spawn(move || vcpu::run(vcpu, vp, &shared, &mailbox))?;
    }
    let end = events.run(options.timeout.map(Duration::from_secs))?;
    Ok((end, events))
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok((mut end, mut events)) => {
            if options.expect_crash {
                end = Some(events.judge_crash(end));
            }
            let (code, exit, why) = match end {
                None | Some(End::Stopped) => (3, "timeout", String::new()),
                Some(End::Poweroff) => (0, "poweroff", String::new()),
                Some(End::Reset) => (4, "reset", String::new()),
                Some(End::Crash(why)) => (2, "crash", why),
                Some(End::Error(why)) => (2, "error", why),
            };
            if !why.is_empty() {
                eprintln!("hvhost: {why}");
            }
            let result = events.finish(exit, &why);
            if let Some(dir) = &options.out {
                if let Err(e) = fs::write(dir.join("result.json"), format!("{result:#}\n")) {
                    eprintln!("hvhost: cannot write result.json: {e}");
                    return ExitCode::from(1);
                }
            }
            ExitCode::from(code)
        }
        Err(why) => {
            eprintln!("hvhost: {why:#}");
            ExitCode::from(1)
        }
    }
}
