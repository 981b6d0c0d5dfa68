# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus hv_netvsc
# timeout: 120
# breaks-with: the VMM changes one byte of a full frame and its checksum stays "verified" (seen)
#
# Data over TCP arrives as it was sent: each way, over IPv4 and IPv6, both ways at once.

need_net
noise 8
send_file /tmp/noise
receive_file
send_file /tmp/noise $PEER6
receive_file $PEER6

receive_file &
send_file /tmp/noise
wait $! || fail "receiving while sending failed"
