# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 120
# boot: own
# xfail-c: Y3 I/O hangs|disk 0 did not come
# breaks-with: a wait for requests under way that the rescind does not end
#
# The host takes the controller away while it is busy: its disks vanish, what was under
# way ends with an error instead of hanging, and when it comes back they hold their data.

need_disk 0
dd if=/dev/urandom of=/tmp/data bs=1M count=2
dd if=/tmp/data of="$disk" bs=1M conv=fsync
for round in 1 2 3 4; do
	need_disk 0
	readers=
	for reader in 1 2 3 4; do
			(while dd if="$disk" of=/dev/null bs=64k count=64 iflag=direct; do :; done) 2>/dev/null &
		readers="$readers $!"
	done
	# dd creates what it does not find: a loop without the look would go on in a file.
	(while [ -b "$disk" ] && dd if=/tmp/data of="$disk" bs=64k seek=512 oflag=direct; do :; done) 2>/dev/null &
	readers="$readers $!"
	sleep 1
	for reader in $readers; do
		kill -0 "$reader" || fail "round $round: I/O failed before the rescind"
	done

	host rescind scsi0
	within 30 not disk_name 0 || fail "round $round: the disk is still there 30 s after the rescind"
	for reader in $readers; do
		within 15 not kill -0 "$reader" || fail "round $round: I/O hangs 15 s after the rescind"
	done
	wait
	[ -b "$disk" ] || rm -f "$disk"
	class='{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}'
	# I/O ends before the disks are removed.
	within 15 not grep -qF "$class" /sys/bus/vmbus/devices/*/class_id ||
		fail "round $round: the device is still on the bus"

	host offer scsi0
	need_disk 0
	[ "$(dd if="$disk" bs=1M count=2 iflag=direct | sum)" = "$(sum /tmp/data)" ] ||
		fail "round $round: the disk came back with other data"
	dd if=/tmp/data of="$disk" bs=64k conv=fsync || fail "round $round: cannot write to the disk that came back"
	need_disk 1
done
