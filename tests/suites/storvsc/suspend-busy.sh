# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 120
# boot: own
# soak: 6
# host: --scsi 32M --ide 24M --scsi-channels 3
# breaks-with: storvsc/controller.rs: a resume does not ask for sub-channels (seen)
#
# The way into hibernation up to the image and back, with disks under load: no command fails or is
# lost, and all channels are there again.

need_disk 0
device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
all_channels() { [ "$(ls "$device/channels" | wc -l)" = "$(nproc)" ]; }
within 10 all_channels || fail "there are $(ls "$device/channels" | wc -l) channels"
within 20 [ -e /sys/bus/vmbus/devices/00000000-0000-8899-0000-000000000000/driver ] || fail "the IDE disk has no driver"
noise 2
ide() { basename "$(echo /sys/bus/vmbus/devices/00000000-0000-8899-0000-000000000000/host*/target*/*/block/*)"; }
disks="$disk /dev/$(disk_name 1) /dev/$(disk_of 1 0) /dev/$(ide)"
loads=
for disk in $disks; do
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct
	: >"/tmp/done-$(basename "$disk")"
	(while dd if="$disk" bs=64k count=32 iflag=direct | cmp - /tmp/noise &&
		dd if=/tmp/noise of="$disk" bs=32k oflag=direct && echo . >>"/tmp/done-$(basename "$disk")"; do :; done) 2>/dev/null &
	loads="$loads $!"
done
contacts=$(counter contacts)
echo platform >/sys/power/pm_test
# Seconds that the kernel counts by turning round and round, with nothing there.
echo 1 >/sys/module/hibernate/parameters/pm_test_delay
for round in $(rounds 1); do
	sleep 1
	echo disk >/sys/power/state || fail "round $round: the kernel cannot hibernate"
	[ "$(counter contacts)" -gt "$contacts" ] || fail "round $round: the bus did not connect again"
	contacts=$(counter contacts)
	within 20 all_channels || fail "round $round: there are $(ls "$device/channels" | wc -l) channels"
	for disk in $disks; do
		seen=$(wc -l <"/tmp/done-$(basename "$disk")")
		goes_on() { [ "$(wc -l <"/tmp/done-$(basename "$disk")")" -gt "$seen" ]; }
		within 20 goes_on || fail "round $round: nothing happens on $disk any more"
	done
	for load in $loads; do
		kill -0 "$load" || fail "round $round: a command failed, or data are other than they were"
	done
done
# shellcheck disable=SC2086
kill $loads
wait || true
for disk in $disks; do
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct
	[ "$(dd if="$disk" bs=64k count=32 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "$disk returns other data at the end"
done
