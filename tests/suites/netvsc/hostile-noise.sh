# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 120
# boot: own
# soak: 50
# host: --nic tap0,rsc=on
# xfail-c: X1/X15 no end after|soft lockup|killed|is not ready|does not answer|no section is free
# breaks-with: netvsc/queue.rs: what cannot be used is not completed (seen)
#
# Thousands of packets that follow from a seed, most of them wrong in one to three words, while
# others come and go: nothing happens to those, and nothing stays behind.

need_net
noise 4
traffic() { while [ ! -e /tmp/enough ]; do receive_file || return 1; send_file /tmp/noise || return 1; done; }
rm -f /tmp/enough
traffic >/tmp/traffic 2>&1 &
for round in $(seq 1 $((50 * TIMES))); do
	host nic0 noise $((round * 7919)) 200
	# The host has as many sections as there are; these come back when the guest has looked.
	sleep 0.05
done
touch /tmp/enough
wait $! || fail "the other traffic failed: $(tail -n 1 /tmp/traffic)"
sent=$(counter nic0.bad)
[ "$sent" -ge $((10000 * TIMES)) ] || fail "the host sent $sent bad packets"
receive_file $PEER6
ip link set eth0 down
need_net
