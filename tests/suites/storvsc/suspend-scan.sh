# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 45
# boot: own
# soak: 5
# xfail-c: Y14 no end after|killed
# breaks-with: storvsc/controller.rs: a suspend waits for the end of the scan (seen)
#
# The way into hibernation begins while the driver looks for disks, which takes its time, and events
# make it look again on the way (Y14): nobody waits for the other, and afterwards all works.

need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
echo platform >/sys/power/pm_test
for round in $(rounds 1); do
	# The scan goes on until the devices are stopped, and longer.
	for ms in 100 500 1000 1500 2000 3000 4000; do
		host fault packet scsi0 delay $ms
		host scsi0 notify b
	done
	host fault packet scsi0 delay 80 100000 completions
	sleep 0.5
	echo disk >/sys/power/state || fail "round $round: the kernel cannot hibernate: $(dmesg | tail -n 3)"
	host fault clear
	need_disk 0
	[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "round $round: the disk returns other data"
	host scsi0 add 6 8M
	need_disk 6
	host scsi0 remove 6
	within 20 not disk_name 6 || fail "round $round: a disk that was removed is still there"
done
