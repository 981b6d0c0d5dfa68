# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 90
# soak: 4
# host: --scsi-channels 3
# breaks-with: no edit of one line was found: channels that are left open, and disks that the driver does not remove, are seen to by kernel::vmbus and kernel::scsi (both tried)
#
# The driver is taken from a busy controller (S26): what is under way ends, in time or with an error,
# the disks are gone, and so is all that it had open; bound again it finds what was written.

device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
name=${device##*/}
need_disk 0
noise 2
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
for round in $(rounds 3); do
	need_disk 0
	users=
	for user in 1 2 3 4; do
		# dd makes a file where no disk is any more.
		(while [ -b "$disk" ]; do
			dd if="$disk" of=/dev/null bs=64k count=32 iflag=direct &&
				dd if=/tmp/noise of="$disk" bs=16k seek=$((256 * user)) oflag=direct || exit 0
		done) 2>/dev/null &
		users="$users $!"
	done
	sleep 1
	for user in $users; do
		kill -0 "$user" || fail "round $round: a command failed before it began"
	done
	echo "$name" >/sys/bus/vmbus/drivers/hv_storvsc/unbind
	not disk_name 0 || fail "round $round: there is a disk without a driver"
	[ "$(cat "$device"/channels/*/out_mask 2>/dev/null | wc -l)" = 0 ] || fail "round $round: a channel is open without a driver"
	for user in $users; do
		within 15 not kill -0 "$user" || fail "round $round: I/O hangs though the disk is gone"
	done
	wait
	[ -b "$disk" ] || rm -f "$disk"
	echo "$name" >/sys/bus/vmbus/drivers/hv_storvsc/bind
	need_disk 0
	[ "$(dd if="$disk" bs=64k count=32 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "round $round: the disk returns other data"
	need_disk 1
done
