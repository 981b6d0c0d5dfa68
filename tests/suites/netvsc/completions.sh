# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: fast
# rust: hv_netvsc
# timeout: 60
# boot: own
# host: --nic tap0,quota=4096
# tools: ethtool
# xfail-c: X17 takes all
# breaks-with: netvsc/queue.rs: a poll takes 5000 completions (seen)
#
# X17: the host completes 1500 frames at once: a poll takes some of them, and others on this
# processor have their turn before the rest.

need_net
modprobe pktgen
# Frames that wait for their completion hold a section each.
/tools/ethtool -G eth0 tx 2400 || fail "ethtool -G"
need_net
echo add_device eth0 >/proc/net/pktgen/kpktgend_0
for setting in "pkt_size 60" "delay 0" "count 1500" "clone_skb 0" "dst $PEER" \
	"dst_mac $(ip neigh show $PEER | sed 's/.*lladdr \([^ ]*\).*/\1/')"; do
	echo "$setting" >/proc/net/pktgen/eth0
done
# With this one poll is all that a softirq does, unless nothing is left: the third word counts that.
echo 64 >/proc/sys/net/core/netdev_budget
squeezed() { read -r _ _ n _ </proc/net/softnet_stat && echo $((0x$n)); }
host nic0 hold
sent=$(counter nic0.tx_packets)
# It waits until the last one is completed.
echo start >/proc/net/pktgen/pgctrl &
all() { [ $(($(counter nic0.tx_packets) - sent)) -ge 1500 ]; }
within 15 all || fail "$(($(counter nic0.tx_packets) - sent)) frames of 1500 came"
before=$(squeezed)
host nic0 release
wait
grep -q '^Result: OK' /proc/net/pktgen/eth0 || fail "$(cat /proc/net/pktgen/eth0)"
times=$(($(squeezed) - before))
echo 300 >/proc/sys/net/core/netdev_budget
[ $times -ge 2 ] || fail "a poll takes all completions at once: the softirq had to stop $times times"
rmmod pktgen
noise 1
send_file /tmp/noise
receive_file
