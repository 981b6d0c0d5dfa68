# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 120
# boot: own
# breaks-with: a controller that hangs at its rescind, as C's does with a disk to flush (seen)
#
# The host takes a card and a controller away in the middle of each step of the bus in their
# start: the guest lets go of them, and takes them when they come again.

nic='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
scsi='{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}'
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }
faults() { counter 'fault[.]rescind'; }
rescinded() { [ "$(faults)" -gt "$count" ]; }
begin() { # DEVICE STEP: offers it; the host was told when to take it away
	host offer "$1"
	within 10 rescinded || fail "$1: step $2 did not come"
	within 20 gone || fail "$1 rescinded at $2: it is still on the bus"
}

need_disk 0
need_net
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
for device in nic0 scsi0; do
	class=$nic
	[ $device = nic0 ] || class=$scsi
	# Otherwise sd flushes the disks when they go, and C's driver never lets that end (Y3).
	for lun in 0 1; do
		need_disk $lun
		echo temporary write through >"$(echo /sys/class/scsi_disk/*:0:0:$lun)/cache_type"
	done
	host rescind $device
	within 20 gone || fail "$device is still there"
	for step in offered gpadl open; do
		count=$(faults)
		host fault rescind $device $step
		begin $device $step
		timeout 10 ip link show >/dev/null || fail "$device rescinded at $step: ip link hangs"
	done
	# Away and there again in one breath, while it starts. Not the controller: commands of its
	# scan that C's storvsc loses with it end when the SCSI layer gives up, half a minute later.
	host offer $device
	if [ $device = nic0 ]; then
		host rescind $device
		host offer $device
	fi
	need_disk 0
	need_net
done
# The card's buffers, after its ring.
class=$nic
host rescind nic0
within 20 gone || fail "the card is still there"
for buffer in 1 2; do
	count=$(faults)
	host fault message GPADL_CREATED rescind skip $buffer
	begin nic0 "buffer $buffer"
	timeout 10 ip link show >/dev/null || fail "rescinded at buffer $buffer: ip link hangs"
done
host offer nic0
need_net
send_file /tmp/noise
need_disk 0
dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct
cmp /tmp/noise /tmp/back || fail "the disk returns other data than was written"
