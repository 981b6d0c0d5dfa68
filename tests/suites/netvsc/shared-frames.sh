# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# kconfig: fast
# boot: own
# rust: hv_netvsc
# xfail-c: X21 crash
# breaks-with: a driver that keeps its notes in the socket buffer (the one in C)
#
# The kernel's packet generator gives one socket buffer to the driver many times, as all
# drivers allow that do not say otherwise: each time it is another frame on the wire.

need_net
sent() { counter nic0.tx_packets; }
modprobe pktgen
echo add_device eth0 >/proc/net/pktgen/kpktgend_0
for setting in "pkt_size 60" "delay 0" "count 4000" "burst 32" "clone_skb 7" "dst $PEER" \
	"dst_mac $(ip neigh show $PEER | sed 's/.*lladdr \([^ ]*\).*/\1/')"; do
	echo "$setting" >/proc/net/pktgen/eth0
done
before=$(sent)
echo start >/proc/net/pktgen/pgctrl
grep -q '^Result: OK' /proc/net/pktgen/eth0 || fail "$(cat /proc/net/pktgen/eth0)"
came() { [ $(($(sent) - before)) -ge 4000 ]; }
within 10 came || fail "$(($(sent) - before)) of 4000 frames came to the host"
[ "$(counter nic0.tx_refused)" = 0 ] || fail "the host refused frames"
rmmod pktgen
noise 4
send_file /tmp/noise
receive_file
