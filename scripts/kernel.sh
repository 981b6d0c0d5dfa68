#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: kernel.sh CONFIG [TARGET...]
#
# Builds the patched kernel for scripts/kconfig/CONFIG.config in
# $HVRUST_CACHE/build/CONFIG, in place (with KSRC= in build/CONFIG-ksrc). By default
# vmlinux and modules, and of the fast kernel, which L1 boots, also bzImage.

. "$(dirname "$0")/common.sh"

CONFIG=${1:?usage: kernel.sh CONFIG [TARGET...]}
shift
if [ ! -e /.hvrust-base ]; then
	heavy_lock
	in_root scripts/kernel.sh "$CONFIG" "$@"
	exit
fi

options=scripts/kconfig/$CONFIG.config
[ -e "$options" ] ||
	die "there is no kernel configuration '$CONFIG': KCONFIG= takes $(basename -s .config scripts/kconfig/*.config | paste -sd' ')"
tree=$(scripts/source.sh)
# A tree of the user's own is built beside Debian's.
out=/cache/build/$CONFIG${KSRC:+-ksrc}
log=$out.log
mkdir -p "$out"
targets=("$@")
[ $# -gt 0 ] || targets=(vmlinux modules)
[ $# -gt 0 ] || [ "$CONFIG" != fast ] || targets+=(bzImage)

kmake() { make -C "$tree" LLVM="$LLVM" O="$out" "$@"; }

# "# over: OTHER" in a file means what is in OTHER.config as well, unless it says otherwise.
base=$(sed -n 's/^# over: //p' "$options")
awk -F= '!/^CONFIG_/ { next } { value[$1] = $0 } END { for (name in value) print value[name] }' \
	${base:+"scripts/kconfig/$base.config"} "$options" | sort >"$out/options"
kmake -s KCONFIG_ALLCONFIG="$out/options" allnoconfig >"$log" 2>&1 ||
	die "kernel configuration failed: $(tail -3 "$log")"

# An option that was asked for must be there: Kconfig drops what it cannot select.
missing=()
while IFS='=' read -r name value; do
	case $value in
	n) grep -q "^$name=" "$out/.config" && missing+=("$name=n") ;;
	*) grep -qxF "$name=$value" "$out/.config" || missing+=("$name=$value") ;;
	esac
done <"$out/options"
[ ${#missing[@]} = 0 ] ||
	die "$options asks for options that the kernel's .config does not have: ${missing[*]}"

say "building the $CONFIG kernel: ${targets[*]} (about a quarter of an hour from nothing; log: ${out#/cache/}.log)"
# Every 500th step is shown: a long build that says nothing looks hung.
start=$SECONDS
if ! kmake -j"${JOBS:-$(nproc)}" "${targets[@]}" 2>&1 | tee -a "$log" |
	perl -ne 'BEGIN { $| = 1 } print "  step $n: $_" if /^  [A-Z]/ && ++$n % 500 == 0' >&2; then
	grep -nE -A3 '(error|Error|ERROR)' "$log" | head -40 >&2
	die "the $CONFIG kernel does not build: see $log in the cache"
fi
say "$CONFIG kernel is ready after $((SECONDS - start)) s"
