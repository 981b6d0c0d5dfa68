# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 90
# host: --service echo
# breaks-with: a byte that the host changes in each 16th packet that it sends back (seen)
#
# Devices that no entry of the driver's table matches: bound by new_id and by driver_override,
# they come without the information of an entry. remove_id may come before unbind.

echo=5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
driver=/sys/bus/vmbus/drivers/hvrust_sample
bound_to() { [ "$(basename "$(readlink "/sys/bus/vmbus/devices/$1/driver")")" = "$2" ]; }
without() { dmesg | grep -cF "hvrust_sample $1: bound without an entry of the table"; }
traffic() { dmesg | grep -F 'all came back'; }
class_of() { sed 's/[{}]//g' "/sys/bus/vmbus/devices/$1/class_id"; }

# The class is in the table too, but what user space has added comes first.
echo hvrust_none >/sys/bus/vmbus/devices/$echo/driver_override
modprobe hvrust_sample
not bound_to $echo hvrust_sample || fail "bound in spite of the override"
echo >/sys/bus/vmbus/devices/$echo/driver_override
class_of $echo >$driver/new_id
bound_to $echo hvrust_sample || fail "new_id does not bind"
[ "$(without $echo)" = 1 ] || fail "information for a device of new_id: $(dmesg | tail -n 3)"
not traffic || fail "traffic with an unknown device"
class_of $echo >$driver/remove_id
echo $echo >$driver/unbind
echo $echo >$driver/bind
bound_to $echo hvrust_sample || fail "not bound by the table"
[ "$(without $echo)" = 1 ] || fail "no information for a device of the table"
traffic || fail "no traffic"

# Somebody else's device: the heartbeat.
beat=
for device in /sys/bus/vmbus/devices/*; do
	[ "$(class_of "${device##*/}")" = 57164f39-9115-4e78-ab55-382f3bd5422d ] && beat=${device##*/}
done
[ -n "$beat" ] || fail "there is no heartbeat"
before=$(readlink "/sys/bus/vmbus/devices/$beat/driver")
before=${before##*/}
echo "$beat" >"/sys/bus/vmbus/drivers/$before/unbind"
echo hvrust_sample >"/sys/bus/vmbus/devices/$beat/driver_override"
echo "$beat" >$driver/bind
bound_to "$beat" hvrust_sample || fail "driver_override does not bind"
[ "$(without "$beat")" = 1 ] || fail "information for a device of driver_override"
sleep 3

# Its driver gets the channel as it was.
echo "$beat" >$driver/unbind
echo >"/sys/bus/vmbus/devices/$beat/driver_override"
echo "$beat" >"/sys/bus/vmbus/drivers/$before/bind"
bound_to "$beat" "$before" || fail "the driver of the heartbeat does not bind again"
answered=$(host heartbeat)
more() { [ "$(host heartbeat)" -gt "$answered" ]; }
within 15 more || fail "no heartbeat is answered any more"
rmmod hvrust_sample
