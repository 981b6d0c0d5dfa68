# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_netvsc
# timeout: 90
# host: --nic tap0,queues=2
# tools: ethtool
# breaks-with: netvsc/attach.rs: a refusal of sub-channels is an error (seen)
#
# The host refuses sub-channels, or takes one away: the card works with those that are left.

combined() { /tools/ethtool -l eth0 | sed -n 's/^Combined:[[:space:]]*//p' | tail -n 1; }
need_net
noise 2
two() { [ "$(combined)" = 2 ]; }
within 10 two || fail "there are $(combined) channels, not 2"
host nic0 grant 0
ip link set eth0 mtu 1400 || fail "the MTU cannot be changed"
[ "$(combined)" = 1 ] || fail "there are $(combined) channels after the host refused"
need_net
send_file /tmp/noise
receive_file
ip link set eth0 mtu 1500 || fail "the MTU cannot be changed back"
need_net
send_file /tmp/noise
