# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# boot: own
# breaks-with: vmbus/sys/attributes.rs: device_id without braces (seen)
#
# Everything that the bus and its drivers show in sysfs, against a list made with the C
# drivers: types, modes and names of all of it, and the values that are fixed.

bus=/sys/bus/vmbus

# Of the driver core, and of the devices below: not the bus's.
tree() { # DIRECTORY
	find "$1/" -name power -prune -o \( -path "$1/net/*" -o -path "$1/host[0-9]*" -o -path "$1/ptp/*" \) -prune \
		-o -exec stat -c '%A %n' {} + | sort -k2
}
value() { # FILE: on one line
	echo "$1: $(tr '\n' ' ' <"$1" | sed 's/ $//')"
}

{
	tree $bus
	for device in $bus/devices/*; do
		tree "$device"
		for name in class_id device_id modalias vendor device id state uevent; do
			value "$device/$name"
		done
		for channel in "$device"/channels/*; do
			value "$channel/subchannel_id"
			[ ! -e "$channel/monitor_id" ] || value "$channel/monitor_id"
		done
	done
	for module in hv_vmbus hv_storvsc hv_netvsc; do
		find /sys/module/$module/parameters -type f -exec stat -c '%A %n' {} + 2>/dev/null | sort -k2
		for parameter in /sys/module/$module/parameters/*; do
			[ ! -r "$parameter" ] || value "$parameter"
		done
	done
} | sed "s,$bus/,," >/tmp/tree
if ! diff /hv/tests/vmbus/sysfs-tree.golden /tmp/tree >/tmp/differences; then
	cat /tmp/differences
	# The whole of it, to make the list anew with the C drivers.
	sed 's/^/TREE /' /tmp/tree >/dev/console
	stty -F /dev/console sane
	sleep 2
	fail "sysfs differs from the C drivers': $(grep -c '^[-+][^-+]' /tmp/differences) lines, the first: $(grep -m1 '^[-+][^-+]' /tmp/differences)"
fi
