#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Puts the kernel source into the cache (Debian's linux-source-7.3, or a copy of
# KSRC=), lays rust/ and the drivers over it and applies patches/.
# Prints the tree's place as seen inside the root.

. "$(dirname "$0")/common.sh"

if [ ! -e /.hvrust-base ]; then
	in_root scripts/source.sh
	exit
fi

if [ -n "${KSRC:-}" ]; then
	version=$(sed -n 's/^\(VERSION\|PATCHLEVEL\) = //p' "$KSRC/Makefile" | paste -sd.)
	[ "$version" = 7.3 ] || die "KSRC= is Linux $version; these drivers are for 7.3"
	tree=/cache/src/user
	stamp="ksrc $(stat -c %i "$KSRC/Makefile") $(stat -c %Y "$KSRC/Makefile")"
else
	tree=/cache/src/linux
	stamp=$(dpkg-query -W linux-source-7.3)
fi

if [ "$(cat "$tree.stamp" 2>/dev/null)" != "$stamp" ]; then
	heavy_lock
	rm -rf "$tree" "$tree.orig" "$tree.stamp"
	mkdir -p "$tree"
	if [ -n "${KSRC:-}" ]; then
		say "copying the kernel source from KSRC="
		tar -C "$KSRC" --exclude=.git --exclude='*.o' -cf - . | tar -C "$tree" -xf -
	else
		say "unpacking the kernel source (about a minute)"
		tar -C "$tree" --strip-components=1 -xf /usr/src/linux-source-7.3.tar.xz
	fi
	echo "$stamp" >"$tree.stamp"
fi
python3 scripts/patch_tree.py "$tree" >&2
echo "$tree"
