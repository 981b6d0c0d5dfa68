# SPDX-License-Identifier: GPL-2.0
"""Writes the small initramfs archives ("newc" format) that differ from boot to boot."""

import stat


def archive(entries):
    """The bytes of an archive of (name, permissions, content).

    Content None makes a folder, a string a symbolic link to that.
    """
    out = bytearray()
    for inode, (name, permissions, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        kind = {type(None): stat.S_IFDIR, str: stat.S_IFLNK}.get(type(content), stat.S_IFREG)
        mode = kind | permissions if permissions else 0
        content = content.encode() if isinstance(content, str) else content or b""
        encoded = name.encode() + b"\0"
        # inode mode uid gid nlink mtime size, device and rdev, name's size, checksum
        fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0]
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        out += bytes(-len(out) % 4)
        out += content + bytes(-len(content) % 4)
    return bytes(out)


def files(folder, prefix):
    """Entries for a folder and everything in it, below prefix."""
    yield (prefix, 0o755, None)
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            yield (f"{prefix}/{path.relative_to(folder)}", 0o755, None)
        else:
            yield (f"{prefix}/{path.relative_to(folder)}", path.stat().st_mode & 0o777, path.read_bytes())
