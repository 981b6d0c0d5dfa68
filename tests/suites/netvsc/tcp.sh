# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_netvsc
# kconfig: fast
# rust: hv_vmbus hv_storvsc hv_netvsc
# alone: yes
# timeout: 90
# tools: iperf3
# breaks-with: the VMM without LSO in its offload answer
#
# Figures for TCP, and a quarter of what a complete VMM reached on this kind of machine.

need_net
rate() { # ARGUMENTS...: Mbit/s at the receiver
	/tools/iperf3 -c $PEER -t 2 -f m "$@" >/tmp/iperf.txt || fail "iperf3 $*: $(tail -n 1 /tmp/iperf.txt)"
	sed -n 's,.* \([0-9.]*\) Mbits/sec .*receiver.*,\1,p' /tmp/iperf.txt | tail -n 1
}
tx=$(rate)
rx=$(rate -R)
tx4=$(rate -P 4)
note "netvsc: TCP $tx Mbit/s to the peer, $rx from it; four streams $tx4"
at_least "$tx" "$(at_this_speed 155)" "Mbit/s to the peer"
at_least "$rx" "$(at_this_speed 106)" "Mbit/s from the peer"
