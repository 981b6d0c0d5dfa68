# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 30
# boot: own
# each: item-long item-empty item-offset
# xfail-c: X1 no end after|soft lockup|killed|is not ready|does not answer
# breaks-with: netvsc/info.rs: an empty item is skipped; split_at() that does not check (both seen)
#
# An item of a frame's per-packet information that is longer than the list, empty, or has its
# value outside: a search that does not advance never ends.

need_net
host nic0 bad "$1" 1
within 5 ping -c 1 -W 1 $PEER || fail "no answer after it"
