# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# each: mtu speed
# xfail-c: X9/X10 the MTU is|the speed is
# breaks-with: C's own way: what the host says is taken as it is (seen)
#
# X9, X10: what the host says of the card is not taken if it cannot be, an MTU of 0, or if half of it
# is missing, of the link's speed; what was known before stays.

device=$(basename "$(readlink /sys/class/net/eth0/device)")
driver=/sys/bus/vmbus/drivers/hv_netvsc
again() {
	echo "$device" >$driver/unbind
	echo "$device" >$driver/bind || fail "the card does not come"
	[ -e /sys/class/net/eth0 ] || fail "there is no eth0"
}
need_net
case $1 in
mtu) host nic0 say 0x10106 00000000 ;;
speed) host nic0 say 0x10107 0100 ;;
esac
again
case $1 in
mtu) [ "$(cat /sys/class/net/eth0/mtu)" = 1500 ] || fail "the MTU is $(cat /sys/class/net/eth0/mtu)" ;;
speed)
	ip link set eth0 up
	speed=$(cat /sys/class/net/eth0/speed)
	[ "$speed" = -1 ] || fail "the speed is $speed, of which the host has said half"
	;;
esac
need_net
receive_little
host nic0 say truth
again
need_net
[ "$(cat /sys/class/net/eth0/mtu)" = 1500 ] || fail "with the truth the MTU is $(cat /sys/class/net/eth0/mtu)"
[ "$(cat /sys/class/net/eth0/speed)" = 10000 ] || fail "with the truth the speed is $(cat /sys/class/net/eth0/speed)"
