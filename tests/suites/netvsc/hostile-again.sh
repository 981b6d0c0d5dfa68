# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_netvsc
# timeout: 60
# soak: 20
# host: --nic tap0,queues=2
# tools: ethtool
# breaks-with: netvsc/control.rs: an answer that nobody waits for is an error (seen)
#
# X4: each answer to a control message comes twice, on two channels: the one on the other channel
# may be looked at when who has asked is just done with the first. C survives this unless the two
# meet within a few instructions.

need_net
two() { [ "$(/tools/ethtool -l eth0 | sed -n 's/^Combined:[[:space:]]*//p' | tail -n 1)" = 2 ]; }
# Others in this boot may have left it with one.
two || /tools/ethtool -L eth0 combined 2 || true
within 10 two || fail "there is one channel"
noise 1
before=$(counter nic0.bad) refused=$(counter nic0.rx_guest_failed)
host nic0 bad answer-again 1000000
for round in $(rounds 40); do
	ip link set eth0 down || fail "round $round: down"
	ip link set eth0 up || fail "round $round: up"
done
[ $(($(counter nic0.bad) - before)) -ge 40 ] || fail "only $(($(counter nic0.bad) - before)) answers came twice"
ip link set eth0 mtu 1400 || fail "the card cannot be set up"
host nic0 bad answer-again 0
need_net
[ "$(counter nic0.rx_guest_failed)" = "$refused" ] || fail "the guest says that it cannot use the second answer"
send_file /tmp/noise
receive_little
ip link set eth0 mtu 1500
