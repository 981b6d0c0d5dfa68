# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 120
# host: --strict --pauses 2 --pattern
# breaks-with: vmbus/ring/writer.rs: each hundredth signal is not sent (seen, but in the boot)
#
# A host that reads a ring only when it was signalled, that stops after each number of
# packets, and that writes over shared memory until the guest has it back: every signal
# that is needed comes, and no memory is used before it may.

need_disk 0
need_net
noise 4
for round in 1 2; do
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct || fail "round $round: writing failed"
	dd if="$disk" of=/tmp/back bs=64k count=64 iflag=direct || fail "round $round: reading failed"
	cmp /tmp/noise /tmp/back || fail "round $round: the disk returns other data than was written"
	send_file /tmp/noise
	receive_file
	for module in hv_netvsc hv_storvsc; do
		unload $module
		modprobe $module
	done
	need_disk 0
	need_net
done
# A slow guest fills the ring with fewer packets at a time.
[ "$(counter nic0.fault.pause)" -ge $((SLOW == 1 ? 10 : 4)) ] || fail "the host made $(counter nic0.fault.pause) pauses"
[ "$(counter patterns)" -ge 4 ] || fail "no memory was written to"
