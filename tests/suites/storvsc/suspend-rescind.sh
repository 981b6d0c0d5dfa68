# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_vmbus hv_storvsc
# timeout: 120
# boot: own
# xfail-c: Y18 no end after|killed
# breaks-with: storvsc/driver.rs: a controller without channels waits for the host at its end (seen: the system hangs, as it does with C)
#
# The host takes a controller away while the system hibernates: when its channel is closed; then, too,
# when there are events that nobody looks at before the system is back; and when it is asked to begin
# anew. The system comes back, and so does the controller, with its data.

class='{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}'
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }
need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
echo platform >/sys/power/pm_test
echo 1 >/sys/module/hibernate/parameters/pm_test_delay
for when in close events answer; do
	# A cache to be written back when the disk goes.
	echo write back >"$(echo /sys/class/scsi_disk/*:0:0:0)/cache_type"
	case $when in
	answer) host fault packet scsi0 rescind ;;
	*) host fault rescind scsi0 close ;;
	esac
	[ $when != events ] || {
		for ms in 200 400 600 800 1000 1500 2000 3000; do
			host fault packet scsi0 delay $ms
			host scsi0 notify b
		done
	}
	echo disk >/sys/power/state || fail "$when: the kernel cannot hibernate: $(dmesg | tail -n 3)"
	within 20 gone || fail "$when: the controller is still there"
	host fault clear
	need_net
	host offer scsi0
	need_disk 0
	[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "$when: the disk returns other data"
done
echo none >/sys/power/pm_test
