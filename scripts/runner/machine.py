# SPDX-License-Identifier: GPL-2.0
"""What the guests run on: this machine, or L1 in QEMU if its KVM lacks Hyper-V emulation."""

import collections
import contextlib
import fcntl
import itertools
import os
import pathlib
import queue
import subprocess
import threading
import time

from . import cpio

CACHE = pathlib.Path(os.environ["HVRUST_CACHE"])
SHARE = CACHE / "share"
L1_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "l1"

KVM_CHECK_EXTENSION = 0xAE03
KVM_CAP_HYPERV_SYNIC2 = 148


# Of L1s, for their files.
_numbers = itertools.count(1)


class Dead(Exception):
    """The machine ended or does not answer: what was seen, and the last of what it printed."""

    def __init__(self, why, log=()):
        super().__init__(why)
        self.log = list(log)


def has_hyperv():
    """Whether /dev/kvm emulates Hyper-V's interrupt controller."""
    try:
        with open("/dev/kvm", "rb") as kvm:
            return fcntl.ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_SYNIC2) > 0
    except OSError:
        return False


def qemu(kernel, initrd, memory, threads, counted):
    """The command that boots L1; memory in MiB; counted is the file for what guests execute, or None."""
    share = "local,security_model=none,multidevs=remap"
    # With a thread for each processor L1, or a guest with two, dies now and then (an interrupt
    # arrives right after #VMEXIT, where GIF is 0), also with our patches. Not seen with a guest
    # of one processor, which is twice as fast when the VMM has the other one.
    accel = ["-accel", f"tcg,thread={'multi' if threads else 'single'},tb-size=512"]
    if counted:
        # One instruction is one nanosecond, and idle time passes at once: figures repeat.
        accel += ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
        accel += ["-plugin", f"{CACHE}/qemu/count.so,out={counted}"]
    return [
        CACHE / "qemu/qemu-system-x86_64", "-L", "/usr/share/seabios", "-L", "/usr/share/qemu",
        "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
        *accel, "-cpu", "EPYC-v4,+svm,+npt",
        # Two also below a guest with one: with one the VMM waits for the end of its time slice.
        "-smp", "2,sockets=1,cores=2", "-m", f"{memory}M",
        "-kernel", kernel, "-initrd", initrd,
        # /l1 is the root file system without what is mounted on it.
        "-virtfs", f"{share},path=/l1,mount_tag=root,readonly=on",
        "-virtfs", f"{share},path={SHARE},mount_tag=share",
        "-append", "console=ttyS0 quiet tsc=reliable clocksource=tsc mitigations=off panic=-1",
    ]  # fmt: skip


def l1_image(files):
    """L1's initramfs. It carries the guests' files: a 9p share reads 15 MB/s under TCG, this 150."""
    entries = [(name, 0o755, None) for name in ("bin", "dev", "proc", "sys", "hv")]
    entries.append(("bin/busybox", 0o755, pathlib.Path("/usr/bin/busybox").read_bytes()))
    entries.append(("bin/sh", 0o777, "busybox"))
    entries.append(("init", 0o755, (L1_FOLDER / "init").read_bytes()))
    entries += [(f"hv/{name}", 0o755, path.read_bytes()) for name, path in files.items()]
    return cpio.archive(entries)


class Machine:
    """A running agent (tests/l1/agent.sh), on this machine or in L1."""

    def __init__(self, files, kernel=None, memory=6144, threads=False, icount=False):
        """files are what guests need, by their names in argv; kernel is L1's, if one is wanted,
        which then has so many MiB of memory, and with threads this machine's processors for its
        own two, or with icount a nanosecond for each instruction."""
        # What QEMU's plugin writes.
        self.counted = None
        files = {**files, "agent.sh": L1_FOLDER / "agent.sh", "peer.py": L1_FOLDER / "peer.py"}
        if kernel:
            # QEMU reads it before L1 says anything; no other machine must overwrite it until then.
            number = next(_numbers)
            initrd = SHARE / f"l1-{number}.cpio"
            initrd.write_bytes(l1_image(files))
            if icount:
                self.counted = SHARE / f"counted-{number}"
            command = qemu(kernel, initrd, memory, threads, self.counted)
        else:
            initrd = None
            bin_folder = SHARE / "bin"
            bin_folder.mkdir(exist_ok=True)
            for name, path in files.items():
                (bin_folder / name).unlink(missing_ok=True)
                (bin_folder / name).symlink_to(path)
            command = ["unshare", "--net", "bash", bin_folder / "agent.sh", SHARE, bin_folder]
        self.log = collections.deque(maxlen=100)
        self.raw = None
        self._lines = queue.Queue()
        # A runner that is killed takes it along.
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.expect("ready", 1200 if icount else 120)
        finally:
            if initrd:
                initrd.unlink()

    def _read(self):
        pending = b""
        while data := os.read(self._process.stdout.fileno(), 65536):
            if self.raw:
                self.raw(data)
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").rstrip("\r")
                # Something else's unfinished line may stand before it.
                before, marker, message = text.partition("@hv ")
                if marker:
                    self._lines.put(message)
                elif "TCG doesn't support requested feature" not in text:
                    self.log.append(text)
        self._lines.put(None)

    def cpu(self):
        """Seconds of processor time that it used. What guests use straight on KVM is not seen."""
        try:
            fields = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def send(self, data):
        """Writes bytes to the agent or, in a guest's shell, to that."""
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError as error:
            raise self._dead(f"ended ({error})") from None

    def _dead(self, what):
        """What is wrong, in one line with the last one that it printed."""
        last = next((line for line in reversed(self.log) if line.strip()), "nothing")
        return Dead(f"the machine that runs the guests {what}; the last that it said: {last}", self.log)

    def command(self, line):
        self.send(line.encode() + b"\n")

    def poll(self, seconds):
        """The agent's next message, or None if none came in time."""
        try:
            message = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            raise self._dead("ended")
        if message.startswith("error "):
            raise Dead(message.removeprefix("error "), self.log)
        return message

    def expect(self, message, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.poll(left) == message:
                return
        self.close()
        raise self._dead(f"does not say '{message}' within {seconds} s")

    def close(self):
        """Ends it; asks first, so that it can clean up."""
        try:
            self.command("quit")
            self._process.wait(timeout=5)
        except (Dead, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
