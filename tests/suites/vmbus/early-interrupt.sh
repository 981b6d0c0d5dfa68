# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 30
# boot: own
# xfail-c: W5 crash|BUG|Oops
# breaks-with: the C driver, which publishes the callback before the rings exist, and any other that does (seen)
#
# An interrupt for a channel that has no rings yet, while it is being opened.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
device=${device##*/}
need_net
host fault early-interrupt nic0 1 gpadl
echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/unbind
echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/bind
need_net
