# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2 4
# rust: hv_vmbus hv_storvsc
# timeout: 120
# host: --scsi-channels 3
# breaks-with: CREATE_SUB_CHANNELS answered with success, without offers
#
# One channel more for each processor after the first, as far as the host has them: in
# sysfs, with I/O and interrupts on each of them, and gone and back with the driver.

device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
cpus=$(nproc)
channels() { ls "$device/channels"; }
all_there() { [ "$(channels | wc -l)" = "$cpus" ]; }
open() { within 10 all_there || fail "there are $(channels | wc -l) channels with $cpus processors"; }
figure() { cat "$device/channels/$1/$2"; }

noise 4
for round in 1 2; do
	need_disk 0
	open
	for channel in $(channels); do
		figure "$channel" subchannel_id
	done | sort >/tmp/ids
	seq 0 $((cpus - 1)) >/tmp/expected
	cmp /tmp/ids /tmp/expected || fail "the channels have other numbers: $(cat /tmp/ids)"

	for channel in $(channels); do
		echo "$(figure "$channel" interrupts) $(figure "$channel" events)" >/tmp/before"$channel"
	done
	for cpu in $(seq 0 $((cpus - 1))); do
		taskset $((1 << cpu)) dd if=/tmp/noise of="$disk" bs=64k seek=$((64 * cpu)) oflag=direct
	done
	for channel in $(channels); do
		read -r interrupts events </tmp/before"$channel"
		[ "$(figure "$channel" interrupts)" -gt "$interrupts" ] || fail "round $round: no interrupt of channel $channel"
		[ "$(figure "$channel" events)" -gt "$events" ] || fail "round $round: channel $channel was not used"
	done
	for cpu in $(seq 0 $((cpus - 1))); do
		[ "$(host disk 0 hash $((cpu << 22)) $((4 << 20)))" = "$(sum /tmp/noise)" ] || fail "what processor $cpu wrote is not on the disk"
		[ "$(taskset $((1 << cpu)) dd if="$disk" bs=64k skip=$((64 * cpu)) count=64 iflag=direct | sum)" = "$(sum /tmp/noise)" ] ||
			fail "processor $cpu reads other bytes"
	done
	if [ "$cpus" -gt 1 ]; then
		[ "$(counter scsi0.sub_channel_1_commands)" -gt 0 ] || fail "the host saw no command on the sub-channel"
	fi
	now=$(cat "$device"/host*/scsi_host/host*/can_queue)
	[ $round = 1 ] || break
	depth=$now
	unload hv_storvsc
	modprobe hv_storvsc storvsc_vcpus_per_sub_channel=1
done
# The parameter says how many commands the driver takes, not how many channels there are.
if [ "$cpus" -gt 1 ]; then
	[ "$now" -gt "$depth" ] || fail "can_queue is $now with a sub-channel for each processor, and was $depth"
fi
unload hv_storvsc
modprobe hv_storvsc
need_disk 0
open
