# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# timeout: 120
# boot: own
# breaks-with: not seen yet: nobody has broken the host or a driver on purpose for this one
#
# The host takes a card away in the middle of each step of its start: the guest lets go
# of it, and takes it when it comes again.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }

need_net
host rescind nic0
within 20 gone || fail "the card is still there"
for step in offered gpadl open; do
	host fault rescind nic0 $step
	host offer nic0
	rescinded() { [ "$(counter 'fault[.]rescind')" != "${count:-0}" ]; }
	within 10 rescinded || fail "step $step did not come"
	count=$(counter 'fault[.]rescind')
	within 20 gone || fail "rescinded at $step: the card is still on the bus"
	timeout 10 ip link show >/dev/null || fail "rescinded at $step: ip link hangs"
done
# Away and there again in one breath, while it starts.
host offer nic0
host rescind nic0
host offer nic0
need_net
