# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus hv_netvsc
# timeout: 240
# tools: ping ethtool
# breaks-with: netvsc/attach.rs: the host is told a frame without its Ethernet header (seen)
#
# The MTU changes, while data comes in and goes out: each time the card is set up anew.

need_net
noise 4
busy() { # Until it is killed.
	while true; do
		nc -w 5 $PEER 7002 </dev/null >/dev/null || sleep 0.1
	done
}
sending() {
	while true; do
		nc -w 5 $PEER 7001 </tmp/noise >/dev/null || sleep 0.1
	done
}
busy 2>/dev/null &
receiver=$!
sending 2>/dev/null &
sender=$!
for mtu in 9000 1500 576 68 1280 4000 1501 9202 1499 1500; do
	ip link set eth0 mtu $mtu || fail "no MTU of $mtu"
	[ "$(cat /sys/class/net/eth0/mtu)" = $mtu ] || fail "the MTU is not $mtu"
	sleep 0.3
	# What was learnt about the path with a smaller one.
	ip route flush cache
	# IPv6 goes away with an MTU of less than 1280 and does not come back by itself.
	within 10 ping -c 1 -W 1 $PEER || fail "no answer with an MTU of $mtu"
	# One may be lost among the others.
	within 10 /tools/ping -n -M "do" -c 1 -W 1 -s $((mtu - 28)) $PEER || fail "no answer to a full frame with an MTU of $mtu"
done
kill $receiver $sender
wait || true
not ip link set eth0 mtu 67 || fail "an MTU of 67 is taken"
need_net
send_file /tmp/noise
receive_little
send_file /tmp/noise $PEER6
dmesg | grep -i 'ring buffer not empty' && fail "the ring was not empty after closing"
[ "$(counter nic0.tx_refused)" = 0 ] || fail "the host refused frames: $(host nic0 counters)"
