#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: modules.sh CONFIG
#
# Builds the drivers in Rust as modules against the patched kernel CONFIG, beside the C
# ones that it has, in $HVRUST_CACHE/build/CONFIG-rust (with KSRC= in CONFIG-ksrc-rust).

. "$(dirname "$0")/common.sh"

CONFIG=${1:?usage: modules.sh CONFIG}
if [ ! -e /.hvrust-base ]; then
	heavy_lock
	in_root scripts/modules.sh "$CONFIG"
	exit
fi

tree=$(scripts/source.sh)
build=/cache/build/$CONFIG${KSRC:+-ksrc}
out=$build-rust
log=$out.log
[ -e "$build/vmlinux" ] || die "the kernel $CONFIG is not built: scripts/kernel.sh makes it"
mkdir -p "$out"

# The options are off in the kernel's own configuration, which has the C drivers. A warning of
# the compiler that this repository is built with is an error here.
if ! make -C "$tree" LLVM="$LLVM" O="$build" M="$tree/drivers/hyperv" MO="$out" ${CLIPPY:+CLIPPY=1} \
	CONFIG_HYPERV_VMBUS_RUST=y CONFIG_HYPERV_STORAGE_RUST=y CONFIG_HYPERV_NET_RUST=y \
	CONFIG_HYPERV_RUST_SAMPLE= CONFIG_HYPERV_TEST_VF= KRUSTFLAGS=-Dwarnings \
	-j"${JOBS:-$(nproc)}" modules >"$log" 2>&1; then
	grep -nE -A12 '^(error|warning)|(Error|ERROR)' "$log" | head -150 >&2
	die "the drivers in Rust do not build: see build/$CONFIG-rust.log in the cache"
fi
