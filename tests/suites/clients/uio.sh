# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# host: --service timesync --service kvp --service vss --service keyboard --service mouse --service balloon --service echo
# breaks-with: the VMM sends 72 bytes when it is told to send 64 (seen)
#
# uio_hv_generic takes a device that it is told of: user space opens it, finds its rings,
# and hears when a packet is in one.

class=e5a3c1d7-6b0f-4e52-9c84-2f7d10b8a6e3
device=/sys/bus/vmbus/devices/5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
driver=/sys/bus/vmbus/drivers/uio_hv_generic
[ -d $device ] || fail "the echo device is not there"
[ ! -e $device/driver ] || fail "$(readlink $device/driver) drives a device of an unknown class"

modprobe uio_hv_generic
for round in 1 2; do
	echo $class >$driver/new_id
	within 10 test -e $device/driver || fail "round $round: new_id binds nothing"
	[ "$(basename "$(readlink $device/driver)")" = uio_hv_generic ] || fail "round $round: another driver took the device"
	uio=/sys/class/uio/$(ls $device/uio)
	node=/dev/${uio##*/}
	[ -c "$node" ] || fail "round $round: there is no $node"
	channel=$device/channels/$(cat $device/id)
	[ -f "$channel/ring" ] || fail "round $round: the channel has no file ring"
	[ "$(cat "$uio/maps/map0/name")" = txrx_rings ] || fail "round $round: map0 is $(cat "$uio/maps/map0/name")"
	[ $(($(cat "$uio/maps/map0/size"))) = "$(stat -c %s "$channel/ring")" ] || fail "round $round: map0 and ring differ in size"

	# The channel is open as long as the device is.
	exec 5<>"$node"
	[ "$(cat $device/state)" = 3 ] || fail "round $round: the state is $(cat $device/state) after the open"
	printf '\1\0\0\0' >&5
	rm -f /tmp/interrupts
	before=$(cat $device/in_read_bytes_avail)
	host echo0 send 1 64
	# A packet of 64 bytes, its header and its trailer.
	# No "timeout": its watcher would keep the file open for another second.
	dd bs=4 count=1 <&5 >/tmp/interrupts &
	within 10 test -s /tmp/interrupts || fail "round $round: no interrupt for a packet"
	wait
	[ $(($(cat $device/in_read_bytes_avail) - before)) = 88 ] || fail "round $round: $(cat $device/in_read_bytes_avail) bytes are in the ring"
	exec 5>&-
	[ "$(cat $device/state)" = 2 ] || fail "round $round: the state is $(cat $device/state) after the close"

	echo "${device##*/}" >$driver/unbind
	[ ! -e "$node" ] || fail "round $round: $node is still there without its driver"
	echo $class >$driver/remove_id
done
rmmod uio_hv_generic
