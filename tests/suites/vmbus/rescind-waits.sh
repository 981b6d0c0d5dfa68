# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 40
# each: OPEN_RESULT GPADL_CREATED
# breaks-with: vmbus/lifecycle.rs: a rescind does not end the waits for answers (seen)
#
# The host never answers, and then takes the device away: that ends the wait.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
device=${device##*/}
need_net
echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/unbind
host fault message "$1" drop
(echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/bind) 2>/dev/null &
sleep 1
kill -0 $! || fail "there was no wait"
host rescind nic0
within 10 not kill -0 $! || fail "the wait for $1 did not end with the rescind"
within 10 gone || fail "the card is still on the bus"
host offer nic0
need_net
