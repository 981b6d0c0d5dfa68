#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: crc.sh
#
# Compares what the hv_vmbus in C and the one in Rust export: the names, the CRC of each
# symbol's type, and which modules may use it. A client that was built for one of them
# loads with the other only if all of this is the same.
#
# The exports of the Rust module, and the types that C sees, are in vmbus/exports/; so
# nothing in Rust is built for this, and the kernel that is configured has none. CRCs come
# from debug information, as they have to in a kernel with Rust.

. "$(dirname "$0")/common.sh"

if [ ! -e /.hvrust-base ]; then
	heavy_lock
	in_root scripts/crc.sh
	exit
fi

tree=$(scripts/source.sh)
out=/cache/build/crc${KSRC:+-ksrc}
log=$out.log
mkdir -p "$out/rust-side"

{
	grep -v RUST scripts/kconfig/fast.config
	printf '%s\n' CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y CONFIG_MODVERSIONS=y CONFIG_GENDWARFKSYMS=y
} >"$out/options"

kmake() {
	make -C "$tree" LLVM="$LLVM" O="$out" -j"${JOBS:-$(nproc)}" "$@" >>"$log" 2>&1 ||
		die "what exports symbols does not build: $(grep -m1 -E 'error|Error' "$log") (all of it: build/${out##*/}.log in the cache)"
}

: >"$log"
kmake -s KCONFIG_ALLCONFIG="$out/options" allnoconfig
for option in CONFIG_HYPERV_VMBUS=m CONFIG_MODVERSIONS=y CONFIG_GENDWARFKSYMS=y; do
	grep -qx $option "$out/.config" || die "the kernel's configuration does not take $option"
done
[ -e "$out/drivers/hv/hv_vmbus.o" ] || say "building what exports symbols of hv_vmbus (a minute; log: build/${out##*/}.log)"
kmake drivers/hv/hv_vmbus.o
objects=(vmbus/exports/*.c)
objects=("${objects[@]/%.c/.o}")
kmake M="$tree/drivers/hyperv" MO="$out/rust-side" CONFIG_HYPERV_VMBUS_RUST=y \
	"${objects[@]}"

exec python3 scripts/crc.py "$out/drivers/hv" "$out/rust-side/vmbus/exports"
