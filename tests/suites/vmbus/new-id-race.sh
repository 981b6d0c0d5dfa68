# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2 4
# rust: hv_vmbus
# timeout: 60
# soak: 20
# host: --service echo
# breaks-with: vmbus/sys/device.rs: the directory "channels" is made by register() only
#
# W25: user space gives the class of a device to a driver at the moments at which the host offers
# the device and takes it away: whoever binds it finds its channel's directory, and at the end it
# is bound.

class=e5a3c1d7-6b0f-4e52-9c84-2f7d10b8a6e3
device=/sys/bus/vmbus/devices/5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
driver=/sys/bus/vmbus/drivers/uio_hv_generic
modprobe uio_hv_generic
times=$(rounds 50 | wc -l)
host fault flicker echo0 "$times" 20
over() { [ "$(host left)" = 0 ]; }
tries=0
until over; do
	tries=$((tries + 1))
	[ $tries -lt $((times * 500)) ] || fail "the device does not come back"
	for try in 1 2 3 4 5; do
		echo $class >$driver/new_id
		echo $class >$driver/remove_id
		echo ${device##*/} >$driver/unbind
	done 2>/dev/null || :
done
lost() { dmesg | grep -E 'sysfs: cannot create|uio_hv_generic.*(failed|error)'; }
not lost || fail "a driver does not find its channel"
echo $class >$driver/new_id 2>/dev/null || :
within 10 test -e $device/driver || fail "the device is not bound at the end"
channel=$device/channels/$(cat $device/id)
within 5 test -f "$channel/ring" || fail "the channel has no file ring at the end"
echo $class >$driver/remove_id
echo ${device##*/} >$driver/unbind
rmmod uio_hv_generic
