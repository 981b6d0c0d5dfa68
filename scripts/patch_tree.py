#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Lay this repository over a kernel tree: rust/, the drivers' folder, patches/.

Run as often as you like: every run starts from the tree's original files (kept in
TREE.orig), so a patch is applied exactly once, one that left the repository is undone,
and a file whose content stays the same keeps its time stamp, which keeps rebuilds short.
"""

import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
# What goes to drivers/hyperv/ of the tree.
IN_TREE = ["Kbuild", "Kconfig", "vmbus", "netvsc", "storvsc", "tests/sample", "tests/vf"]


def fail(message):
    sys.exit(f"error: {message}")


def overlay():
    """Path in the tree -> file of this repository."""
    files = {}
    for src, dst in [("rust", "rust")] + [(n, f"drivers/hyperv/{n}") for n in IN_TREE]:
        src = TOP / src
        if src.is_file():
            files[dst] = src
        for path in src.rglob("*"):
            if path.is_file():
                files[f"{dst}/{path.relative_to(src)}"] = path
    return files


def touched(patch):
    """The files that a patch names, in either role."""
    names = re.findall(r"^(?:---|\+\+\+) [ab]/(\S+)", patch.read_text(), re.MULTILINE)
    if not names:
        fail(f"{patch.name} holds no unified diff")
    return set(names)


def apply(patch, work):
    run = subprocess.run(
        ["patch", "-p1", "-F0", "--no-backup-if-mismatch", "-r", "-", "-i", patch],
        cwd=work, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if run.returncode:
        bad = [line for line in run.stdout.splitlines()
               if re.search(r"FAILED|patching file|can't find|malformed", line)]
        fail(f"{patch.name} does not apply:\n  " + "\n  ".join(bad or run.stdout.splitlines()))


def main():
    if len(sys.argv) != 2:
        fail("usage: patch_tree.py TREE")
    tree = Path(sys.argv[1])
    orig = Path(f"{tree}.orig")
    orig.mkdir(exist_ok=True)
    record = orig / ".touched"

    files = overlay()
    patches = sorted((TOP / "patches").glob("*.patch"))
    names = set(files).union(*(touched(p) for p in patches))
    before = set(record.read_text().split()) if record.exists() else set()

    # Keep the original of every file that is touched for the first time.
    for name in names - before:
        if name in files and (tree / name).exists():
            fail(f"{name} exists in the kernel tree already; edit it by a patch")
        if (tree / name).exists():
            (orig / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, orig / name)
    record.write_text("\n".join(sorted(before | names)))

    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        for name in before | names:
            src = files.get(name, orig / name)
            if src.exists():
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(src, work / name)
        for patch in patches:
            apply(patch, work)
        changed = 0
        for name in sorted(before | names):
            new, old = work / name, tree / name
            if not new.exists():
                old.unlink(missing_ok=True)
            elif not old.exists() or not filecmp.cmp(new, old, shallow=False):
                old.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(new, old)
                os.chmod(old, new.stat().st_mode)
                changed += 1
    record.write_text("\n".join(sorted(names)))
    print(f"kernel tree: {len(patches)} patches, {len(files)} files laid over, {changed} changed")


main()
