# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 90
# breaks-with: vmbus/hw/interrupt.rs: unwrap() of the channel of a bit (seen)
#
# Interrupts that mean nothing, that come before the answer to an open, and that come
# late: requests under way are answered once each, and nothing is lost.

need_disk 0
need_net
noise 1

# Channels without and with a device, one of them at work.
dd if="$disk" of=/dev/null bs=64k count=64 iflag=direct &
for relid in 0 1 2 3 4 5 6 100 2047; do
	host interrupt $relid
done
wait $! || fail "reading failed under interrupts for nothing"

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
device=${device##*/}
host fault early-interrupt nic0 1
echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/unbind
# The channel is closed now, and the number is still the device's.
host interrupt "$(cat /sys/bus/vmbus/devices/"$device"/id)"
echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/bind
[ "$(counter fault.early-interrupt)" -ge 1 ] || fail "no interrupt came before the open's answer"
need_net

# No interrupt for half a second, then the one that is owed.
for round in 1 2 3; do
	host fault no-interrupt scsi0 500
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct || fail "round $round: writing failed without interrupts"
	host fault no-interrupt nic0 500
	ping -c 1 -W 5 $PEER || fail "round $round: no answer to a ping whose interrupt is late"
done
for device in scsi0 nic0; do
	[ "$(counter "$device.fault.no-interrupt")" -ge 2 ] || fail "no interrupt of $device was kept back"
done
host fault clear
dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct
cmp /tmp/noise /tmp/back || fail "the disk returns other data than was written"
send_file /tmp/noise
