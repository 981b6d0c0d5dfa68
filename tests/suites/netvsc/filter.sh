# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 120
# breaks-with: netvsc/attach.rs: the host is not told the new address (seen)
#
# The packet filter: which frames come in, with an interface that is up, that wants all
# multicast or everything, and that is down. And another MAC address, which the host must
# know and which stays when the card is set up anew.

need_net
peer() { echo "$*" | nc -w 10 $PEER 7004; }
own=$(cat /sys/class/net/eth0/address) new=02:aa:bb:cc:01:02
through() { # DESTINATION: how many of 20 frames reach the driver
	local before
	sleep 0.3
	before=$(counter nic0.rx_filtered)
	[ "$(peer send "$1" 20)" = sent ] || fail "the peer does not send to $1"
	sleep 0.3
	echo $((20 - $(counter nic0.rx_filtered) + before))
}
expect() { # COUNT DESTINATION WHEN
	local got
	got=$(through "$2")
	[ "$got" = "$1" ] || fail "$3: $got of 20 frames to $2 came through, not $1"
}
group=01:00:5e:7f:00:01 other=02:00:00:00:00:01
expect 20 "$own" "up"
expect 20 ff:ff:ff:ff:ff:ff "up"
expect 0 $other "up"
# Linux has groups of its own, and the driver knows all of them or none.
expect 20 $group "up"
ip link set eth0 promisc on
expect 20 $other "promiscuous"
expect 20 $group "promiscuous"
ip link set eth0 promisc off
expect 0 $other "no longer promiscuous"
ifconfig eth0 allmulti
expect 20 $group "all multicast"
expect 0 $other "all multicast"
ifconfig eth0 -allmulti

# The driver changes it only while it is down.
not ip link set eth0 address $new || fail "the address changes while the interface is up"
address() { # ADDRESS
	ip link set eth0 down && ip link set eth0 address "$1" || fail "the address cannot be changed to $1"
	ip link set eth0 up && ip addr replace 192.168.77.2/24 dev eth0
	# ARP tells the peer, but of IPv6 it asks the old address for long.
	within 20 ping -c 1 -W 1 $PEER || fail "the peer does not answer to $1"
	[ "$(peer forget)" = forgotten ] || fail "the peer does not forget"
	need_net
}
address $new
expect 20 $new "another address"
ip link set eth0 mtu 1400 && ip link set eth0 mtu 1500
need_net
expect 20 $new "another address, set up anew"
[ "$(cat /sys/class/net/eth0/address)" = $new ] || fail "the address is $(cat /sys/class/net/eth0/address)"
ip link set eth0 down
not ip link set eth0 address 01:00:00:00:00:01 || fail "a group's address is taken"
address "$own"
expect 0 $new "the old address again"

# Down: nothing at all, not even to be filtered.
before=$(counter nic0.rx_packets)
ip link set eth0 down
sleep 3
[ "$(counter nic0.rx_packets)" -lt $((before + 5)) ] || fail "frames come in while the interface is down"
need_net
