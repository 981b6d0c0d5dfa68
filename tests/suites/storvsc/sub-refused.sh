# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 4
# rust: hv_vmbus
# timeout: 120
# host: --scsi-channels 3
# breaks-with: vmbus/open.rs: a channel that the host does not open counts as open (seen)
#
# The host refuses to open the middle one of three sub-channels: the other three channels
# carry requests, whichever processor sends them, and a driver that comes anew gets all.

commands() { # CHANNEL
	counter "scsi0.sub_channel_$1_commands"
}

need_disk 0
unload hv_storvsc
for channel in 1 2 3; do
	commands $channel >/tmp/before$channel
done
# The primary channel opens first.
host fault message OPEN_RESULT status 0xc0000001 1 skip 2
modprobe hv_storvsc
need_disk 0
opened() { [ "$(counter fault.status)" = 1 ]; }
within 10 opened || fail "no sub-channel was refused"
sleep 1

noise 4
for cpu in 0 1 2 3; do
	taskset $((1 << cpu)) dd if=/tmp/noise of="$disk" bs=64k seek=$((64 * cpu)) oflag=direct
	[ "$(host disk 0 hash $((cpu << 22)) $((4 << 20)))" = "$(sum /tmp/noise)" ] ||
		fail "what processor $cpu wrote is not on the disk"
	[ "$(taskset $((1 << cpu)) dd if="$disk" bs=64k skip=$((64 * cpu)) count=64 iflag=direct | sum)" = "$(sum /tmp/noise)" ] ||
		fail "processor $cpu reads other bytes"
done
used=0
for channel in 1 2 3; do
	[ "$(commands $channel)" = "$(cat /tmp/before$channel)" ] || used=$((used + 1))
done
[ $used = 2 ] || fail "the host saw commands on $used of two sub-channels"

unload hv_storvsc
modprobe hv_storvsc
need_disk 0
device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
all() { [ "$(cat "$device"/channels/*/out_mask | wc -l)" = 4 ]; }
within 10 all || fail "the refused channel does not come back"
