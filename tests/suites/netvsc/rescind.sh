# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# timeout: 120
# tools: iperf3
# breaks-with: the VMM answers "ok" without the rescind message; a wait for sends under RTNL that rescind does not end
#
# The host takes the card away while data flows both ways: eth0 vanishes, nothing hangs,
# and when the card comes back so does the connection.

for round in 1 2; do
	need_net
	/tools/iperf3 -c $PEER -t 60 --bidir >/tmp/iperf.txt 2>&1 &
	sleep 1.5
	before=$(cat /sys/class/net/eth0/statistics/rx_packets)
	sleep 0.5
	[ "$(cat /sys/class/net/eth0/statistics/rx_packets)" -gt "$before" ] || fail "round $round: no traffic before the rescind"

	host rescind nic0
	gone() { [ ! -e /sys/class/net/eth0 ]; }
	within 30 gone || fail "round $round: eth0 is still there 30 s after the rescind"
	# iperf3 itself waits for its connection's time-out.
	kill $! || fail "round $round: iperf3 ended before the rescind"
	wait || true
	class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
	within 10 not grep -qF "$class" /sys/bus/vmbus/devices/*/class_id || fail "round $round: the device is still on the bus"
	# Whether RTNL is free.
	timeout 10 ip link show >/dev/null || fail "round $round: ip link hangs"

	host offer nic0
	need_net
done
noise 4
send_file /tmp/noise
