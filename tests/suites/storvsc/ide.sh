# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 90
# boot: own
# host: --ide 24M --ide 40M --ide 16M:dvd --scsi-channels 3
# xfail-c: Y3? does not power off
# breaks-with: storvsc/driver.rs: each disk is added as target 0 (seen)
#
# Disks of an IDE controller, each a device of its own: one hardware queue, one channel, and the
# target that is in the device's name.

instance() { echo /sys/bus/vmbus/devices/00000000-000"$1"-8899-0000-000000000000; }
of() { # DISK: sets dir and disk
	within 20 [ -e "$(instance "$1")/driver" ] || fail "disk $1: no driver is bound"
	for dir in "$(instance "$1")"/host*/target*/*:0:"$1":0; do
		[ -d "$dir" ] || fail "disk $1 is not at target $1"
	done
	disk=/dev/$(ls "$dir/block")
}
noise 2
for number in 0 1 2; do
	within 20 [ -e "$(instance $number)/driver" ] || fail "disk $number has no driver"
	present() { [ -n "$(ls "$(instance $number)"/host*/target*/*:0:$number:0/block)" ]; }
	within 20 present || fail "disk $number did not come"
	of $number
	host_dir=$(echo "$(instance $number)"/host*/scsi_host/host*)
	[ "$(cat "$host_dir/nr_hw_queues")" = 1 ] || fail "disk $number: $(cat "$host_dir/nr_hw_queues") hardware queues"
	[ "$(ls "$(instance $number)/channels" | wc -l)" = 1 ] || fail "disk $number has sub-channels"
	[ "$(cat "$(instance $number)/class_id")" = "{32412632-86cb-44a2-9b5c-50d1417354f5}" ] || fail "disk $number: another class"
	[ "$(ls -d "$(instance $number)"/host*/target* | wc -l)" = 1 ] || fail "disk $number: more than one target"
done
for number in 0 1; do
	of $number
	[ "$(cat "/sys/block/${disk#/dev/}/size")" = $(((24 + 16 * number) * 2048)) ] || fail "disk $number has another size"
	dd if=/tmp/noise of="$disk" bs=64k seek=$((number * 7)) oflag=direct
	[ "$(host ide$number hash 0:$number:0 $((number * 7 * 65536)) $((2 << 20)))" = "$(sum /tmp/noise)" ] ||
		fail "what was written to disk $number did not arrive"
	[ "$(dd if="$disk" bs=64k skip=$((number * 7)) count=32 iflag=direct | sum)" = "$(sum /tmp/noise)" ] ||
		fail "disk $number returns other data"
done
of 2
[ "$(dd if="$disk" bs=64k count=256 iflag=direct | sum)" = "$(host ide2 hash 0:2:0 0 $((16 << 20)))" ] || fail "the DVD reads otherwise"
# Gone, one alone; sd flushes it, which the C driver never ends.
host rescind ide1
within 30 [ ! -e "$(instance 1)" ] || fail "disk 1 is still on the bus"
of 0
dd if="$disk" of=/dev/null bs=64k count=4 iflag=direct || fail "disk 0 does not read without disk 1"
