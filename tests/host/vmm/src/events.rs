// SPDX-License-Identifier: GPL-2.0

//! The host's one thread: messages, signals, frames, time and the control line.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::Receiver;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hvengine::{Host, Level};
use serde_json::{json, Value};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::terminal::Terminal;

use crate::cut::Power;
use crate::results::Results;
use crate::serial::Port;
use crate::synic::SIGNAL_TOKEN;
use crate::vcpu::{End, Event, Mailbox, Shared};

// What epoll tells us about; signals carry SIGNAL_TOKEN.
const BELL: u64 = 0;
const EOM: u64 = 1;
const STDIN: u64 = 2;
const BACKEND: u64 = 1 << 33;

/// Devices hear of the time this often.
const TICK: Duration = Duration::from_secs(1);
/// A message waits for the guest's slot: look by ourselves this often, whatever KVM tells.
const RETRY: Duration = Duration::from_millis(10);
/// After a crash report the guest has this long to reset or power off.
const CRASH_GRACE: Duration = Duration::from_secs(10);

/// The loop and what it serves.
pub struct Loop {
    host: Host,
    epoll: Arc<Epoll>,
    inbox: Receiver<Event>,
    bell: Arc<EventFd>,
    shared: Arc<Shared>,
    eom: EventFd,
    results: Results,
    start: Instant,
    raw_terminal: bool,
    /// Every line of the control line in both directions, as it happens: `MS guest|host TEXT`.
    control_log: Option<File>,
    /// The crash's parameters, and until when the guest may end by itself.
    crash: Option<(String, Instant)>,
    /// A crash is the beginning of another kernel.
    outlives: bool,
    power: Power,
    /// When the power is cut.
    cut: Option<Instant>,
}

impl Loop {
    /// A loop over `inbox` (rung by `mailbox`), the messages' acknowledgements and what is
    /// watched later.
    pub fn new(
        host: Host,
        epoll: Arc<Epoll>,
        inbox: Receiver<Event>,
        mailbox: &Mailbox,
        shared: Arc<Shared>,
        eom: &EventFd,
        power: Power,
    ) -> Result<Self> {
        let this = Self {
            host,
            epoll,
            inbox,
            bell: mailbox.bell.clone(),
            shared,
            eom: eom.try_clone()?,
            results: Results::new(),
            start: Instant::now(),
            raw_terminal: false,
            control_log: None,
            crash: None,
            outlives: false,
            power,
            cut: None,
        };
        this.watch(this.bell.as_raw_fd(), EventSet::IN, BELL)?;
        this.watch(this.eom.as_raw_fd(), EventSet::IN, EOM)?;
        Ok(this)
    }

    /// From now on crashes are counted only.
    pub fn outlive_crash(&mut self) {
        self.outlives = true;
    }

    fn watch(&self, fd: RawFd, events: EventSet, token: u64) -> Result<()> {
        let event = EpollEvent::new(events, token);
        self.epoll.ctl(ControlOperation::Add, fd, event).context("epoll")
    }

    /// Watches a device's backend. Edge triggered: a device that has no room for a frame comes
    /// back for it by itself.
    pub fn watch_backend(&self, index: usize, fd: RawFd) -> Result<()> {
        self.watch(fd, EventSet::IN | EventSet::EDGE_TRIGGERED, BACKEND | index as u64)
    }

    /// Writes the control line's traffic there.
    pub fn log_control(&mut self, file: Option<File>) {
        self.control_log = file;
    }

    fn log(&mut self, who: &str, text: &str) {
        if let Some(file) = &mut self.control_log {
            // One write per line: a reader follows the file.
            let line = format!("{} {who} {text}\n", self.start.elapsed().as_millis());
            let _ = file.write_all(line.as_bytes());
        }
    }

    /// Sends the terminal's input to the console.
    pub fn watch_stdin(&mut self) -> Result<()> {
        let stdin = std::io::stdin();
        self.raw_terminal = stdin.lock().set_raw_mode().is_ok();
        self.watch(stdin.as_raw_fd(), EventSet::IN, STDIN)
    }

    /// Runs until the machine ends; `None` when the time is over before.
    pub fn run(&mut self, timeout: Option<Duration>) -> Result<Option<End>> {
        let deadline = timeout.map(|timeout| self.start + timeout);
        let mut next_tick = self.start + TICK;
        let mut busy = false;
        let mut events = [EpollEvent::default(); 64];
        loop {
            let wait = if busy { Duration::ZERO } else { self.idle_for(next_tick) };
            let n = match self.epoll.wait(wait.as_millis() as i32, &mut events) {
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => 0,
                Err(e) => return Err(e).context("epoll"),
            };
            self.host.advance(self.start.elapsed().as_millis() as u64);
            for event in &events[..n] {
                match event.data() {
                    BELL => {
                        let _ = self.bell.read();
                        while let Ok(event) = self.inbox.try_recv() {
                            if let Some(end) = self.event(event) {
                                return Ok(Some(end));
                            }
                        }
                    }
                    EOM => {
                        let _ = self.eom.read();
                        self.host.message_slot_free();
                    }
                    STDIN => self.stdin()?,
                    token if token & SIGNAL_TOKEN != 0 => self.host.guest_signal(token as u32),
                    token => self.host.backend((token & !BACKEND) as usize),
                }
            }
            busy = self.host.serve();
            if self.host.messages_waiting() {
                self.host.message_slot_free();
            }
            let now = Instant::now();
            if now >= next_tick {
                self.host.tick((now - self.start).as_millis() as u64);
                self.host.trace.flush();
                next_tick = now + TICK;
            }
            if self.cut.is_some_and(|at| now >= at) {
                return Ok(Some(End::PowerCut));
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(None);
            }
            if let Some((why, until)) = &self.crash {
                if now >= *until {
                    return Ok(Some(End::Crash(why.clone())));
                }
            }
        }
    }

    /// How long nothing has to be done if nothing happens.
    fn idle_for(&self, next_tick: Instant) -> Duration {
        let now = Instant::now();
        let mut wait = next_tick.saturating_duration_since(now);
        if self.host.messages_waiting() {
            wait = wait.min(RETRY);
        }
        if let Some(at) = self.cut {
            wait = wait.min(at.saturating_duration_since(now));
        }
        if let Some(ms) = self.host.next_event() {
            // Rounded up: epoll counts whole milliseconds.
            let due = self.start.checked_add(Duration::from_millis(ms.saturating_add(1)));
            wait = due.map_or(wait, |due| wait.min(due.saturating_duration_since(now)));
        }
        wait
    }

    fn event(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Message(message) => self.host.guest_message(&message),
            Event::Signal(connection) => self.host.guest_signal(connection),
            Event::Line(line) => self.line(&line),
            Event::Crash(parameters) => {
                let [a, b, c, d, e] = parameters;
                let why = format!("the guest reports a crash: {a:#x} {b:#x} {c:#x} {d:#x} {e:#x}");
                let fields = json!({ "parameters": parameters });
                self.host.trace.event(Level::Messages, "crash", fields);
                self.host.trace.count("crash_reports", 1);
                self.host.trace.count(
                    "crash_parameters",
                    parameters.iter().filter(|p| **p != 0).count() as u64,
                );
                if !self.outlives {
                    self.crash = Some((why, Instant::now() + CRASH_GRACE));
                }
            }
            // A reset after a crash report is the crash's end.
            Event::End(end) => {
                return Some(self.crash.take().map_or(end, |(why, _)| End::Crash(why)))
            }
        }
        None
    }

    fn line(&mut self, line: &str) {
        self.log("guest", line);
        let Some(command) = self.results.line(line) else { return };
        let ready = self.results.ready().ok_or_else(|| "the guest was not ready yet".to_owned());
        let answer = match (command, self.about_power(command)) {
            (_, Some(answer)) => answer,
            ("ready", None) => ready,
            ("count begin", None) => {
                count_begin();
                Ok(String::new())
            }
            ("count end", None) => {
                count_end();
                Ok(String::new())
            }
            (_, None) => self.host.command(command),
        };
        let answer = match answer {
            Ok(text) => format!("ok {text}"),
            Err(why) => format!("error {why}"),
        };
        self.log("host", answer.trim_end());
        self.shared.ports[1].send(format!("{}\n", answer.trim_end()).as_bytes());
    }

    /// `cut [MS]`: cuts the power, now or in so many milliseconds. `remember TEXT`, `recall`: what
    /// is to be known after that.
    fn about_power(&mut self, command: &str) -> Option<Result<String, String>> {
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match word {
            "cut" => {
                let ms = if rest.is_empty() { Ok(0) } else { rest.parse() };
                let Ok(ms) = ms else { return Some(Err(format!("not a number: {rest}"))) };
                self.cut = Some(Instant::now() + Duration::from_millis(ms));
            }
            "remember" => self.power.remember(rest),
            "recall" => return Some(Ok(self.power.recall().to_owned())),
            _ => return None,
        }
        Some(Ok(String::new()))
    }

    /// How often the guest was started.
    pub fn boot(&self) -> u32 {
        self.power.boot()
    }

    /// Starts the guest anew, after its power was cut or it has powered off: returns only if that
    /// cannot be, and why.
    pub fn start_anew(mut self, cut: bool) -> anyhow::Error {
        self.host.trace.flush();
        self.shared.ports.iter().for_each(Port::flush);
        match self.power.start_anew(cut) {
            Ok(()) => anyhow::anyhow!("the guest was not started again"),
            Err(why) => why,
        }
    }

    fn stdin(&mut self) -> Result<()> {
        let mut buf = [0; 256];
        let stdin = std::io::stdin();
        let n = stdin.lock().read_raw(&mut buf).unwrap_or(0);
        if n == 0 {
            self.epoll.ctl(ControlOperation::Delete, stdin.as_raw_fd(), EpollEvent::default())?;
        }
        self.shared.ports[0].send(&buf[..n]);
        Ok(())
    }

    /// What the end of a machine means that was to crash.
    pub fn judge_crash(&self, end: Option<End>) -> End {
        let counter = |name| self.host.trace.counter(name);
        match end {
            Some(End::Crash(_)) if counter("crash_reports") == 0 => {
                End::Error("the guest crashed without a report".into())
            }
            Some(End::Crash(_)) if counter("crash_parameters") == 0 => {
                End::Error("the guest's crash report is empty".into())
            }
            Some(End::Crash(_)) if counter("unloads") == 0 => {
                End::Error("the guest crashed without leaving the bus".into())
            }
            Some(End::Crash(_)) => End::Poweroff,
            other => End::Error(format!("the guest was to crash, and ended with {other:?}")),
        }
    }

    /// Puts the terminal back and returns what result.json holds.
    pub fn finish(&mut self, exit: &str, why: &str) -> Value {
        if self.raw_terminal {
            let _ = std::io::stdin().lock().set_canon_mode();
        }
        self.host.trace.flush();
        self.shared.ports.iter().for_each(Port::flush);
        self.results.json(exit, why, json!(self.host.trace.counters()))
    }
}

/// A NOP for the plugin that counts instructions (tests/l1/qemu/count.c).
macro_rules! mark {
    ($name:ident, $last:literal, $doc:literal) => {
        #[doc = $doc]
        fn $name() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: This is `nopl (%rax)` with some displacement, which does nothing.
            unsafe {
                core::arch::asm!(
                    concat!(".byte 0x0f, 0x1f, 0x80, 0x48, 0x56, 0x52, ", $last),
                    options(nomem, nostack, preserves_flags)
                )
            };
        }
    };
}

mark!(count_begin, "0x42", "An interval begins.");
mark!(count_end, "0x45", "It ends.");
