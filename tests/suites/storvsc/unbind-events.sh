# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 120
# boot: own
# soak: 5
# xfail-c: Y6 WARNING: kernel/workqueue
# breaks-with: storvsc/events.rs: an event about disks asks for no scan (seen)
#
# The driver goes while events come that make it look for disks, and comes back while they still do
# (Y6): no work outlives it, and the disks are there.

need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
name=${device##*/}
for round in $(rounds 6); do
	host scsi0 add $((20 + round % 9)) 8M silent
	host scsi0 notify b 200
	host scsi0 notify 2 200
	case $((round % 3)) in
	0)
		echo "$name" >/sys/bus/vmbus/drivers/hv_storvsc/unbind
		host scsi0 notify b 50
		echo "$name" >/sys/bus/vmbus/drivers/hv_storvsc/bind
		;;
	1)
		# Not while disks are looked for, which uses it.
		unload hv_storvsc
		modprobe hv_storvsc
		;;
	2)
		host scsi0 remove $((20 + round % 9)) silent
		host scsi0 notify b 200
		;;
	esac
	host scsi0 notify b 20
	need_disk 0
	need_disk 1
	[ $((round % 3)) = 2 ] || need_disk $((20 + round % 9))
	[ $((round % 3)) = 2 ] || host scsi0 remove $((20 + round % 9)) enumerate
	within 20 not disk_name $((20 + round % 9)) || fail "round $round: the disk that was removed is still there"
done
need_disk 0
[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk returns other data"
