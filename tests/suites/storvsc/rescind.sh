# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus hv_storvsc
# smoke: yes
# timeout: 90
# soak: 5
# breaks-with: the VMM answers "ok" without the rescind message; the VMM offers another instance id
#
# The host takes the controller away: its disks vanish, who has one open gets errors, and
# when it comes back they hold their data. Twice, with nothing under way at that moment
# and nothing to flush; rescind-busy is about the rest.

class='{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}'
need_disk 0
dd if=/dev/urandom of=/tmp/data bs=1M count=2
dd if=/tmp/data of="$disk" bs=1M conv=fsync
for round in $(rounds 2); do
	need_disk 0
	exec 5<"$disk"
	sync
	# Otherwise sd flushes the disk when it goes, and C's driver never lets that end (Y3).
	for lun in 0 1; do
		echo temporary write through >"$(echo /sys/class/scsi_disk/*:0:0:$lun)/cache_type"
	done
	before=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
	host rescind scsi0
	within 30 not disk_name 0 || fail "round $round: the disk is still there 30 s after the rescind"
	within 30 not grep -qF "$class" /sys/bus/vmbus/devices/*/class_id ||
		fail "round $round: the device is still on the bus 30 s after the rescind"
	# An error or the end of the disk, but neither data nor a wait.
	bytes=$(timeout 10 dd bs=4k count=1 skip=100 iflag=direct <&5 | wc -c) || true
	[ "$bytes" = 0 ] || fail "round $round: a disk that is gone can be read"
	exec 5<&-

	host offer scsi0
	need_disk 0
	[ "$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)" = "$before" ] || fail "round $round: another device came back"
	[ "$(dd if="$disk" bs=1M count=2 iflag=direct | sum)" = "$(sum /tmp/data)" ] ||
		fail "round $round: the disk came back with other data"
	dd if=/dev/urandom of=/tmp/data bs=1M count=2
	dd if=/tmp/data of="$disk" bs=64k conv=fsync || fail "round $round: cannot write to the disk that came back"
	[ "$(host disk 0 hash 0 $((2 << 20)))" = "$(sum /tmp/data)" ] || fail "round $round: the write did not reach the host's disk"
	need_disk 1
done
