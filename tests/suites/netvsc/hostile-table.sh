# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_netvsc
# timeout: 60
# host: --nic tap0,queues=2
# tools: ethtool
# each: table-entry table-count table-offset
# breaks-with: netvsc/queue.rs: no table of the host is taken (seen)
#
# A send indirection table with channels that do not exist, of the wrong size, or outside of
# its message; then a right one.

need_net
noise 2
table() { /tools/ethtool -d eth0 raw on | hexdump -v -e '1/4 "%d "'; }
host nic0 bad "$1" 5
send_file /tmp/noise
[ -n "$(table)" ] || fail "ethtool -d"
right() { # 16 channels
	host nic0 table "$@"
	is() { [ "$(table)" = "$* " ]; }
	within 10 is "$@" || fail "the table is $(table), not $*"
	send_file /tmp/noise
}
right 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
right 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1
# The stack notices if the driver chooses a queue that is none.
if dmesg | grep 'selects TX queue'; then fail "a frame was to go to a queue that is none"; fi
