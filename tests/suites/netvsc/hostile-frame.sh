# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 30
# boot: own
# breaks-with: netvsc/receive.rs: 14 subtracted from a length that was not looked at (seen)
#
# Frames that are shorter than an Ethernet header.

need_net
host nic0 bad frame-short 20
within 5 ping -c 1 -W 1 $PEER || fail "no answer after it"
