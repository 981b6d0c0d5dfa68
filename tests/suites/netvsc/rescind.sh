# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus hv_netvsc
# smoke: yes
# timeout: 90
# soak: 5
# breaks-with: the VMM answers "ok" without the rescind message; the VMM offers the card with another MAC address
#
# The host takes the card away: eth0 vanishes and leaves nothing locked, and when the
# card comes back so does the connection. Twice, and with nothing under way at that
# moment; that is rescind-busy.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
gone() { [ ! -e /sys/class/net/eth0 ]; }
noise 1
for round in $(rounds 2); do
	need_net
	send_file /tmp/noise
	mac=$(cat /sys/class/net/eth0/address)
	sleep 1
	host rescind nic0
	within 30 gone || fail "round $round: eth0 is still there 30 s after the rescind"
	within 30 not grep -qF "$class" /sys/bus/vmbus/devices/*/class_id ||
		fail "round $round: the device is still on the bus 30 s after the rescind"
	# ip link takes RTNL: nothing may still hold it.
	timeout 10 ip link show >/dev/null || fail "round $round: ip link hangs"
	not ping -c 1 -W 1 $PEER || fail "round $round: the peer answers without a card"

	host offer nic0
	need_net
	[ "$(cat /sys/class/net/eth0/address)" = "$mac" ] || fail "round $round: the card came back with another address"
	send_file /tmp/noise
	[ "$(nc -w 30 $PEER 7002 </dev/null | head -c 1m | wc -c)" = $((1 << 20)) ] || fail "round $round: the peer's data did not come"
done
