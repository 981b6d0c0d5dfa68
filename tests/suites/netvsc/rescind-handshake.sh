# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 180
# boot: own
# xfail-c: X7 rescinded .* is still on the bus|did not come
# breaks-with: a wait for the host's answer that the rescind does not end, as C has it (seen)
#
# The host takes the card away right after its channel was opened, and instead of each answer
# of the start that follows: nobody waits for the answer, and when the card comes back it works.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }
faults() { counter fault.rescind; }
packets() { counter nic0.fault.rescind; }
came() { [ $(($(faults) + $(packets))) -gt "$count" ]; }
need_net
host rescind nic0
within 20 gone || fail "the card is still there"
for step in opened 0 1 2 3 4 5 6 7 8 9; do
	count=$(($(faults) + $(packets)))
	case $step in
	opened) host fault rescind nic0 opened ;;
	*) host fault packet nic0 rescind skip "$step" ;;
	esac
	host offer nic0
	within 10 came || fail "step $step did not come"
	within 15 gone || fail "rescinded at step $step, the card is still on the bus"
	timeout 10 ip link show >/dev/null || fail "rescinded at step $step: ip link hangs"
done
host offer nic0
need_net
noise 1
send_file /tmp/noise
need_disk 0
