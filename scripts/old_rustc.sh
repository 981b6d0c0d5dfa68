#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: old_rustc.sh VERSION
#
# Unpacks the Rust compiler of Debian 13 itself, beside the newer one of the root, into
# $HVRUST_CACHE/rustc-VERSION, and prints the words that make the kernel's build use it, one a
# line. VERSION is what that compiler has to be. Runs inside the Debian root.

. "$(dirname "$0")/common.sh"

version=${1:?usage: old_rustc.sh VERSION}
out=/cache/rustc-$version
if [ ! -e "$out/ready" ]; then
	say "unpacking rustc $version"
	rm -rf "$out"
	mkdir -p "$out/packages"
	{
		apt-get -q update &&
			(cd "$out/packages" && apt-get -q download -o APT::Sandbox::User=root \
				rustc/trixie libstd-rust-dev/trixie "libstd-rust-$version/trixie" rust-src/trixie)
	} >"$out.log" 2>&1 || die "Debian 13's rustc $version did not come: $(grep -m1 '^E:' "$out.log") (all of it: $out.log)"
	for package in "$out"/packages/*.deb; do
		dpkg -x "$package" "$out" || die "$package cannot be unpacked"
	done
	rm -r "$out/packages"
	# It looks for its libraries where it would be installed.
	cat >"$out/rustc" <<-END
		#!/bin/sh
		LD_LIBRARY_PATH=$out/usr/lib/x86_64-linux-gnu exec $out/usr/bin/rustc "\$@"
	END
	chmod +x "$out/rustc"
	touch "$out/ready"
fi
found=$("$out/rustc" --version)
[[ $found = "rustc $version."* ]] || die "Debian 13 has $found, and not $version"
source=$(echo "$out"/usr/src/rustc-*/library)
printf '%s\n' LLVM="$LLVM" RUSTC="$out/rustc" HOSTRUSTC="$out/rustc" RUST_LIB_SRC="$source"
