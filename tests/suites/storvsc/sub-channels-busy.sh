# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 4
# rust: hv_storvsc
# timeout: 120
# boot: own
# soak: 10
# host: --scsi-channels 3
# xfail-c: Y10? BUG: kernel NULL pointer
# breaks-with: a channel counts as soon as it was offered, as with C when another one moves (seen: C)
#
# Sub-channels open, and move to other processors, while commands come from all of them; in between
# the host refuses a step, and says that disks have changed meanwhile (Y10). No command is lost, each
# byte is right, and in the end all channels are there.

device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
name=${device##*/}
bind() { echo "$name" >/sys/bus/vmbus/drivers/hv_storvsc/"$1"; }
all() { [ "$(ls "$device/channels" | wc -l)" = 4 ] && [ "$(cat "$device"/channels/*/out_mask | wc -l)" = 4 ]; }
need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
for round in $(rounds 2); do
	bind unbind
	# What a driver that could not start has left behind is used by nobody.
	case $((round % 4)) in
	1) host scsi0 fail 1 op=7 host=c0000184 ;;
	2) host scsi0 fail 1 op=a host=c0000184 ;;
	3) host scsi0 fail 1 op=8 host=c0000184 ;;
	esac
	if [ $((round % 4)) != 0 ]; then
		bind bind 2>/dev/null && fail "round $round: a driver that was refused is bound"
		host scsi0 notify b 100
	fi
	host fault message OPEN_RESULT delay 300 3 skip 1
	bind bind || fail "round $round: the driver cannot be bound"
	host scsi0 notify b 20
	need_disk 0
	loads=
	for cpu in 0 1 2 3; do
		(for part in 1 2; do
			taskset $((1 << cpu)) dd if=/tmp/noise of="$disk" bs=16k seek=$((256 * (cpu + 1))) oflag=direct 2>/dev/null &&
				taskset $((1 << cpu)) dd if="$disk" bs=16k skip=$((256 * (cpu + 1))) count=64 iflag=direct 2>/dev/null |
				cmp - /tmp/noise || exit 1
		done) &
		loads="$loads $!"
	done
	moves=0
	for load in $loads; do
		while kill -0 "$load" 2>/dev/null; do
			for channel in "$device"/channels/*; do
				moves=$((moves + 1))
				echo $((moves % 4)) 2>/dev/null >"$channel/cpu" || true
			done
			sleep 0.05
		done
		wait "$load" || fail "round $round: a command failed, or data are other than they were"
	done
	within 20 all || fail "round $round: there are $(ls "$device/channels" | wc -l) channels, $(cat "$device"/channels/*/out_mask | wc -l) open"
	for cpu in 0 1 2 3; do
		[ "$(host disk 0 hash $(((cpu + 1) << 22)) $((1 << 20)))" = "$(sum /tmp/noise)" ] ||
			fail "round $round: what processor $cpu wrote is not on the disk"
	done
done
