#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: kernel.sh CONFIG [TARGET...]
#
# Builds the patched kernel for scripts/kconfig/CONFIG.config in
# $HVRUST_CACHE/build/CONFIG, in place (with KSRC= in build/CONFIG-ksrc). By default what
# its line "# targets:" says, or vmlinux and modules. Its other lines for this script:
# "# over: OTHER" for what is in OTHER.config as well, unless it says otherwise; "# arch: NAME"
# for another processor; "# rustc: VERSION" for Debian 13's own compilers, which have to be of
# that version.

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
line() { sed -n "s/^# $1: //p" "$options"; }
read -ra targets < <(line targets) || targets=(vmlinux modules)
[ $# = 0 ] || targets=("$@")

arch=$(line arch)
rustc=$(line rustc)
compilers=(LLVM="$LLVM")
[ -z "$rustc" ] || mapfile -t compilers < <(scripts/old_rustc.sh "$rustc")
[ -n "${compilers[*]}" ] || die "no Rust compiler of version $rustc"
kmake() { make -C "$tree" ${arch:+ARCH="$arch"} "${compilers[@]}" O="$out" "$@"; }

base=$(line over)
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
