# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# pattern: no
# timeout: 40
# boot: own
# xfail-c: W6 the wait for GPADL_TORNDOWN did not end
# breaks-with: the C driver, which waits under the mutex that the rescind needs (seen)
#
# The host does not answer while the driver takes its memory back, and then takes the
# device away: that ends the wait.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
device=${device##*/}
need_net
host fault message GPADL_TORNDOWN drop
(echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/unbind) &
sleep 1
kill -0 $! || fail "there was no wait"
host rescind nic0
within 10 not kill -0 $! || fail "the wait for GPADL_TORNDOWN did not end with the rescind"
within 10 gone || fail "the card is still on the bus"
host offer nic0
need_net
