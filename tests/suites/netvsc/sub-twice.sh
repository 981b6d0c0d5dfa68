# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_netvsc
# timeout: 60
# boot: own
# host: --nic tap0,queues=2
# tools: ethtool
# xfail-c: X6 no end after|killed|crash|is not ready|does not answer|BUG|Oops|hangs
# breaks-with: C's own way: the index is the number of the queue (seen)
#
# X6: the host offers a sub-channel whose index one has that is open.

combined() { /tools/ethtool -l eth0 | sed -n 's/^Combined:[[:space:]]*//p' | tail -n 1; }
two() { [ "$(combined)" = 2 ]; }
need_net
within 10 two || fail "there are $(combined) channels, not 2"
noise 1
for n in 1 2; do
	host fault offer nic0 class=same instance=same sub=1
	sleep 1
	two || fail "there are $(combined) channels"
	send_file /tmp/noise
	receive_little
done
timeout 10 ip link set eth0 down || fail "ip link hangs"
need_net
