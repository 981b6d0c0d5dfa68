# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_vmbus
# timeout: 120
# soak: 5
# each: 6.0 5.2
# breaks-with: a VMM that confirms MODIFY_CHANNEL and does nothing (seen)
#
# A processor goes while channels interrupt it: with a host that confirms the move they go
# to the other one, under load, and from an older host the processor does not get away
# before they were moved by hand.

processor=/sys/devices/system/cpu/cpu1/online
channels() {
	local device
	for device in /sys/bus/vmbus/drivers/hv_netvsc/*-*-* /sys/bus/vmbus/drivers/hv_storvsc/*-*-*; do
		echo "$device"/channels/*
	done
}
to() { # CPU
	local channel
	for channel in $(channels); do
		echo "$1" >"$channel/cpu" || fail "${channel##*/}: cannot be moved to processor $1"
		[ "$(cat "$channel/cpu")" = "$1" ] || fail "${channel##*/} is at processor $(cat "$channel/cpu"), not $1"
	done
}

speak "$1"
need_disk 0
need_net
noise 4
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
for round in $(rounds 2); do
	to 1
	(
		# Until the file goes: both devices are busy all the time.
		touch /tmp/busy
		while [ -e /tmp/busy ]; do
			dd if="$disk" bs=4k count=256 iflag=direct 2>/dev/null | cmp -n 1048576 - /tmp/noise || exit
		done
	) &
	reader=$!
	(while [ -e /tmp/busy ] || [ ! -e /tmp/sent ]; do send_file /tmp/noise && touch /tmp/sent; done) &
	sender=$!
	within 5 test -e /tmp/busy
	sleep 0.5
	if [ "$1" = 5.2 ]; then
		not sh -c "echo 0 >$processor" || fail "round $round: the processor went with channels that cannot be moved safely"
		to 0
	fi
	echo 0 >$processor || fail "round $round: the processor cannot be taken away"
	[ "$(nproc)" = 1 ] || fail "round $round: there are $(nproc) processors"
	for channel in $(channels); do
		[ "$(cat "$channel/cpu")" = 0 ] || fail "round $round: channel ${channel##*/} is at a processor that is away"
		not sh -c "echo 1 >$channel/cpu" || fail "round $round: channel ${channel##*/} goes to a processor that is away"
	done
	sleep 0.5
	rm /tmp/busy
	wait $reader || fail "round $round: the disk does not read what was written"
	wait $sender || fail "round $round: sending failed"
	rm /tmp/sent
	need_net
	send_file /tmp/noise
	echo 1 >$processor || fail "round $round: the processor does not come back"
done
to 1
dd if="$disk" of=/tmp/back bs=64k count=64 iflag=direct
cmp /tmp/noise /tmp/back || fail "the disk returns other data than was written"
send_file /tmp/noise
receive_file
# As all others find it.
[ "$1" = 6.0 ] || speak 6.0
