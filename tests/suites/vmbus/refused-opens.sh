# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# smoke: yes
# timeout: 60
# breaks-with: the VMM refuses and keeps the channel open (seen)
#
# The host refuses to open a channel or to take memory: the driver says so, nothing is
# left behind, and the next attempt works.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
device=${device##*/}
driver=/sys/bus/vmbus/drivers/hv_netvsc
need_net
for message in OPEN_RESULT GPADL_CREATED; do
	echo "$device" >$driver/unbind
	host fault message $message status 0xc0000001
	echo "$device" >$driver/bind 2>/dev/null && fail "$message with an error, and the card is there"
	[ ! -e $driver/"$device" ] || fail "$message with an error: the driver holds the device"
	echo "$device" >$driver/bind || fail "the card does not come after the error in $message"
	need_net
done
