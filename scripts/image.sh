#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: image.sh BUILD [MODULE...]
#
# Makes what a guest boots besides the kernel, in $HVRUST_CACHE/image:
#   BUILD/base.cpio  busybox and the kernel's modules
#   BUILD/rust-MODULE.cpio  a module in Rust in the place of the C one, which is in /hv/c then
#   tools/SET.cpio   programs of the Debian root with their libraries, per set below
#   tools/graphics.cpio  the modules below a screen, of the last "fast" kernel
#   tools/list       "PROGRAM SET" for each of them
# Each only when what it is made of has changed. Tests, init and job come in one more
# cpio that the runner writes for each boot. Runs inside the Debian root.

. "$(dirname "$0")/common.sh"

BUILD=${1:?usage: image.sh BUILD [MODULE...], a folder of $HVRUST_CACHE/build and its modules in Rust}
[ -e /.hvrust-base ] || { in_root scripts/image.sh "$@"; exit; }
shift

build=/cache/build/$BUILD
[ -e "$build/modules.order" ] || die "the kernel build/$BUILD is not there: scripts/kernel.sh makes it"

pack() { # FOLDER CPIO
	(cd "$1" && find . -mindepth 1 | cpio --quiet -o -H newc -R 0:0) >"$2.new"
	mv "$2.new" "$2"
}

base() {
	local stage=$out/stage version module
	rm -rf "$stage"
	mkdir -p "$stage"/{bin,dev,etc,hv,proc,root,run,sys,tmp,usr}
	ln -s bin "$stage/sbin"
	ln -s ../bin "$stage/usr/bin"
	ln -s ../bin "$stage/usr/sbin"
	cp /usr/bin/busybox "$stage/bin/"
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln -s busybox "$stage/bin/$applet"
	done
	echo 'root:x:0:0::/root:/bin/sh' >"$stage/etc/passwd"
	make -s -C "$build" LLVM="$LLVM" INSTALL_MOD_PATH="$stage" INSTALL_MOD_STRIP=1 \
		modules_install >"$out/modules_install.log" 2>&1 ||
		die "make modules_install failed: $(tail -1 "$out/modules_install.log")"
	version=$(cat "$build/include/config/kernel.release")
	rm -rf "$stage/lib/modules/$version"/{build,source}
	depmod -b "$stage" "$version"
	# Hardly any test has a screen, and these are many of the bytes that a boot would unpack.
	module=lib/modules/$version/kernel/drivers/gpu
	if [ -e "$stage/$module" ]; then
		mkdir -p "$stage.gpu/${module%/*}"
		mv "$stage/$module" "$stage.gpu/$module"
		pack "$stage.gpu" "$out/graphics.cpio"
	fi
	pack "$stage" "$out/base.cpio"
	rm -rf "$stage" "$stage.gpu"
}

# The archive is unpacked after base.cpio, and its file written over the one from there.
in_rust() { # MODULE
	local stage=/cache/image/$BUILD/stage place
	place=$(cd "$build" && find drivers -name "$1.ko" ! -path 'drivers/hyperv/*')
	[ -n "$place" ] || die "the kernel build/$BUILD has no module $1 in C whose place one in Rust could take"
	rm -rf "$stage"
	install -D "$build-rust/$1.ko" "$stage/lib/modules/$(cat "$build/include/config/kernel.release")/kernel/$place"
	# The other one, for who wants to install both.
	install -D "$build/$place" "$stage/hv/c/$1.ko"
	find "$stage" -name '*.ko' -exec strip --strip-debug {} +
	pack "$stage" "/cache/image/$BUILD/rust-$1.cpio"
	rm -rf "$stage"
}

# Copies programs with the libraries that ldd names, links resolved.
copy_programs() { # FOLDER PROGRAM...
	local stage=$1 program file
	shift
	for program in "$@"; do
		program=$(command -v "$program") || die "the Debian root has no $program"
		for file in "$program" $(ldd "$program" | grep -o '/[^ ]*'); do
			[ -e "$stage$file" ] || install -D "$file" "$stage$file"
		done
	done
	# glibc opens this one by name, when a thread is cancelled.
	install -D /lib/x86_64-linux-gnu/libgcc_s.so.1 "$stage/lib/x86_64-linux-gnu/libgcc_s.so.1"
}

# Separate sets, because unpacking is time in each boot; fio brings 60 MB of libraries.
declare -A sets=(
	[fio]="fio"
	[hyperv]="hv_kvp_daemon hv_vss_daemon"
	[kexec]="kexec"
	[kmod]="depmod modprobe modinfo"
	[net]="iperf3 socat ethtool ping"
	[bpf]="ip"
	[disk]="mkfs.ext4 e2fsck blkdiscard fallocate fstrim sg_inq sg_vpd sg_readcap sg_luns sg_sync sg_modes sg_unmap
		sg_get_lba_status sg_persist sg_raw sg_requests sg_senddiag sg_start sg_turs sg_verify sg_wr_mode
		sg_write_same sg_reset"
)

tools() {
	local set program
	echo "hyperv_drm graphics" >"$out/list.new"
	for set in "${!sets[@]}"; do
		rm -rf "$out/stage"
		# shellcheck disable=SC2086
		copy_programs "$out/stage" ${sets[$set]}
		mkdir "$out/stage/tools"
		for program in ${sets[$set]}; do
			mv "$out/stage$(command -v "$program")" "$out/stage/tools/"
			echo "$program $set" >>"$out/list.new"
		done
		if [ "$set" = net ]; then
			# One of the kernel's own tests, which any card is to pass.
			install /cache/src/linux/tools/testing/selftests/net/netdevice.sh "$out/stage/tools/"
			echo "netdevice.sh $set" >>"$out/list.new"
		fi
		if [ "$set" = bpf ]; then
			clang-22 -O2 -Wall -Werror -target bpf -c tests/bpf/xdp.c -o "$out/stage/tools/xdp.o"
		fi
		find "$out/stage" -type d -empty -delete
		pack "$out/stage" "$out/$set.cpio"
	done
	rm -rf "$out/stage"
	mv "$out/list.new" "$out/list"
}

# remake FOLDER FUNCTION: runs it if the stamp, read from stdin, differs from the last.
remake() {
	local now out=/cache/image/$1
	now=$(cat)
	mkdir -p "$out"
	[ "$(cat "$out/stamp" 2>/dev/null)" = "$now" ] && return
	say "making the guests' image: $1"
	"$2"
	echo "$now" >"$out/stamp"
}

self=$(sha256sum scripts/image.sh)
remake "$BUILD" base < <(
	echo "$self"
	find "$build" -name '*.ko' -printf '%P %s %T@\n' | sort
	dpkg-query -W busybox-static
)
remake tools tools < <(
	echo "$self"
	sha256sum tests/bpf/*
	cat /.hvrust-packages
	# Security updates of the root change libraries too.
	stat -c %Y /var/lib/dpkg/status
)
case $BUILD in
fast*) install -m 644 "/cache/image/$BUILD/graphics.cpio" /cache/image/tools/ ;;
esac
for module in "$@"; do
	in_rust "$module"
done
