# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 30
# boot: own
# each: frame-short frame-long header-long
# xfail-c: X11 was taken|KASAN
# breaks-with: netvsc/receive.rs: 14 subtracted from a length that was not looked at (seen)
#
# X11: frames that are shorter than an Ethernet header, or longer than IP can carry, and IP headers
# that are longer than their frame and whose checksum is to be computed. They are refused.

need_net
before=$(counter nic0.rx_guest_failed)
host nic0 bad "$1" 20
within 5 ping -c 1 -W 1 $PEER || fail "no answer after it"
[ $(($(counter nic0.rx_guest_failed) - before)) = 20 ] ||
	fail "a frame was taken that is none: the guest refused $(($(counter nic0.rx_guest_failed) - before)) of 20"
