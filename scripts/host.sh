#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the test host, tests/host, into $HVRUST_CACHE/host-target. With arguments
# it runs cargo with them instead, for example `host.sh test`.

. "$(dirname "$0")/common.sh"

if [ ! -e /.hvrust-base ]; then
	heavy_lock
	in_root scripts/host.sh "$@"
	exit
fi
cd tests/host
export CARGO_TARGET_DIR=/cache/host-target CARGO_TERM_COLOR=never
[ $# -gt 0 ] || set -- build --release --quiet
say "test host: cargo $*"
[ "$1" = fmt ] || locked=--locked
cargo "$1" ${locked:-} "${@:2}" || die "cargo $* failed in tests/host: see above"
