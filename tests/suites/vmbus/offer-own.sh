# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 20
# boot: own
# xfail-c: W11 the kernel's log: .*WARNING
# breaks-with: the C driver, which frees a sub-channel that it cannot show, and goes on with it (seen)
#
# A sub-channel under the number of its own primary channel: what sysfs is to show of it is there
# already. It is refused, and the card carries data as before.

need_net
noise 1
class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
before=$(ls "$device/channels")
host fault offer nic0 relid="$(cat "$device/id")" sub=5 class=same instance=same
sleep 1
[ "$(ls "$device/channels")" = "$before" ] || fail "the device's channels are others now: $(echo $(ls "$device/channels"))"
send_file /tmp/noise
receive_little
