# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_netvsc
# timeout: 90
# boot: own
# host: --nic tap0,queues=2
# tools: ethtool
# xfail-c: X7 ip link hangs
# breaks-with: netvsc/attach.rs: it waits until all sub-channels are open, as C does (seen)
#
# The host grants a sub-channel that it does not offer.

need_net
sleep 1
host nic0 offer 0
ip link set eth0 mtu 1400 &
link=$!
within 65 not kill -0 $link || fail "ip link hangs without the sub-channel"
need_net
