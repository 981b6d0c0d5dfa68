#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Boots guests under the test host and runs the tests of tests/suites in them.

    run.py test     the tests that SUITE=, TEST=, VCPUS=, KCONFIG=, SOAK= and ICOUNT= choose
    run.py bench    those whose figures repeat, with the drivers in C and in Rust, and a table
    run.py list     their names
    run.py demo     one guest that shows a disk and a network card working; with a
                    terminal on stdin it leaves a shell there

HOST=kvm|tcg decides where guests run: on this machine's KVM, or in a Linux with KVM that
QEMU emulates. By default the former if this KVM emulates Hyper-V.
KCONFIG= names the guests' kernel configuration: fast, debug, builtin, rt, cfi. VMBUS=c|rust|both chooses the
bus driver, STORVSC= and NETVSC= the others; with both, all tests run with the one in C, and those
about the driver with the one in Rust too. Without any of them each test runs once, with all drivers in
Rust, and with SOAK=1 in every mixture and with C too.
If nothing is chosen, up to five tests that fail without a word of the kernel or the host run once more,
alone, and the run ends with their names: tests that share two processors can be late for each other.
MACHINES=N lets N machines work at the same time. KEEP=1 puts the job folders of the run aside.
Exit status: 0 if every test passed and at least one ran, 1 if not, 2 for a mistake in the call or the set-up.
"""

import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[1]

if __name__ == "__main__" and not pathlib.Path("/.hvrust-base").exists():
    # Everything below needs the Debian root's programs; common.sh also takes the lock.
    enter = '. scripts/common.sh; [ "${1:-}" = list ] || heavy_lock; in_root scripts/run.py "$@"'
    os.chdir(TOP)
    os.execvp("bash", ["bash", "-c", enter, "run.py", *sys.argv[1:]])

from runner import boot, cpio, machine, report, shell, suite  # noqa: E402

# L1's kernel, and most guests'.
FAST = "fast"
# The phase of tests that want to be alone and whose machine takes one processor, as the others' do.
QUIET = (True, 2)
# A disk with Debian, which guests find in the share.
DEBIAN = "debian.ext4"
# MiB that a machine needs besides its guest's memory: its initramfs with the guests' files,
# the disks, its own Linux.
L1_MEMORY = 1280


def machines():
    """How many machines run at the same time. For each of this machine's processors two: tests sleep
    half of their time."""
    count = os.environ.get("MACHINES") or str(2 * os.cpu_count())
    if not count.isdecimal() or int(count) == 0:
        raise suite.Mistake(f"MACHINES={count}: it takes a number")
    return int(count)


class Guests:
    """What all guests boot from, and how to start the machines that they run on."""

    def __init__(self, tests):
        """Makes what is missing: kernels, images, QEMU."""
        # A tree of the user's own is built beside Debian's.
        tree = "-ksrc" if os.environ.get("KSRC") else ""
        self._l1_kernel = machine.CACHE / "build" / f"{FAST}{tree}" / "arch/x86/boot/bzImage"
        self.icount = any(test.icount for test in tests)
        self._memory = max(test.memory for test in tests) + L1_MEMORY
        self._folders = itertools.count(1)
        # Tests that ran when the machine below their guest died.
        self.deaths = []
        choice = os.environ.get("HOST", "")
        if choice not in ("", "kvm", "tcg"):
            raise suite.Mistake(f"HOST={choice}: it takes kvm or tcg")
        self.direct = machine.has_hyperv() if choice == "" else choice == "kvm"
        if self.direct and not machine.has_hyperv():
            raise suite.Mistake("HOST=kvm: /dev/kvm is missing or has no Hyper-V emulation; use HOST=tcg")
        if self.icount:
            self.direct = False

        hvhost = machine.CACHE / "host-target/release/hvhost"
        if not hvhost.exists():
            raise suite.Mistake(f"{hvhost} is missing: scripts/host.sh makes it")
        self._files = {"hvhost": hvhost}
        configs = {test.kconfig for test in tests}
        for config in sorted(configs if self.direct else configs | {FAST}, reverse=True):
            self._make("kernel.sh", config)
        for config in sorted(configs):
            here = [test for test in tests if test.kconfig == config]
            rust = sorted({module for test in here for module in test.rust})
            if rust:
                self._make("modules.sh", config)
            self._make("image.sh", f"{config}{tree}", *rust)
            image = machine.CACHE / "image" / f"{config}{tree}"
            build = machine.CACHE / "build" / f"{config}{tree}"
            self._files[f"vmlinux-{config}"] = build / "vmlinux"
            self._files[f"base-{config}.cpio"] = image / "base.cpio"
            for module in rust:
                self._files[f"rust-{config}-{module}.cpio"] = image / f"rust-{module}.cpio"
        if not self.direct:
            self._make("qemu.sh")
        tools = machine.CACHE / "image/tools"
        self._sets = dict(line.split() for line in (tools / "list").read_text().splitlines())
        for name in self._tools(tests):
            self._files[f"tools-{name}.cpio"] = tools / f"{name}.cpio"
        shutil.rmtree(machine.SHARE, ignore_errors=True)
        (machine.SHARE / "jobs").mkdir(parents=True)
        if any(DEBIAN in word for test in tests for word in test.host):
            image = machine.CACHE / "image" / DEBIAN
            if not image.exists():
                raise suite.Mistake(f"there is no {image}: scripts/debian.sh makes it")
            (machine.SHARE / DEBIAN).hardlink_to(image)
        for config in sorted({test.kconfig for test in tests if test.kernel}):
            if config != FAST:
                self._make("kernel.sh", config, "bzImage")
            image = machine.CACHE / "build" / f"{config}{tree}" / "arch/x86/boot/bzImage"
            self._files[f"kernel-{config}.cpio"] = machine.SHARE / f"kernel-{config}.cpio"
            entry = ("hv/bzImage", 0o644, image.read_bytes())
            self._files[f"kernel-{config}.cpio"].write_bytes(cpio.archive([entry]))

    @staticmethod
    def _make(script, *words):
        if subprocess.run([TOP / "scripts" / script, *words], stdin=subprocess.DEVNULL, check=False).returncode:
            raise suite.Mistake(f"scripts/{script} failed")

    def _tools(self, tests):
        asked = {tool for test in tests for tool in test.tools}
        if missing := asked - self._sets.keys():
            raise suite.Mistake(f"'# tools:' asks for {' '.join(missing)}; scripts/image.sh has no such program")
        return sorted({self._sets[tool] for tool in asked})

    def machine(self, vcpus=1, alone=True):
        """A new machine for guests of so many processors. One that does not come up gets a second chance."""
        for last in (False, True):
            try:
                return machine.Machine(
                    self._files, None if self.direct else self._l1_kernel, self._memory,
                    threads=alone and vcpus == 1 and not self.icount, icount=self.icount,
                )
            except machine.Dead:
                if last:
                    raise

    def prepare(self, tests, **options):
        """A guest that will run these tests."""
        return boot.Boot(next(self._folders), tests, self._tools(tests), **options)


class Plan:
    """The boots that are left, for machines that work at the same time."""

    def __init__(self, boots):
        self._changed = threading.Condition()
        self._waiting = list(boots)
        self._running = []
        self._useless = 0
        self.error = None
        self.hopeless = False

    def take(self):
        """The tests of the next boot, or None if nothing is left and nothing can come back."""
        with self._changed:
            while not self._waiting and self._running and not self.error:
                self._changed.wait()
            if not self._waiting or self.error or self.hopeless:
                return None
            self._running.append(self._waiting.pop(0))
            return self._running[-1]

    def done(self, tests, guest):
        """A boot of these tests ended; what it did not get to comes back.

        If no test began in three boots, none will, and nothing comes back.
        """
        with self._changed:
            self._running.remove(tests)
            if guest.remaining() and not suite.only_leaks(guest.remaining()):
                self._waiting.insert(0, guest.remaining())
            began = any(verdict.began for verdict in guest.verdicts.values())
            self._useless = 0 if began else self._useless + 1
            self.hopeless = self.hopeless or self._useless == 3
            self._changed.notify_all()

    def is_over(self):
        """Whether nothing is left and nothing can come back."""
        with self._changed:
            return not self._running and (not self._waiting or self.hopeless or self.error is not None)

    def left(self):
        """The tests of boots that nobody took."""
        return sum(self._waiting, [])

    def stop(self, error):
        """Lets nothing begin any more."""
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()

    def failed(self, tests, error):
        """The machine for these tests cannot be had."""
        with self._changed:
            self._running.remove(tests)
        self.stop(error)


class Worker(threading.Thread):
    """One machine that takes boots from plans, one after the other."""

    def __init__(self, guests, plans, out, *what):
        super().__init__(daemon=True)
        self._guests = guests
        self._plans = plans
        self._out = out
        self._what = what
        self._machine = None
        self.guest = None
        self.start()

    def run(self):
        plan = None
        try:
            for plan in self._plans:
                while (tests := plan.take()) is not None:
                    self._take(plan, tests)
        except Exception as error:  # A thread's last words would be lost otherwise.
            plan.stop(error)
            raise
        finally:
            self._close()

    def _take(self, plan, tests):
        try:
            if self._machine is None:
                self._machine = self._guests.machine(*self._what)
        except (machine.Dead, OSError) as error:
            plan.failed(tests, error)
            return
        told = self._out.listener()
        self.guest = self._guests.prepare(tests)
        self._boot(self.guest, told)
        told.flush()
        if tests[0].icount:
            # What ran in a machine before changes what it costs after.
            self._close()
        plan.done(tests, self.guest)
        self.guest = None

    def _boot(self, guest, told):
        try:
            result = guest.run(self._machine, told)
            self._out.boots.append({"first": str(guest.tests[0]), **guest.cost})
            if "ready_ms" in result:
                self._out.ready.append(result["ready_ms"])
        except machine.Dead as death:
            self._close()
            lost = guest.lost(str(death), death.log)
            if lost.test in self._guests.deaths:
                told("verdict", lost)
                return
            # No guest can do that: QEMU or L1 is at fault. Said aloud, and tried once more.
            self._guests.deaths.append(lost.test)
            del guest.verdicts[lost.test]
            then = "leaks were not looked for" if suite.only_leaks([lost.test]) else "the test runs once more"
            told("note", f"{lost.test}: {death}; {then}")
            for line in lost.console[-100:]:
                told("note", f"| {line}")

    def _close(self):
        if self._machine:
            self._machine.close()
        self._machine = None


def run_phase(boots, guests, out, *what, count=1, quiet=()):
    """Runs boots on so many machines, and before that those that want to be alone: an emulated machine
    takes one processor, so that one other can go on beside them. Returns whether there is no use in
    going on."""
    first, plan = Plan(quiet), Plan(boots)
    workers = [Worker(guests, plans, out, *what) for plans in ((first, plan), (plan,))[:count]]
    while any(worker.is_alive() for worker in workers):
        for worker in workers:
            worker.join(0.1)
        if first.is_over():
            workers += [Worker(guests, (plan,), out, *what) for _ in range(count - len(workers))]
        if error := first.error or plan.error:
            first.stop(error)
            plan.stop(error)
        out.still([worker.guest.doing() for worker in workers if worker.guest])
    if error := first.error or plan.error:
        raise error
    out.not_run(first.left() + plan.left())
    return first.hopeless or plan.hopeless


def test(tests, guests, doubt):
    """Runs tests in as few boots as their headers allow, on as many machines as there are. With doubt,
    what failed by its own word runs once more, alone."""
    out = report.Report()
    boots = suite.group(tests)
    hopeless = False
    try:
        phases = {}
        for tests in boots:
            phases.setdefault((True, 1) if guests.direct else tests[0].phase(), []).append(tests)
        # Not with counted instructions, whose machines are told otherwise.
        quiet = phases.pop(QUIET, []) if (False, 0) in phases and not guests.icount else []
        for (alone, vcpus), phase in sorted(phases.items()):
            if hopeless:
                out.not_run(sum(phase + quiet, []))
                continue
            count = 1 if alone else min(machines(), len(phase + quiet))
            where = "this machine's KVM" if guests.direct else (
                f"{count} emulated machine{'s' if count > 1 else ''} with KVM"
                f"{', one test at a time' if alone else ''}"
            )  # fmt: skip
            out.say(f"{len(sum(phase + quiet, []))} tests in {len(phase + quiet)} boots, on {where}")
            hopeless = run_phase(phase, guests, out, vcpus, alone, count=count, quiet=quiet)
            quiet = []
        for doubted in out.doubt() if doubt and not hopeless else []:
            out.say(f"{doubted} runs once more, with nothing beside it")
            run_phase([[doubted]], guests, out, min(doubted.vcpus, 2), True)
        return out.end(guests.deaths)
    finally:
        if os.environ.get("KEEP", "") not in ("", "0"):
            kept = machine.CACHE / "kept" / time.strftime("%Y%m%d-%H%M%S")
            kept.parent.mkdir(exist_ok=True)
            (machine.SHARE / "jobs").rename(kept)
            out.say(f"job folders: kept/{kept.name} in the cache")


def demo(the_test, guests):
    """The demonstration behind "make run"."""
    interactive = sys.stdin.isatty()
    outcome = []

    def told(kind, what):
        if kind == "note":
            print(what, flush=True)
        elif kind == "shell":
            print('Here is a shell in the guest; "exit" powers it off.', flush=True)
            terminal.attach()
        elif kind == "verdict":
            outcome.append(what)
            if what.why:
                print(f"It did not work: {what.why}", *what.console[-40:], sep="\n  | ", flush=True)

    start = time.monotonic()
    where = "this machine's KVM" if guests.direct else "an emulated machine with KVM"
    print(f"Booting a guest on our Hyper-V host, on {where} ...", flush=True)
    below = guests.machine()
    terminal = shell.Terminal(below) if interactive else None
    guest = guests.prepare([the_test], shell=interactive)
    try:
        guest.run(below, told)
    finally:
        if terminal:
            terminal.detach()
        below.close()
    good = bool(outcome) and not any(verdict.why for verdict in outcome)
    print(f"{'Everything came back right' if good else 'FAILED'} ({time.monotonic() - start:.0f} s).", flush=True)
    return 0 if good else 1


def main():
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command not in ("test", "bench", "list", "demo"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if command == "demo":
            kconfig = os.environ.get("KCONFIG") or FAST
            if kconfig not in suite.KERNELS:
                raise suite.Mistake(f"KCONFIG={kconfig}: guests run on {' or '.join(suite.KERNELS)}")
            the_test = suite.Test(
                "demo", "demo.sh", kconfig=kconfig, timeout=120 * suite.KERNELS[kconfig], tools=("mkfs.ext4",),
                memory=512 if kconfig == FAST else 1024,
            )  # fmt: skip
            # All there is in Rust, unless somebody wants it otherwise.
            wanted = {name: os.environ.get(name) or "rust" for name, _ in suite.DRIVERS.values()}
            the_test = suite.with_drivers(the_test, suite.driver_sets(wanted)[0])
            return demo(the_test, Guests([the_test]))
        choose = suite.bench if command == "bench" else suite.choose
        tests = choose(suite.load(boot.SUITES), os.environ)
        if command == "list":
            print(*tests, sep="\n")
            return 0
        return test(tests, Guests(tests), doubt=command == "test" and suite.is_everything(os.environ))
    except (suite.Mistake, machine.Dead) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
