#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes image/debian.ext4 in $HVRUST_CACHE: Debian 13 as it is installed, with systemd, udev and
# apt, for a guest that boots from it. Once: remove it to have another one.

. "$(dirname "$0")/common.sh"

image=$CACHE/image/debian.ext4
[ -e "$image" ] && exit 0
[ ! -e /.hvrust-base ] || die "$image is not there: run scripts/debian.sh on the machine itself"
need_root
heavy_lock

stage=$CACHE/image/debian
mirror=$(sed -n 's/^deb \([^ ]*\) trixie main$/\1/p' "$ROOT/etc/apt/sources.list")
say "making a disk with Debian 13 (a minute or two; log: $CACHE/debian.log)"
rm -rf "$stage"
mkdir -p "$stage"
debootstrap --variant=minbase --include=systemd-sysv,udev,kmod,e2fsprogs,procps \
	--keyring=/usr/share/keyrings/debian-archive-keyring.gpg trixie "$stage" "$mirror" >"$CACHE/debian.log" 2>&1 ||
	die "debootstrap failed: $(tail -n 1 "$CACHE/debian.log") (all of it: $CACHE/debian.log)"
# Nobody reads these, and the disk lies in the memory of the machine that runs the guest.
rm -rf "$stage"/var/cache/apt/*.bin "$stage"/var/cache/apt/archives/*.deb "$stage"/usr/share/{doc,man,locale,info}/*
# What dpkg is asked about later is what is there.
find "$stage/var/lib/dpkg/info" -name '*.md5sums' -exec sed -i -E '\, usr/share/(doc|man|locale|info)/,d' {} +
printf 'LABEL=debian / ext4 defaults 0 1\n' >"$stage/etc/fstab"
echo hvguest >"$stage/etc/hostname"
: >"$stage/etc/machine-id"
in_root mkfs.ext4 -q -b 4096 -L debian -d /cache/image/debian /cache/image/debian.ext4.new 400M ||
	die "mkfs.ext4 failed"
rm -rf "$stage"
mv "$image.new" "$image"
say "$image: $(du -h "$image" | cut -f1)"
