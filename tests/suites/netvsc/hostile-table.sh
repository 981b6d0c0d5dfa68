# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_netvsc
# timeout: 60
# host: --nic tap0,queues=2
# tools: ethtool
# each: table-entry table-count table-offset
# breaks-with: nothing was tried yet
#
# A send indirection table with channels that do not exist, of the wrong size, or outside of
# its message; then a right one.

need_net
noise 2
host nic0 bad "$1" 5
send_file /tmp/noise
/tools/ethtool -d eth0 >/dev/null || fail "ethtool -d"
host nic0 table 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
send_file /tmp/noise
host nic0 table 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1
send_file /tmp/noise
