# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 20
# boot: own
# xfail-c: W4 the disk lost its channel
# breaks-with: the C driver, which overwrites the table entry of a number in use (seen)
#
# An offer under the number of a channel that is in use: the user keeps it.

need_disk 0
class='{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
host fault offer nic0 relid="$(cat "${device%/class_id}/id")"
sleep 1
timeout -s KILL 5 dd if="$disk" of=/dev/null bs=64k count=16 iflag=direct &
within 6 not kill -0 $! || fail "the disk lost its channel: reading hangs"
wait $! || fail "the disk lost its channel: reading fails"
