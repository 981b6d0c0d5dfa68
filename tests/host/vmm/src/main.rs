// SPDX-License-Identifier: GPL-2.0

//! `hvhost`: boots a Linux guest on KVM with an emulated Hyper-V host around it.
//!
//! One process is one boot of one guest. The Hyper-V side (VMBus and its devices) is the crate
//! `hvengine`; here are the machine, its two serial lines, the backends, and the loop that
//! connects them.

mod acpi;
mod boot;
mod cmos;
mod cut;
mod events;
mod hold;
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
use hvengine::disk::{parse_size, Address, Backing, CopyBacking, Disk, DiskConfig, MemoryBacking};
use hvengine::heartbeat::Heartbeat;
use hvengine::netvsp::{version, NetConfig, Netvsp, MAX_QUEUES};
use hvengine::services;
use hvengine::shutdown::Shutdown;
use hvengine::storvsp::Storvsp;
use hvengine::{Host, Level, Trace, Version};
use vmm_sys_util::epoll::Epoll;
use vmm_sys_util::eventfd::EventFd;

use cut::Power;
use events::Loop;
use hold::Hold;
use machine::{Machine, MAX_VCPUS};
use memory::{Ram, MAX_MIB};
use serial::{irq_line, Lines, Port};
use synic::{Pages, Refusals, Synic};
use vcpu::{End, Event, Mailbox, Shared};

/// Boots a Linux guest on KVM with an emulated Hyper-V host: VMBus, SCSI controllers with disks,
/// a network card, heartbeat and shutdown services, and with --service other devices.
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
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    append: Vec<String>,
    /// Number of processors.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_VCPUS)))]
    vcpus: u8,
    /// Memory in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(64..=MAX_MIB))]
    memory: u64,
    /// A disk of the first SCSI controller, LUN 0, 1, and so on: a size (256M: zeros, in memory)
    /// or a file, then options: :ro (cannot be written), :4k (blocks of 4096 bytes), :dvd (a DVD
    /// drive), :cache (a power cut loses some of what was not flushed, and keeps the rest), :copy
    /// (what is written stays in memory, the file as it was), :untagged (a command at a time),
    /// :spc=N, :vendor=NAME (what it says it is), :path=N, :target=N, :lun=N (where it is).
    #[arg(long, value_name = "SIZE|FILE[:OPTION...]")]
    disk: Vec<String>,
    /// One more SCSI controller with these disks.
    #[arg(long, value_name = "DISK[,DISK...]")]
    scsi: Vec<String>,
    /// A disk of an IDE controller, which is a device of its own: the first, the second, and so on.
    #[arg(long, value_name = "DISK")]
    ide: Vec<String>,
    /// An adapter of Fibre Channel with these disks.
    #[arg(long, value_name = "DISK[,DISK...]")]
    fc: Vec<String>,
    /// The most sub-channels that each SCSI controller offers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    scsi_channels: u16,
    /// The network card's TAP, which must exist, and what the card is like:
    /// NAME[,mac=XX:XX:XX:XX:XX:XX][,queues=N][,mtu=N][,nvsp=VERSION][,rsc=on][,alias=TEXT]
    /// [,receive-section=BYTES][,send-section=BYTES][,quota=PACKETS][,whole-sections]
    /// [,refuse-header-across-pages]. Given twice, the last one counts.
    #[arg(long, value_name = "TAP", overrides_with = "nic")]
    nic: Option<String>,
    /// So many more cards, as that one is, but on the TAPs whose names count on from its: tap1,
    /// tap2, and with addresses that do.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=15))]
    more_nics: u8,
    /// Another device besides heartbeat and shutdown.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(services::NAMES))]
    service: Vec<String>,
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
    /// The guest has another kernel for when it crashes: reporting that ends nothing.
    #[arg(long)]
    crash_kernel: bool,
    /// How often the guest is booted: again after each time but the last that it has powered off.
    /// It keeps its disks; everything else is new.
    #[arg(long, value_name = "N", default_value_t = 1)]
    boots: u32,
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
    #[command(flatten)]
    before: cut::Before,
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

    fn resize(&mut self, size: u64) -> io::Result<()> {
        self.file.set_len(size)?;
        self.size = size;
        Ok(())
    }
}

fn backing(what: &str, config: &DiskConfig, power: &mut Power) -> Result<Box<dyn Backing>> {
    let block = u64::from(config.block);
    let (backing, size): (Box<dyn Backing>, u64) = match parse_size(what) {
        Some(size) if config.cache || power.keeps_all() => (Box::new(power.disk(size)?), size),
        Some(size) => (Box::new(MemoryBacking::new(size)), size),
        None => {
            if config.cache {
                bail!("disk {what}: the option :cache is for sizes");
            }
            let file = File::options().read(true).write(!config.copy).open(what);
            let file =
                file.with_context(|| format!("disk {what}: neither a size (256M) nor a file"))?;
            let size = file.metadata()?.len();
            let file = Box::new(FileBacking { file, size });
            match config.copy {
                true => (Box::new(CopyBacking::new(file)), size),
                false => (file, size),
            }
        }
    };
    if size == 0 || !size.is_multiple_of(block) {
        bail!("disk {what}: its {size} bytes are not a whole number of {block}-byte blocks");
    }
    Ok(backing)
}

/// The most disks of a controller, as on Hyper-V.
const MAX_DISKS: usize = 64;

/// A disk as an option describes it: the one at `index` if that says nothing else.
fn disk(text: &str, index: u8, serial: String, power: &mut Power) -> Result<Disk> {
    let mut config = DiskConfig::new(Address::lun(index), serial);
    let what = config.parse(text).map_err(|why| anyhow::anyhow!("disk {text}: {why}"))?;
    Ok(Disk::new(backing(what, &config, power)?, config))
}

/// The disks of a controller; their serial numbers begin with `serial`.
fn disks<'a>(
    texts: impl Iterator<Item = &'a str>,
    serial: &str,
    power: &mut Power,
) -> Result<Vec<Disk>> {
    let mut made: Vec<Disk> = Vec::new();
    for (index, text) in texts.enumerate() {
        if index == MAX_DISKS {
            bail!("a controller has at most {MAX_DISKS} disks");
        }
        let new = disk(text, index as u8, format!("{serial}{index:02}"), power)?;
        let at = new.address();
        if made.iter().any(|disk| disk.address() == at) {
            bail!("disk {text}: there are two at {at}");
        }
        made.push(new);
    }
    Ok(made)
}

/// Adds the controllers and their disks.
fn add_disks(host: &mut Host, options: &Options, power: &mut Power) -> Result<()> {
    let channels = options.scsi_channels;
    if !options.disk.is_empty() {
        let made = disks(options.disk.iter().map(String::as_str), "HVRUST", power)?;
        host.add("scsi0", Box::new(Storvsp::new(0, made).with_sub_channels(channels)));
    }
    for (number, texts) in (1..=u8::MAX).zip(&options.scsi) {
        let made = disks(texts.split(','), &format!("HVRUST{number}-"), power)?;
        let device = Storvsp::new(number, made).with_sub_channels(channels);
        host.add(&format!("scsi{number}"), Box::new(device));
    }
    for (number, text) in (0..=u8::MAX).zip(&options.ide) {
        // What stands for a disk of its own has one unit, at the target of its number.
        let text = format!("{text}:target={number}:lun=0");
        let made = disk(&text, 0, format!("HVIDE{number:02}"), power)?;
        host.add(&format!("ide{number}"), Box::new(Storvsp::ide(number, made)));
    }
    for (number, texts) in (0..=u8::MAX).zip(&options.fc) {
        let made = disks(texts.split(','), &format!("HVFC{number}-"), power)?;
        let device = Storvsp::fibre_channel(number, made).with_sub_channels(channels);
        host.add(&format!("fc{number}"), Box::new(device));
    }
    Ok(())
}

/// Reads `XX:XX:XX:XX:XX:XX`.
fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok());
    bytes.collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// Splits what `--nic` says into the TAP's name and what the card is like.
fn nic(what: &str) -> Result<(&str, NetConfig)> {
    let mut words = what.split(',');
    let name = words.next().unwrap_or_default();
    // Linux coalesces whenever it may, so that most tests would no longer see single segments.
    let mut config = NetConfig { rsc: false, ..NetConfig::default() };
    for word in words {
        let (option, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse::<u32>().ok();
        let mut set = || {
            match option {
                "mac" => config.mac = mac(value)?,
                "queues" => config.queues = number().filter(|n| (1..=MAX_QUEUES).contains(n))?,
                "mtu" => config.max_mtu = number().filter(|n| (1500..=65521).contains(n))?,
                "nvsp" => config.max_version = version::named(value)?,
                "rsc" => config.rsc = ["off", "on"].iter().position(|v| *v == value)? == 1,
                "alias" => config.friendly_name = value.into(),
                "receive-section" => config.receive_section = Some(number()?),
                "send-section" => config.send_section = number().filter(|n| *n >= 68)?,
                "quota" => config.tx_quota = number().filter(|n| *n > 0)? as usize,
                "whole-sections" => config.whole_sections = true,
                "refuse-header-across-pages" => config.refuse_header_across_pages = true,
                _ => return None,
            }
            Some(())
        };
        if set().is_none() {
            bail!("--nic {what}: {word} is not understood");
        }
    }
    Ok((name, config))
}

/// The TAP of card `n`, and what it is like, as those of the first.
fn nth(tap: &str, first: &NetConfig, n: u8) -> Result<(String, NetConfig)> {
    let base = tap.trim_end_matches(|c: char| c.is_ascii_digit());
    let number: u32 = tap[base.len()..].parse().unwrap_or(0);
    let mut config = NetConfig { number: first.number + u32::from(n), ..first.clone() };
    config.mac[5] = config.mac[5].wrapping_add(n);
    match n {
        0 => Ok((tap.into(), config)),
        _ if base.len() == tap.len() => bail!("--more-nics: {tap} has no number to count on from"),
        n => Ok((format!("{base}{}", number + u32::from(n)), config)),
    }
}

/// Makes a log, or goes on with that of the boots before.
fn log_file(dir: Option<&Path>, name: &str, boot: u32) -> Result<Option<File>> {
    let Some(dir) = dir else { return Ok(None) };
    let path = dir.join(name);
    let mut how = File::options();
    let how = match boot {
        1 => how.write(true).truncate(true),
        _ => how.append(true),
    };
    let file = how.create(true).open(&path);
    Ok(Some(file.with_context(|| format!("cannot write {}", path.display()))?))
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
fn cmdline(append: &str, boot: u32) -> String {
    let fixed = "console=ttyS0 loglevel=5 panic=1 pci=off nokaslr mitigations=off no_timer_check \
                 rcupdate.rcu_cpu_stall_timeout=120";
    match boot {
        1 => format!("{fixed} {append}"),
        _ => format!("{fixed} {append} hvboot={boot}"),
    }
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
    let mut power = Power::on(&options.before, options.boots > 1);
    let boot = power.boot();
    let ram = Ram::new(options.memory << 20)?;
    let machine = Machine::new(&ram, options.vcpus)?;
    let image = boot::Image {
        kernel: &options.kernel,
        initrds: &options.initrd,
        cmdline: &cmdline(&options.append.join(" "), boot),
    };
    let entry = boot::load(&ram.mmap, ram.size(), &image)?;
    acpi::write(&ram.mmap, options.vcpus)?;
    boot::enter(&ram.mmap, &machine.vcpus[0], entry)?;

    let (queue, inbox) = mpsc::channel();
    let mailbox = Mailbox { queue, bell: Arc::new(EventFd::new(libc::EFD_NONBLOCK)?) };
    stop_on_sigterm(mailbox.clone())?;
    let console = log_file(out, "console.log", boot)?.map(LineWriter::new);
    let console = Tee(console, options.console == Console::Stdio);
    let lines = mailbox.clone();
    let irqs = [irq_line()?, irq_line()?];
    machine.irq(&irqs[0], 4)?;
    machine.irq(&irqs[1], 3)?;
    let [irq0, irq1] = irqs;
    let pages: Arc<Vec<Pages>> = Arc::new((0..options.vcpus).map(|_| Pages::default()).collect());
    let refusals = Arc::new(Refusals::default());
    let hold = Arc::new(Hold::default());
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
        hold: hold.clone(),
    });

    let level = match options.trace {
        TraceLevel::Off => Level::Off,
        TraceLevel::Messages => Level::Messages,
        TraceLevel::Packets => Level::Packets,
    };
    let trace = log_file(out, "trace.jsonl", boot)?
        .map(|file| Box::new(BufWriter::new(file)) as Box<dyn Write + Send>);
    let epoll = Arc::new(Epoll::new()?);
    let synic = Synic::new(ram.clone(), machine.vm.clone(), pages, epoll.clone(), refusals, hold);
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
    host.add("heartbeat", Box::new(Heartbeat::new()));
    host.add("shutdown", Box::new(Shutdown::new()));
    add_disks(&mut host, options, &mut power)?;
    for (n, what) in options.service.iter().enumerate() {
        if options.service[..n].contains(what) {
            bail!("--service {what}: twice");
        }
        let Some((name, device)) = services::make(what) else { bail!("--service {what}") };
        host.add(name, device);
    }
    let mut taps = Vec::new();
    if let Some(what) = &options.nic {
        let (name, first) = nic(what)?;
        for n in 0..=options.more_nics {
            let (name, config) = nth(name, &first, n)?;
            let tap = tap::Tap::open(&name)?;
            let fd = tap.fd();
            let card = Netvsp::new(config, Box::new(tap));
            taps.push((host.add(&format!("nic{n}"), Box::new(card)), fd));
        }
    }

    if let Some(ms) = options.pauses {
        host.pause_everywhere(ms);
    }
    host.add_null_devices(options.null_devices).map_err(anyhow::Error::msg)?;
    let mut events = Loop::new(host, epoll, inbox, &mailbox, shared.clone(), &machine.eom, power)?;
    events.log_control(log_file(out, "control.log", boot)?);
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
    if options.crash_kernel {
        events.outlive_crash();
    }
    let end = events.run(options.timeout.map(Duration::from_secs))?;
    Ok((end, events))
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok((Some(End::PowerCut), events)) => {
            // Only if that fails.
            eprintln!("hvhost: {:#}", events.start_anew(true));
            ExitCode::from(1)
        }
        Ok((mut end, mut events)) => {
            if options.expect_crash {
                end = Some(events.judge_crash(end));
            }
            let (code, exit, why) = match end {
                None | Some(End::Stopped) => (3, "timeout", String::new()),
                Some(End::Poweroff) => (0, "poweroff", String::new()),
                Some(End::Reset | End::PowerCut) => (4, "reset", String::new()),
                Some(End::Crash(why)) => (2, "crash", why),
                Some(End::Error(why)) => (2, "error", why),
            };
            if !why.is_empty() {
                eprintln!("hvhost: {why}");
            }
            let result = events.finish(exit, &why);
            // Broken rules would be forgotten: they end it.
            let sound = result["counters"].get("violations").is_none();
            if code == 0 && sound && events.boot() < options.boots {
                eprintln!("hvhost: {:#}", events.start_anew(false));
                return ExitCode::from(1);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_cards() {
        let (name, config) =
            nic("tap0,mac=02:00:00:00:00:0f,queues=4,nvsp=5,rsc=on,send-section=2048").unwrap();
        assert_eq!((name, config.mac[5], config.queues, config.rsc), ("tap0", 0xf, 4, true));
        assert_eq!((config.max_version, config.send_section), (0x5_0000, 2048));
        let (name, config) = nic("tap1").unwrap();
        assert_eq!((name, config.queues, config.rsc), ("tap1", 1, false));
        for bad in ["queues=0", "queues=65", "rsc=maybe", "nvsp=3", "mac=1", "mtu=1", "what"] {
            assert!(nic(&format!("tap0,{bad}")).is_err(), "{bad}");
        }
        let (name, config) = nth("tap0", &config, 3).unwrap();
        assert_eq!((name.as_str(), config.number, config.mac[5]), ("tap3", 3, 4));
        assert!(nth("tap", &config, 1).is_err());
        // The last one counts.
        let words = ["hvhost", "--kernel", "k", "--nic", "a", "--nic", "b"];
        assert_eq!(Options::parse_from(words).nic.unwrap(), "b");
    }
}
