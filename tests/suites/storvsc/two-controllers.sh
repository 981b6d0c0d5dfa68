# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_storvsc
# timeout: 90
# boot: own
# host: --scsi 16M --ide 16M
# xfail-c: Y7 the version of another|the depth of another
# breaks-with: storvsc/queue.rs: the version is taken for 6.2 (seen)
#
# Each controller keeps to what its own host says (Y7): with one of version 6.0 and one of 6.2, in
# both orders, each new disk is treated as its controller's version wants; and the queue depth of a
# disk has the limit of its own controller.

at() { # CONTROLLER LUN FILE: of a disk
	cat /sys/block/"$(disk_of "$1" "$2")"/device/$3
}
try() { # VERSION OF CONTROLLER 0 AND 1
	local number=0 version level
	host scsi0 set versions "$1"
	host scsi1 set versions "$2"
	unload hv_storvsc
	modprobe hv_storvsc
	within 20 opens disk_of 0 1 && within 20 opens disk_of 1 0 || fail "$1, $2: the disks did not come"
	for version in "$1" "$2"; do
		host scsi$number add 9 8M:spc=4
		within 20 opens disk_of $number 9 || fail "$1, $2: the new disk of controller $number did not come"
		# It claims SPC-2.
		[ "$version" = 6.0 ] && level=6 || level=5
		[ "$(at $number 9 scsi_level)" = $level ] ||
			fail "$1, $2: controller $number has the version of another: level $(at $number 9 scsi_level)"
		number=$((number + 1))
	done
	host scsi0 remove 9
	host scsi1 remove 9
	within 20 not disk_of 0 9 && within 20 not disk_of 1 9 || fail "$1, $2: the disks do not go"
}
try 6.0 6.2
try 6.2 6.0

# A sub-channel for each processor counts for the depth, but not with IDE.
unload hv_storvsc
modprobe hv_storvsc storvsc_vcpus_per_sub_channel=1
ide=00000000-0000-8899-0000-000000000000
scsi=$(basename /sys/bus/vmbus/devices/f8b3781a-*)
there() { [ -e "$(echo /sys/bus/vmbus/devices/"$1"/host*/target*/*:0/block)" ]; }
for last in $ide "$scsi"; do
	within 20 there $ide && within 20 there "$scsi" || fail "the disks did not come"
	echo "$last" >/sys/bus/vmbus/drivers/hv_storvsc/unbind
	echo "$last" >/sys/bus/vmbus/drivers/hv_storvsc/bind
	within 20 there "$last" || fail "the disk of $last did not come"
	for device in $ide "$scsi"; do
		limit=$(cat /sys/bus/vmbus/devices/"$device"/host*/scsi_host/host*/can_queue)
		depth=$(echo /sys/bus/vmbus/devices/"$device"/host*/target*/*:0/queue_depth)
		echo 7 >"$depth"
		echo "$limit" >"$depth" || fail "$device does not take its own depth, $limit"
		[ "$(cat "$depth")" = "$limit" ] || fail "$device has the depth of another: $(cat "$depth"), and not $limit"
	done
done
