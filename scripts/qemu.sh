#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the QEMU that emulates L1, in $HVRUST_CACHE/qemu: Debian 13's source with the
# patches of tests/l1/qemu, which say what goes wrong without them, and no device that
# L1 does not need; and the plugin there, which counts instructions. Runs inside the Debian root.

. "$(dirname "$0")/common.sh"

if [ ! -e /.hvrust-base ]; then
	heavy_lock
	in_root scripts/qemu.sh
	exit
fi

out=/cache/qemu
log=$out.log
stamp=$(cat "$0" tests/l1/qemu/* | sha256sum)
[ "$(cat $out/stamp 2>/dev/null)" != "$stamp" ] || exit 0

start=$SECONDS
say "building QEMU for the machine that runs the guests (about 3 minutes; log: ${log#/cache/})"
rm -rf $out
mkdir -p $out/source
{
	# The lists are as old as the root; a point release may have come since.
	apt-get -q update &&
		(cd $out && apt-get -qq source --download-only -o APT::Sandbox::User=root qemu/trixie) &&
		tar -C $out/source --strip-components=1 -xf $out/qemu_*.orig.tar.xz
} >"$log" 2>&1 || die "Debian's QEMU source did not come: $(grep -m1 '^E:' "$log") (all of it: $log)"
for patch in tests/l1/qemu/*.patch; do
	patch -d $out/source -p1 -F0 --no-backup-if-mismatch <"$patch" >>"$log" 2>&1 ||
		die "$patch does not apply to Debian's QEMU: see $log"
done
# The share is for files of a run, the machine for L1's kernel: no network, no display.
printf 'CONFIG_%s=y\n' I440FX VIRTIO_PCI VIRTIO_9P >$out/source/configs/devices/x86_64-softmmu/l1.mak
mkdir $out/build
{
	cd $out/build
	../source/configure --target-list=x86_64-softmmu --enable-tcg --without-default-features --enable-plugins \
		--without-default-devices --with-devices-x86_64=l1 --enable-virtfs --enable-attr \
		--enable-cap-ng --disable-fdt --disable-docs --disable-werror --disable-install-blobs &&
		ninja ${JOBS:+-j"$JOBS"} qemu-system-x86_64 &&
		# What counts instructions, see machine.py.
		cc -O2 -Wall -shared -fPIC -I../source/include/plugins -I../source/include/qemu \
			$(pkg-config --cflags glib-2.0) -o count.so /hvrust/tests/l1/qemu/count.c
} >>"$log" 2>&1 || die "QEMU does not build: $(grep -m1 -iE '(error|fatal):' "$log") (all of it: $log)"
cp qemu-system-x86_64 count.so $out/
cd /
rm -rf $out/build $out/source $out/qemu_*
echo "$stamp" >$out/stamp
say "QEMU is ready after $((SECONDS - start)) s"
