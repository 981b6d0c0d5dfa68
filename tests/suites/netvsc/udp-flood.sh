# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 120
# tools: ethtool socat
# breaks-with: netvsc/queue.rs: a byte more for each packet that was sent (seen)
#
# Datagrams as fast as the guest can: no time-out of the transmit queue, what the guest counts
# is what the host got, and nothing is left behind.

need_net
ours() { cat "/sys/class/net/eth0/statistics/$1"; }
statistic() { /tools/ethtool -S eth0 | sed -n "s/^ *$1: //p"; }
flood() { # SECONDS BYTES
	/tools/socat -u -b "$2" OPEN:/dev/zero "UDP4-SENDTO:$PEER:7009" &
	socat=$!
	sleep "$1"
	kill $socat 2>/dev/null
	wait $socat || true
}
sleep 1
for size in 1 1400 30000; do
	packets=$(ours tx_packets) host_packets=$(counter nic0.tx_packets)
	bytes=$(ours tx_bytes) host_bytes=$(counter nic0.tx_bytes)
	flood 1 $size
	# Completions and the counters that the host tells at the end of a batch.
	sleep 1
	host_packets=$(($(counter nic0.tx_packets) - host_packets)) packets=$(($(ours tx_packets) - packets))
	host_bytes=$(($(counter nic0.tx_bytes) - host_bytes)) bytes=$(($(ours tx_bytes) - bytes))
	note "netvsc: $packets frames/s of datagrams with $size bytes"
	[ $packets -gt 200 ] || fail "only $packets frames in 1 s"
	# A frame of somebody else's may come between two readings: ARP, neighbour discovery.
	near $packets $host_packets 3 || fail "$size bytes: the guest counts $packets frames, the host $host_packets"
	near $bytes $host_bytes 300 || fail "$size bytes: the guest counts $bytes bytes, the host $host_bytes"
done
[ "$(counter nic0.tx_refused)" = 0 ] || fail "the host refused frames: $(host nic0 counters)"
stop=$(statistic stop_queue) wake=$(statistic wake_queue)
[ "$stop" -le "$wake" ] || fail "the queue was stopped $stop times and woken $wake times"
[ "$(cat /sys/class/net/eth0/queues/tx-0/tx_timeout)" = 0 ] || fail "the transmit queue timed out"
need_net
