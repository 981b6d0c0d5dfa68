# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by every script here: where things are, how to speak to the user, and
# how to run a command inside the Debian root.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${HVRUST_CACHE:-$HOME/.cache/hvrust}
ROOT=$CACHE/root

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
# The kernel's compilers: clang of rustc's own LLVM, without which C helpers cannot be inlined
# into Rust. Debian's bindgen misreads headers with that one's library (it makes structures
# empty), takes its own, and has to bear options that are new to that.
export LLVM=-22 LIBCLANG_PATH=/usr/lib/llvm-19/lib
export BINDGEN_EXTRA_CLANG_ARGS=-Wno-unknown-warning-option

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

need_root() {
	[ "$(id -u)" = 0 ] ||
		die "root rights are needed for debootstrap and chroot: run it again with sudo -E"
}

# Only one heavy build or virtual machine at a time, whoever started it.
heavy_lock() {
	[ -z "${HVRUST_LOCKED:-}" ] || return 0
	mkdir -p "$CACHE"
	exec 9>"$CACHE/lock"
	if ! flock -n 9; then
		say "another build or virtual machine of this project runs; waiting for it"
		flock 9
	fi
	# What we start, also inside the root, runs under our lock.
	export HVRUST_LOCKED=1
}

# in_root COMMAND...: run it inside the Debian root, with this checkout at
# /hvrust, the cache at /cache and the machine's /proc, /sys and /dev. The mounts
# live in a mount namespace of their own and vanish with the command. /l1 shows the
# root file system alone, without those mounts: that is what L1 gets over 9p.
in_root() {
	[ -x "$ROOT/bin/sh" ] || die "no Debian root in $ROOT: run scripts/root.sh first"
	if [ -n "${KSRC:-}" ]; then
		[ -e "$KSRC/Makefile" ] || die "KSRC=$KSRC holds no kernel tree"
		KSRC=$(realpath "$KSRC")
		export KSRC
	fi
	unshare --mount --propagation private bash -c '
		set -e
		root=$1 top=$2 cache=$3; shift 3
		mount --bind "$root" "$root/l1"
		mount --bind "$top" "$root/hvrust"
		mount --bind "$cache" "$root/cache"
		mount -t proc proc "$root/proc"
		mount --rbind /sys "$root/sys"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs tmpfs "$root/tmp"
		if [ -n "${KSRC:-}" ]; then
			mount --bind "$KSRC" "$root/ksrc"
			export KSRC=/ksrc
		fi
		exec chroot "$root" env -u TMPDIR HOME=/root HVRUST_CACHE=/cache \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			CARGO_HOME=/cache/cargo bash -c "cd /hvrust && exec \"\$@\"" in_root "$@"
	' in_root "$ROOT" "$TOP" "$CACHE" "$@"
}
