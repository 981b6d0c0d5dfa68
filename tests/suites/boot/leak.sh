# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: debug
# timeout: 120
# boot: own
# must-fail: kmemleak: [0-9]+ leaks
# breaks-with: a kernel without kmemleak; one scan instead of two
#
# A module that leaks on purpose: what ends each boot of the debug kernel finds it.

modprobe kmemleak-test || fail "cannot load kmemleak-test"
. /hv/tests/kmemleak.sh
