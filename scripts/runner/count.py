# SPDX-License-Identifier: GPL-2.0
"""What a guest executed, from the file of QEMU's plugin (tests/l1/qemu/count.c), by what it belongs to."""

import bisect
import collections
import pathlib
import subprocess

# Where user space ends.
KERNEL = 1 << 63


class Symbols:
    """The functions of the guest's kernel and of the drivers' modules."""

    def __init__(self, build, rust_build, rust):
        """build has the kernel and the modules in C, rust_build those in Rust, which are these."""
        self._folders = {True: pathlib.Path(rust_build), False: pathlib.Path(build)}
        self._rust = rust
        # (address, symbol, module or None), sorted.
        self._all = []
        for line in _lines("nm", "-n", pathlib.Path(build) / "vmlinux"):
            address, kind, name = line.split(maxsplit=2)
            if kind in "tTwW":
                self._all.append((int(address, 16), name, None))

    def add(self, module, section, address):
        """A module's section was loaded at this address."""
        folder = self._folders[module in self._rust]
        path = next(folder.rglob(f"{module}.ko"), None)
        if not path:
            return
        # ADDRESS FLAGS SECTION SIZE NAME, where the flags are seven characters, also blanks.
        for line in _lines("objdump", "-t", path):
            words = line[17:].replace("F ", " ").split()
            if len(words) >= 3 and words[-3] == section and line[23:24] == "F":
                self._all.append((address + int(line[:16], 16), words[-1], module))
        self._all.append((address + _size(path, section), "?", None))

    def sort(self):
        self._all.sort(key=lambda entry: entry[0])

    def find(self, address):
        """((symbol, module or None), bytes from its beginning) of an address in the kernel."""
        at = bisect.bisect_right(self._all, address, key=lambda entry: entry[0]) - 1
        return (self._all[at][1:], address - self._all[at][0]) if at >= 0 else (("?", None), 0)


def _lines(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _size(path, section):
    for line in _lines("objdump", "-h", path):
        words = line.split()
        if len(words) > 2 and words[1] == section:
            return int(words[2], 16)
    return 0


def ours(symbol, module):
    """Whether it is a driver's, or one of the abstractions, which are the only Rust in the kernel."""
    return bool(module) or symbol.startswith(("_R", "rust_helper_"))


class Counts:
    """One of the intervals in the plugin's file, by its number."""

    def __init__(self, path, number, symbols):
        intervals = pathlib.Path(path).read_text().split("end\n")
        # (symbol, module) -> instructions
        self.by_symbol = collections.Counter()
        # (symbol, module) -> where a block of them begins -> instructions
        self._blocks = collections.defaultdict(collections.Counter)
        self.user = self.exits = 0
        for line in intervals[number].splitlines():
            where, number = line.split()
            if where == "exits":
                self.exits = int(number)
            elif int(where, 16) < KERNEL:
                self.user += int(number)
            else:
                symbol, at = symbols.find(int(where, 16))
                self.by_symbol[symbol] += int(number)
                self._blocks[symbol][at] += int(number)

    @property
    def kernel(self):
        return self.by_symbol.total()

    @property
    def drivers(self):
        """Instructions in drivers, bus and abstractions."""
        return sum(count for where, count in self.by_symbol.items() if ours(*where))

    def write(self, path, times):
        """All symbols and what each of them takes per operation, the most first; of ours, which blocks."""
        with open(path, "w", encoding="utf-8") as out:
            for (symbol, module), count in self.by_symbol.most_common():
                mark = "*" if ours(symbol, module) else " "
                out.write(f"{count / times:10.1f} {mark} {module or 'vmlinux':12} {symbol}\n")
                if not ours(symbol, module):
                    continue
                for at, part in sorted(self._blocks[symbol, module].items()):
                    if part >= times / 10:
                        out.write(f"{part / times:21.1f} +{at:#x}\n")
