#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compare the exports of two folders of object files: crc.py C RUST."""

import os
import re
import subprocess
import sys
from pathlib import Path

# What the names of the kernel's tools end with, see common.sh.
LLVM = os.environ["LLVM"]


def run(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def components(folder):
    """The objects of a module; those of other modules in the folder do not count."""
    modfile = folder / "hv_vmbus.mod"
    if modfile.exists():
        return [folder / Path(line).name for line in modfile.read_text().split()]
    return sorted(p for p in folder.glob("*.o") if (folder / f".{p.name}.cmd").exists())


def kinds(obj):
    """Symbol -> its licence and namespace, which EXPORT_SYMBOL puts into a section as strings."""
    labels = re.findall(r"^([0-9a-f]+) \S+ __export_symbol_(\S+)$", run(f"llvm-nm{LLVM}", obj), re.MULTILINE)
    if not labels:
        return {}
    section = Path(f"{obj}.exports")
    run(f"llvm-objcopy{LLVM}", "-O", "binary", "--only-section=.export_symbol",
        "--set-section-flags=.export_symbol=alloc", obj, section)
    data = section.read_bytes()
    section.unlink()
    return {name: tuple(data[int(at, 16):].split(b"\0", 2)[:2]) for at, name in labels}


def exports(folder):
    """Symbol -> CRC, licence, namespace."""
    found = {}
    for obj in components(folder):
        crcs = dict(re.findall(r"^#SYMVER (\S+) (0x[0-9a-f]+)$",
                               (folder / f".{obj.name}.cmd").read_text(), re.MULTILINE))
        for name, (licence, namespace) in kinds(obj).items():
            found[name] = (crcs.get(name, "none"), licence.decode(), namespace.decode())
    return found


def main():
    c, rust = (exports(Path(folder)) for folder in sys.argv[1:3])
    bad = 0
    if not c:
        sys.exit("error: the module in C exports nothing, so nothing can be compared")
    for name in sorted(c | rust):
        if c.get(name) == rust.get(name) and c[name][0] != "none":
            continue
        bad += 1
        print(f"{name}: C {c.get(name)}, Rust {rust.get(name)}")
    print(f"{len(c)} exports in C, {len(rust)} in Rust, {bad} differ")
    sys.exit(bad != 0)


main()
