# SPDX-License-Identifier: GPL-2.0
"""One boot of a guest: its job folder, and what its tests report while it runs."""

import dataclasses
import json
import pathlib
import re
import time

from . import count, cpio, machine, suite

GUEST_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "guest"
SUITES = pathlib.Path(__file__).resolve().parents[2] / "tests" / "suites"

BAD_LINE = re.compile(
    # Only the kernel's own lines begin with its time stamp.
    r"^\[ *\d+\.\d+\].*(?:"
    + re.search(r"^BAD_LINES='(.*)'$", (GUEST_FOLDER / "lib.sh").read_text(), re.M)[1]
    + ")"
)

# Seconds for what is no test: until READY, and from the last test to the end.
READY_WITHIN = 60
END_WITHIN = 60
# What a test gets over its own timeout, which the guest enforces while it can.
GRACE = 20
# With ICOUNT=1 the machine's clock goes this much slower than ours, at the worst.
ICOUNT_FACTOR = 40
# Kernel parameters by configuration. Warnings have to reach the console, with the
# kernel's time in front. Poison shows what a host writes to pages that were given back:
# KASAN does not see the host.
APPEND = {
    "fast": "loglevel=5 printk.time=1",
    "debug": "loglevel=5 printk.time=1 page_poison=1",
}


@dataclasses.dataclass
class Verdict:
    """How a test went: why is empty if it passed. began: it ran, at least in part."""

    test: object
    why: str
    seconds: float
    console: list
    began: bool = True
    # What it measured: name -> (value, unit, whether equal runs have to agree).
    figures: dict = dataclasses.field(default_factory=dict)
    # Seconds of processor time that the machine below used meanwhile.
    cpu: float = 0
    # The test itself says that it failed. Neither the kernel nor the host says that something is wrong.
    by_own_word: bool = False


class Tail:
    """The complete new lines of a file that another process writes."""

    def __init__(self, path):
        self._path = path
        self._file = None
        self._pending = b""

    def read(self):
        if self._file is None:
            try:
                self._file = open(self._path, "rb")
            except FileNotFoundError:
                return []
        *lines, self._pending = (self._pending + self._file.read()).split(b"\n")
        return [line.decode(errors="replace").rstrip("\r") for line in lines]


class Boot:
    """A guest that runs tests, or the demonstration, which is one test."""

    def __init__(self, number, tests, tools, shell=False, modules="hv_vmbus hv_utils hv_storvsc hv_netvsc"):
        self.number = number
        self.dir = machine.SHARE / "jobs" / str(number)
        self.dir.mkdir(parents=True)
        self.tests = tests
        self.shell = shell
        first = tests[0]
        slow = suite.KERNELS[first.kconfig]
        # How long what is no test may take, and how many seconds of ours a test's last.
        self._real = ICOUNT_FACTOR if first.icount else 1
        self._slow = slow * self._real
        job = (
            f"modules='{modules}'\ndisks=2\nnics=1\nshell={'1' if shell else ''}\n"
            f"export KCONFIG={first.kconfig} SLOW={slow} RUST='{' '.join(first.rust)}'\n"
        )
        lines = [f"{t.timeout} {t.times} {t.file} {t.name} {t.argument}".rstrip() + "\n" for t in tests]
        # The folders exist in base.cpio, with symbolic links that a folder here would replace.
        entries = [
            ("init", 0o755, (GUEST_FOLDER / "init").read_bytes()),
            ("bin/poweroff", 0o755, (GUEST_FOLDER / "poweroff").read_bytes()),
            ("hv/lib.sh", 0o644, (GUEST_FOLDER / "lib.sh").read_bytes()),
            ("hv/vf.sh", 0o644, (GUEST_FOLDER / "vf.sh").read_bytes()),
            ("hv/job", 0o644, job.encode()),
            ("hv/list", 0o644, "".join(lines).encode()),
            *cpio.files(SUITES, "hv/tests"),
            *((f"hv/tests/{name}", 0o644, (GUEST_FOLDER / name).read_bytes()) for name in ("demo.sh", "kmemleak.sh")),
        ]
        (self.dir / "job.cpio").write_bytes(cpio.archive(entries))
        limit = (READY_WITHIN + END_WITHIN) * slow + sum(t.timeout + GRACE for t in tests)
        argv = ["@hvhost", "--kernel", f"@vmlinux-{first.kconfig}", "--initrd", f"@base-{first.kconfig}.cpio"]
        # Each takes the place of the module in C, which has the same name.
        for name in first.rust:
            argv += ["--initrd", f"@rust-{first.kconfig}-{name}.cpio"]
        for name in tools:
            argv += ["--initrd", f"@tools-{name}.cpio"]
        argv += ["--initrd", f"@kernel-{first.kconfig}.cpio"] if first.kernel else []
        argv += ["--initrd", f"jobs/{number}/job.cpio"]
        append = APPEND.get(first.kconfig, APPEND["fast"])
        argv += ["--append", f"{append} {first.append}".rstrip()]
        argv += ["--vcpus", str(first.vcpus), "--memory", str(first.memory)]
        argv += ["--disk", "256M", "--disk", "64M", "--nic", "tap0"]
        argv += ["--console", "stdio" if shell else "log", *first.host]
        # What the guest uses before the host has given it back shows on debug.
        if first.pattern and "--pattern" not in first.host:
            argv.append("--pattern")
        # A shell ends when its user wants.
        argv += [] if shell else ["--timeout", str(limit)]
        (self.dir / "argv").write_text("".join(f"{word}\n" for word in argv))

        self.verdicts = {}
        self._control = Tail(self.dir / "control.log")
        self._console = Tail(self.dir / "console.log")
        self._console_of = {"": []}
        self._marked = ""
        self._current = None
        self._began = 0.0
        self._host = None
        self._used = 0
        # Seconds of the machine's processor time until READY, and after the last test.
        self.cost = {}
        self._figures = {}
        self._sections = []
        self._intervals = 0
        self._result = {}

    def run(self, host, told):
        """Runs it on a machine; told(kind, text or Verdict) hears what happens, live."""
        self._host = host
        host.command(f"{'shell' if self.shell else 'run'} {self.number}")
        deadline = time.monotonic() + READY_WITHIN * self._slow
        self._began = time.monotonic()
        self._used = host.cpu()
        ended = killed = None
        while ended is None:
            message = host.poll(0.05)
            if message and message.startswith(f"end {self.number} "):
                ended = int(message.split()[2])
            deadline = self._follow(told) or deadline
            if time.monotonic() > deadline and not killed:
                killed = self._what_hangs()
                host.command("kill")
                deadline = time.monotonic() + END_WITHIN * self._slow
            elif time.monotonic() > deadline:
                raise machine.Dead("the VMM cannot be killed")
        self._follow(told)
        self.cost["end"] = round(host.cpu() - self._used, 2)
        self._finish(ended, killed, told)
        return self._result

    def doing(self):
        """What it does now, and for how many seconds."""
        what = self._current or f"{'the end' if self.verdicts else 'the boot'} of {self.tests[0]}"
        return str(what), time.monotonic() - self._began

    def remaining(self):
        """The tests that have no verdict yet."""
        return [test for test in self.tests if test not in self.verdicts]

    def lost(self, why, log):
        """The verdict for the test that ran when the machine below the guest died."""
        test = self._current or next(iter(self.remaining()), self.tests[-1])
        self.verdicts[test] = Verdict(test, why, 0, self.console_of(test) + log, False)
        return self.verdicts[test]

    def console_of(self, test):
        return self._console_of.get(test.name, [])

    def _follow(self, told):
        """Takes what is new; returns the new deadline if there is one."""
        deadline = None
        # The console first: a test's marker and splats precede its verdict.
        for line in self._console.read():
            name = re.match(r"^\[ *\d+\.\d+\] hvtest: (.*)$", line)
            if name:
                self._marked = name[1]
                self._console_of.setdefault(self._marked, [])
            self._console_of[self._marked].append(line)
        for line in self._control.read():
            _, _, message = line.partition(" guest ")
            word, _, rest = message.partition(" ")
            now = time.monotonic()
            if word == "READY":
                told("ready", self)
                self.cost["boot"] = round(self._host.cpu() - self._used, 2)
                deadline = now + READY_WITHIN * self._slow
            elif word == "BEGIN":
                self._current = next((t for t in self.tests if t.name == rest), None)
                self._began = now
                self._used = self._host.cpu()
                self._figures = {}
                if self._current:
                    deadline = now + (self._current.timeout + GRACE) * self._real
            elif word in ("PASS", "FAIL") and self._current:
                why = "" if word == "PASS" else rest or "it does not say why"
                self._judge(self._current, why, now - self._began, told)
                self._current = None
                self._began = now
                deadline = now + END_WITHIN * self._slow
            elif word == "NOTE":
                told("note", rest)
            elif word == "FIGURE":
                name, value, unit = rest.split(" ", 2)
                self._figures[name] = (float(value), unit, True)
                told("note", f"{self._current}: {name} {value} {unit}")
            elif word == "SECTION":
                self._sections.append(rest.split())
            elif word == "COUNTED":
                self._take_counts(told, *rest.split())
            elif word == "SHELL":
                told("shell", self)
                deadline = float("inf")
        return deadline

    def _take_counts(self, told, name, times, ns, signals, interrupts):
        """What an interval cost, for each of so many operations; symbols-NAME in the job folder has more."""
        times = int(times)
        first = self.tests[0]
        build = machine.CACHE / "build"
        symbols = count.Symbols(build / first.kconfig, build / f"{first.kconfig}-rust", first.rust)
        for module, section, address in self._sections:
            symbols.add(module, section, int(address, 16))
        symbols.sort()
        counts = count.Counts(self._host.counted, self._intervals, symbols)
        self._intervals += 1
        counts.write(self.dir / f"symbols-{name}", times)
        for what, number, unit in (
            ("drivers", counts.drivers, "instructions in drivers, bus and abstractions"),
            ("kernel", counts.kernel, "instructions in the guest's kernel"),
            ("user", counts.user, "instructions in the guest's programs"),
            ("exits", counts.exits, "exits to the VMM"),
            ("signals", int(signals), "signals to the host"),
            ("interrupts", int(interrupts), "interrupts"),
            ("time", int(ns), "ns, with the host and what is below it"),
        ):
            # How many packets an interrupt is good for depends on when the host gets to run.
            self._figures[f"{name} {what}"] = (number / times, unit, False)
            told("note", f"{self._current}: {name} {what} {number / times:.1f} {unit}")

    def _judge(self, test, why, seconds, told):
        bad = next(filter(BAD_LINE.match, self.console_of(test)), None)
        if bad and not why:
            why = f"the kernel's log: {bad}"
        now = self._host.cpu()
        used, self._used = now - self._used, now
        self.verdicts[test] = Verdict(
            test, why, seconds, self.console_of(test), figures=self._figures, cpu=used, by_own_word=bool(why) and not bad,
        )  # fmt: skip
        told("verdict", self.verdicts[test])

    def _what_hangs(self):
        if self._current:
            return f"no end after {self._current.timeout} s, and the guest does not stop it"
        if self.verdicts:
            return f"the guest does not power off within {END_WITHIN * self._slow} s after its tests"
        return f"the guest is not ready within {READY_WITHIN * self._slow} s"

    def _finish(self, status, killed, told):
        """The end of the boot decides about a test without verdict, and may spoil the last one."""
        try:
            self._result = json.loads((self.dir / "result.json").read_text())
        except (OSError, ValueError):
            self._result = {}
        if killed:
            why = killed
        elif status == 1 or not self._result:
            stderr = self.dir / "stderr"
            lines = stderr.read_text(errors="replace").splitlines() if stderr.exists() else []
            why = f"the VMM failed with status {status}: {lines[-1] if lines else 'it says nothing'}"
        elif status == 0 and not self._current and self.verdicts:
            why = ""
        else:
            why = " ".join(("the guest ended by", self._result["exit"], self._result.get("why", ""))).rstrip()
        last = self._current or next(reversed(self.verdicts), None) or self.tests[0]
        known = self.verdicts.get(last)
        bad = next(filter(BAD_LINE.match, self.console_of(last)), None)
        broken = self._result.get("counters", {}).get("violations", 0)
        if bad:
            why = why or f"the kernel's log: {bad}"
        if broken:
            why = why or f"the host saw {broken} broken rules; look for 'violation' in {self.dir / 'trace.jsonl'}"
        if why and not (known and known.why):
            began = bool(known or self._current)
            seconds = known.seconds if known else time.monotonic() - self._began if began else 0
            lines = self.console_of(last) or self._console_of[""]
            self.verdicts[last] = Verdict(last, why, seconds, lines, began)
            told("verdict", self.verdicts[last])
