# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# timeout: 90
# breaks-with: NOT SEEN YET
#
# The host answers late, twice, or takes a message only at the sixth time: a driver
# that waits for it comes up all the same, and so does its traffic.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
device=${device##*/}
driver=/sys/bus/vmbus/drivers/hv_netvsc

again() { # WHAT FAULT
	local before
	before=$(counter "fault[.]$2")
	echo "$device" >$driver/unbind
	echo "$device" >$driver/bind || fail "$1: the card cannot be bound"
	[ "$(counter "fault[.]$2")" != "$before" ] || fail "$1: nothing happened"
	host fault clear
}

need_net
for message in OPEN_RESULT GPADL_CREATED GPADL_TORNDOWN; do
	host fault message $message delay 300
	again "$message late" delay
	host fault message $message duplicate 2
	again "$message twice" duplicate
done
need_net

# Too many messages at the moment: connection not known, no buffers, no memory.
for status in 0x12 0x33 0x0b; do
	host fault post $status 5
	again "posts refused with $status" post
done
need_net

# The host does not even look at messages for a second.
host fault hold 1000
again "messages held" hold
need_net
noise 1
send_file /tmp/noise
