# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_netvsc
# timeout: 120
# tools: socat
# soak: 50
# boot: own
# xfail-c: X8 eth0 is still there
# breaks-with: a wait for sends under way that the rescind does not end
#
# The host takes the card away while its send ring is full and answers come: eth0
# vanishes, nothing hangs, and when the card comes back so does the connection. 200 times in a soak.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
gone() { [ ! -e /sys/class/net/eth0 ]; }
noise 2
for round in $(rounds 4); do
	need_net
	# UDP, because nothing slows that down but the ring.
	/tools/socat -u -b 1400 OPEN:/dev/zero "UDP4:$PEER:7007" &
	sender=$!
	sleep 1
	kill -0 $sender || fail "round $round: no traffic before the rescind"
	host rescind nic0
	within 15 gone || fail "round $round: eth0 is still there 15 s after the rescind"
	kill $sender 2>/dev/null || true
	wait || true
	within 10 not grep -qF "$class" /sys/bus/vmbus/devices/*/class_id || fail "round $round: the device is still on the bus"
	# ip link takes RTNL: nothing may still hold it.
	timeout 10 ip link show >/dev/null || fail "round $round: ip link hangs"

	host offer nic0
	need_net
	send_file /tmp/noise
done
