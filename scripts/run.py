#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Boots guests under the test host and runs the tests of tests/suites in them.

    run.py test     the tests that SUITE=, TEST= and VCPUS= choose (all of them otherwise)
    run.py list     their names
    run.py demo     one guest that shows a disk and a network card working; with a
                    terminal on stdin it leaves a shell there

HOST=kvm|tcg decides where guests run: on this machine's KVM, or in a Linux with KVM that
QEMU emulates. By default the former if this KVM emulates Hyper-V.
KCONFIG= names the guests' kernel configuration (fast). Exit status: 0 if every test
passed and at least one ran, 1 if not, 2 for a mistake in the call or the set-up.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[1]

if __name__ == "__main__" and not pathlib.Path("/.hvrust-base").exists():
    # Everything below needs the Debian root's programs; common.sh also takes the lock.
    enter = '. scripts/common.sh; [ "${1:-}" = list ] || heavy_lock; in_root scripts/run.py "$@"'
    os.chdir(TOP)
    os.execvp("bash", ["bash", "-c", enter, "run.py", *sys.argv[1:]])

from runner import boot, machine, shell, suite  # noqa: E402

# The kernel of L1 and, unless KCONFIG= says otherwise, of the guests.
FAST = "fast"


class Report:
    """Prints what happens and counts."""

    def __init__(self):
        self.verdicts = {}
        self.ready = []

    def hear(self, kind, what):
        if kind == "note":
            print(f"     {what}", flush=True)
        elif kind == "verdict":
            self.verdict(what)

    def verdict(self, verdict):
        test, why = verdict.test, verdict.why
        failed = bool(why)
        text = f"{test} {verdict.seconds:.1f} s"
        if test.xfail:
            spot, reason = test.xfail
            if not why:
                failed, why = True, f"passed, but C is expected to fail: {spot}"
            elif re.search(reason, why):
                failed, why = False, ""
                text += f" (fails with C as expected: {spot})"
            else:
                why += f" (C is expected to fail by {spot}, with another reason: {reason})"
        self.verdicts[test] = {
            "name": test.name, "vcpus": test.vcpus, "result": "fail" if failed else "pass",
            "why": why, "seconds": round(verdict.seconds, 2),
        }  # fmt: skip
        if not failed:
            print(f"ok   {text}", flush=True)
            return
        print(f"FAIL {test}: {why}", flush=True)
        for line in verdict.console[-100:]:
            print(f"     | {line}", flush=True)

    def end(self, deaths):
        failed = sum(v["result"] == "fail" for v in self.verdicts.values())
        passed = len(self.verdicts) - failed
        last = {"ready_ms": self.ready, "deaths": [str(test) for test in deaths], "tests": list(self.verdicts.values())}
        (machine.CACHE / "last-run.json").write_text(json.dumps(last, indent=1) + "\n")
        print(f"{passed} passed, {failed} failed", flush=True)
        return 0 if passed and not failed else 1


class Guests:
    """Boots guests one after another, each on the machine that the first one started."""

    def __init__(self, config):
        # A tree of the user's own is built beside Debian's.
        tree = "-ksrc" if os.environ.get("KSRC") else ""
        self._build = machine.CACHE / "build" / f"{config}{tree}"
        self._l1_kernel = machine.CACHE / "build" / f"{FAST}{tree}" / "arch/x86/boot/bzImage"
        self._machine = None
        # Tests that ran when the machine below their guest died.
        self.deaths = []
        self._number = 0
        choice = os.environ.get("HOST", "")
        if choice not in ("", "kvm", "tcg"):
            raise suite.Mistake(f"HOST={choice}: it takes kvm or tcg")
        self._direct = machine.has_hyperv() if choice == "" else choice == "kvm"
        if self._direct and not machine.has_hyperv():
            raise suite.Mistake("HOST=kvm: /dev/kvm is missing or has no Hyper-V emulation; use HOST=tcg")

        hvhost = machine.CACHE / "host-target/release/hvhost"
        vmlinux = self._build / "vmlinux"
        for path, maker in ((hvhost, "cargo build"), (vmlinux, f"scripts/kernel.sh {config}")):
            if not path.exists():
                raise suite.Mistake(f"{path} is missing: {maker} makes it")
        made = [["image.sh", self._build.name]] + ([] if self._direct else [["qemu.sh"]])
        for script, *words in made:
            if subprocess.run([TOP / "scripts" / script, *words], check=False).returncode:
                raise suite.Mistake(f"scripts/{script} failed")
        shutil.rmtree(machine.SHARE, ignore_errors=True)
        (machine.SHARE / "jobs").mkdir(parents=True)
        self._image = machine.CACHE / "image" / self._build.name
        self._sets = dict(line.split() for line in (self._image / "tools.list").read_text().splitlines())
        self._files = {hvhost, vmlinux, self._image / "base.cpio"}

    def want(self, tests):
        """To be called for all tests before the first boot: the machine gets what they need."""
        self._files |= {self._image / f"tools-{name}.cpio" for name in self._tools(tests)}

    def _tools(self, tests):
        asked = {tool for test in tests for tool in test.tools}
        if missing := asked - self._sets.keys():
            raise suite.Mistake(f"'# tools:' asks for {' '.join(missing)}; scripts/image.sh has no such program")
        return sorted({self._sets[tool] for tool in asked})

    def machine(self):
        if self._machine is None:
            where = "this machine's KVM" if self._direct else "an emulated machine with KVM (takes about 5 s)"
            print(f"     guests run on {where}", flush=True)
            self._machine = machine.Machine(self._files, None if self._direct else self._l1_kernel)
        return self._machine

    def boot(self, tests, told, **options):
        """Runs one boot; returns it, and what the VMM reports about it."""
        self._number += 1
        guest = boot.Boot(self._number, tests, self._tools(tests), **options)
        try:
            return guest, guest.run(self.machine(), told)
        except machine.Dead as death:
            self.close()
            lost = guest.lost(str(death), death.log)
            if lost.test in self.deaths:
                told("verdict", lost)
            else:
                # No guest can do that: QEMU or L1 is at fault. Said aloud, and tried once more.
                self.deaths.append(lost.test)
                del guest.verdicts[lost.test]
                told("note", f"{lost.test}: {death}; the test runs once more")
                for line in lost.console[-100:]:
                    told("note", f"| {line}")
            return guest, {}

    def close(self):
        if self._machine:
            self._machine.close()
        self._machine = None


def test(tests, guests):
    """Runs tests in as few boots as their headers allow."""
    report = Report()
    guests.want(tests)
    pending = suite.group(tests)
    useless = 0
    while pending:
        guest, result = guests.boot(pending.pop(0), report.hear)
        if "ready_ms" in result:
            report.ready.append(result["ready_ms"])
        useless = 0 if any(verdict.began for verdict in guest.verdicts.values()) else useless + 1
        if guest.remaining():
            pending.insert(0, guest.remaining())
        if useless == 3:
            for left in sum(pending, []):
                report.verdict(boot.Verdict(left, "not run: no test began in three boots", 0, [], False))
            break
    return report.end(guests.deaths)


def demo(guests):
    """The demonstration behind "make run"."""
    interactive = sys.stdin.isatty()
    the_test = suite.Test("demo", "demo.sh", 1, "", 120, True, ("mkfs.ext4",), (), (), 512)
    guests.want([the_test])
    outcome = []
    terminal = shell.Terminal(guests.machine()) if interactive else None

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
    print("Booting a guest on our Hyper-V host ...", flush=True)
    try:
        guests.boot([the_test], told, shell=interactive)
    finally:
        if terminal:
            terminal.detach()
    good = bool(outcome) and not any(verdict.why for verdict in outcome)
    print(f"{'Everything came back right' if good else 'FAILED'} ({time.monotonic() - start:.0f} s).", flush=True)
    return 0 if good else 1


def main():
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command not in ("test", "list", "demo"):
        print(__doc__, file=sys.stderr)
        return 2
    guests = None
    try:
        if command != "demo":
            tests = suite.choose(suite.load(boot.SUITES), os.environ)
        if command == "list":
            print(*tests, sep="\n")
            return 0
        guests = Guests(os.environ.get("KCONFIG") or FAST)
        return test(tests, guests) if command == "test" else demo(guests)
    except (suite.Mistake, machine.Dead) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if guests:
            guests.close()


if __name__ == "__main__":
    sys.exit(main())
