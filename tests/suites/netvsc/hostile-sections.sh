# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# boot: own
# tools: ethtool
# xfail-c: X15 gave back
# breaks-with: netvsc/queue.rs: what cannot be used is not completed (seen)
#
# The guest gives the sections of a packet that it cannot use back, or the host runs out of them.

need_net
/tools/ethtool -G eth0 rx 64 || fail "ethtool -G"
need_net
for n in $(seq 10); do
	host nic0 bad type-in-buffer 5 || fail "the guest never gave back what it could not use"
	within 5 ping -c 1 -W 1 $PEER || fail "after $((n * 5)) bad packets the guest gave back too few sections: $(host nic0 counters)"
done
