# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_netvsc
# timeout: 180
# soak: 125
# host: --nic tap0,queues=2
# tools: ethtool
# breaks-with: offers of sub-channels that come before the answer which grants them are not opened (seen: 60 s)
#
# MTU, rings, channels, and up and down, again and again while frames come in: the card works
# afterwards, and it is still the same one. In a soak that is a thousand changes of the first three.

need_net
mac=$(cat /sys/class/net/eth0/address)
flood() { while [ ! -e /tmp/enough ]; do nc -w 5 $PEER 7002 </dev/null >/dev/null 2>&1 || sleep 0.2; done; }
rm -f /tmp/enough
flood &
e() { /tools/ethtool "$@"; }
for round in $(rounds 2); do
	ip link set eth0 mtu $((1280 + round % 9 * 100)) || fail "round $round: mtu"
	e -L eth0 combined 1 || fail "round $round: one channel"
	need_net
	e -G eth0 rx $((3000 + round % 7 * 100)) tx $((100 + round % 5)) || fail "round $round: rings"
	ip link set eth0 down && ip link set eth0 up || fail "round $round: down and up"
	e -L eth0 combined 2 || fail "round $round: two channels"
	need_net
done
touch /tmp/enough
wait
ip link set eth0 mtu 1500
need_net
[ "$(cat /sys/class/net/eth0/address)" = "$mac" ] || fail "the card has another address"
receive_file
