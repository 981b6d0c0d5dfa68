# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# pattern: no
# timeout: 90
# breaks-with: vmbus/connection.rs: three attempts to post a message (seen)
#
# The host answers late, twice, or takes a message only at the sixth time: a driver
# that waits for it comes up all the same, and so does its traffic.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
device=${device##*/}
driver=/sys/bus/vmbus/drivers/hv_netvsc

# Lets the driver go and come again.
again() { # WHAT
	echo "$device" >$driver/unbind
	echo "$device" >$driver/bind || fail "$1: the card cannot be bound"
	host fault clear
}

need_net
for message in OPEN_RESULT GPADL_CREATED GPADL_TORNDOWN; do
	host fault message $message delay 300
	again "$message late"
	host fault message $message duplicate 2
	again "$message twice"
done
[ "$(counter fault.delay)" -ge 3 ] || fail "only $(counter fault.delay) messages were late"
[ "$(counter fault.duplicate)" -ge 4 ] || fail "only $(counter fault.duplicate) messages came twice"
need_net

# The connection is not known at the moment.
host fault post 0x12 5
again "posts refused"
need_net
noise 1
send_file /tmp/noise
