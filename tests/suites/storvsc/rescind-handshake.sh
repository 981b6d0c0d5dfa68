# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 180
# boot: own
# xfail-c: W24/Y4 rescinded .* is still on the bus|did not come
# breaks-with: a wait for the host's answer that the rescind does not end, as C has it (seen)
#
# The host takes the controller away right after its channel was opened, and instead of each
# answer of the start that follows and of the first commands: nobody waits for the answer, and
# when the controller comes back its disks are there.

class='{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}'
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }
faults() { counter fault.rescind; }
packets() { counter scsi0.fault.rescind; }
came() { [ $(($(faults) + $(packets))) -gt "$count" ]; }
need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
# Otherwise sd flushes the disks when they go, and C's driver never lets that end (Y3).
for lun in 0 1; do
	need_disk $lun
	echo temporary write through >"$(echo /sys/class/scsi_disk/*:0:0:$lun)/cache_type"
done
host rescind scsi0
within 20 gone || fail "the controller is still there"
for step in opened 0 1 2 3 4 5 6 7 8 9; do
	count=$(($(faults) + $(packets)))
	case $step in
	opened) host fault rescind scsi0 opened ;;
	*) host fault packet scsi0 rescind skip "$step" ;;
	esac
	host offer scsi0
	within 10 came || fail "step $step did not come"
	within 15 gone || fail "rescinded at step $step, the controller is still on the bus"
done
host offer scsi0
need_disk 0
dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct
cmp /tmp/noise /tmp/back || fail "the disk returns other data than was written"
need_net
