# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# boot: own
# each: packet answer
# xfail-c: X2 no end after|killed|crash|is not ready|does not answer|BUG|Oops
# breaks-with: C's own way: rings and objects that are not there yet are written to (seen)
#
# X2: a packet of frames comes before the guest has shared the buffer for them, or the answer to a
# question of RNDIS before anybody could ask one. The card comes up all the same.

need_net
before=$(counter nic0.bad)
host nic0 early "$1"
ip link set eth0 mtu 1400 || fail "the card cannot be set up"
[ $(($(counter nic0.bad) - before)) = 1 ] || fail "the host was not early"
need_net
receive_little
ip link set eth0 mtu 1500
need_net
