# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# tools: ethtool
# each: mtu speed lso
# xfail-c: X9/X10 the MTU is|the speed is|it segments
# breaks-with: C's own way: what the host says is taken as it is (seen, for the size of segmented frames too)
#
# X9, X10: what the host says of the card is not taken if it cannot be, an MTU of 0, or if half of it
# is missing, of the link's speed; what was known before stays. A card that segments frames of no bytes
# segments none.

need_net
segments() { /tools/ethtool -k eth0 | grep -Eq 'tx-tcp6?-segmentation: on'; }
segments || fail "the card does not segment"
case $1 in
mtu) host nic0 say 0x10106 00000000 ;;
speed) host nic0 say 0x10107 0100 ;;
lso) host nic0 say lso 0 ;;
esac
rebind_card
case $1 in
mtu) [ "$(cat /sys/class/net/eth0/mtu)" = 1500 ] || fail "the MTU is $(cat /sys/class/net/eth0/mtu)" ;;
speed)
	ip link set eth0 up
	speed=$(cat /sys/class/net/eth0/speed)
	[ "$speed" = -1 ] || fail "the speed is $speed, of which the host has said half"
	;;
lso) not segments || fail "it segments frames of no bytes" ;;
esac
need_net
noise 1
send_file /tmp/noise
receive_little
host nic0 say truth
rebind_card
need_net
[ "$(cat /sys/class/net/eth0/mtu)" = 1500 ] || fail "with the truth the MTU is $(cat /sys/class/net/eth0/mtu)"
[ "$(cat /sys/class/net/eth0/speed)" = 10000 ] || fail "with the truth the speed is $(cat /sys/class/net/eth0/speed)"
segments || fail "with the truth the card does not segment"
