#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: run.sh [CONFIG]
#
# Misuse of the abstractions does not compile: each file here is compiled as the sample client
# was in build/CONFIG (default: fast), and has to fail with the error that it names, and no
# other. "error: none" has to compile; it shows that the rest of the file is not at fault.

. "$(dirname "$0")/../../scripts/common.sh"

CONFIG=${1:-fast}
[ -e /.hvrust-base ] || { in_root tests/misuse/run.sh "$CONFIG"; exit; }

build=/cache/build/$CONFIG
saved=$build/drivers/hyperv/tests/sample/.hvrust_sample.o.cmd
[ -e "$saved" ] || die "$saved is not there: make kernel"
# The compiler and its flags, without what they were applied to. Make's file quotes for the shell.
eval "words=($(sed -n '1s/^savedcmd_[^=]*:= *//p' "$saved" | sed 's/ ;.*//; s/\\#/#/g; s/\$\$/$/g'))"
command=()
for word in "${words[@]}"; do
	case $word in
	--emit=* | --out-dir | --crate-name | hvrust_sample | drivers/* | /*.rs | OBJTREE=* | RUST_MODFILE=*) ;;
	*) command+=("$word") ;;
	esac
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0
for file in "$PWD"/tests/misuse/*.rs; do
	name=$(basename -s .rs "$file")
	wanted=$(sed -n 's|^// error: ||p' "$file")
	log=$out/$name.log
	(cd "$build" && OBJTREE=$build RUST_MODFILE=misuse RUSTC_BOOTSTRAP=1 "${command[@]}" \
		--crate-name misuse --emit=metadata="$out/misuse.rmeta" "$file") >"$log" 2>&1 || true
	errors=$(grep -E '^error' "$log" | grep -v '^error: aborting' || true)
	case $wanted in
	none) [ -z "$errors" ] ;;
	lifetime) [ "$errors" = "error: lifetime may not live long enough" ] ;;
	*) [ "$(wc -l <<<"$errors")" = 1 ] && [[ $errors == "error[$wanted]"* ]] ;;
	esac || {
		echo "FAIL $name: '$wanted' is wanted: ${errors:-it compiles}"
		failed=1
		continue
	}
	echo "ok   $name: ${errors:-compiles}"
done
exit $failed
