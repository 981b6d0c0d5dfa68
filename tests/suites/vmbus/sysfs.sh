# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2 4
# rust: hv_vmbus
# breaks-with: another class id in one of the VMM's offers; a device attribute missing from vmbus_dev_attrs
#
# What user space finds on the bus: devices, their drivers, their attributes' names,
# modes and fixed values, and their channels.

bus=/sys/bus/vmbus
devices=$bus/devices

# Class ids, in the order of bytes that sysfs prints, with the driver that takes them.
for expected in \
	ba6163d9-04a1-4d29-b605-72e2ffb1dc7f:hv_storvsc \
	f8615163-df3e-46c5-913f-f2d2f965ed0e:hv_netvsc \
	57164f39-9115-4e78-ab55-382f3bd5422d:hv_utils \
	0e0b6031-5213-4934-818b-38d90ced39db:hv_utils; do
	class=${expected%:*} driver=${expected#*:} found=
	for device in $devices/*; do
		[ "$(cat "$device/class_id")" = "{$class}" ] && found=$device
	done
	[ -n "$found" ] || fail "no device has the class $class"
	[ "$(basename "$(readlink "$found/driver")")" = $driver ] || fail "$driver does not drive the class $class"
done

for device in $devices/*; do
	name=${device##*/}
	echo "$name" | grep -qE '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' || fail "the name $name is no GUID"
	[ "$(cat "$device/device_id")" = "{$name}" ] || fail "$name: device_id differs from the name"
	[ "$(basename "$(readlink "$device/subsystem")")" = vmbus ] || fail "$name: its subsystem is not vmbus"

	# A GUID's first three groups are little-endian: modalias has the bytes in memory's order.
	modalias=vmbus:$(tr -d '{}-' <"$device/class_id" |
		sed -E 's/(..)(..)(..)(..)(..)(..)(..)(..)(.*)/\4\3\2\1\6\5\8\7\9/')
	[ "$(cat "$device/modalias")" = "$modalias" ] || fail "$name: modalias is $(cat "$device/modalias"), not $modalias"
	grep -qx "MODALIAS=$modalias" "$device/uevent" || fail "$name: its uevent has no MODALIAS=$modalias"

	id=$(cat "$device/id")
	[ "$(ls "$device/channels")" = "$id" ] || fail "$name: channels holds $(ls "$device/channels"), not $id"
	[ "$(cat "$device/vendor")" = 0x1414 ] || fail "$name: vendor is $(cat "$device/vendor")"
	# 3: open. hv_utils opens its channels too.
	[ "$(cat "$device/state")" = 3 ] || fail "$name: state is $(cat "$device/state")"
	[ "$(cat "$device/channel_vp_mapping")" = "$id:$(cat "$device/channels/$id/cpu")" ] ||
		fail "$name: channel_vp_mapping is $(cat "$device/channel_vp_mapping")"

	# Names and modes. The monitor's are there only if the host gave the channel one.
	list=$(cd "$device" && find . -maxdepth 1 -type f ! -name '*monitor*' -exec stat -c '%a %n' {} + | sed 's,\./,,' | sort -k2)
	wanted=$(sort -k2 <<-LIST
		444 channel_vp_mapping
		444 class_id
		444 device
		444 device_id
		644 driver_override
		444 id
		444 in_intr_mask
		444 in_read_bytes_avail
		444 in_read_index
		444 in_write_bytes_avail
		444 in_write_index
		444 modalias
		444 numa_node
		444 out_intr_mask
		444 out_read_bytes_avail
		444 out_read_index
		444 out_write_bytes_avail
		444 out_write_index
		444 state
		644 uevent
		444 vendor
	LIST
	)
	[ "$list" = "$wanted" ] || {
		echo "$list" >/tmp/list
		echo "$wanted" | diff - /tmp/list || true
		fail "$name: its attributes differ from the C driver's"
	}

	list=$(cd "$device/channels/$id" && find . -type f ! -name monitor_id ! -name pending ! -name latency \
		-exec stat -c '%a %n' {} + | sed 's,\./,,' | sort -k2)
	wanted=$(sort -k2 <<-LIST
		644 cpu
		444 events
		444 in_mask
		444 interrupts
		444 intr_in_full
		444 intr_out_empty
		444 out_full_first
		444 out_full_total
		444 out_mask
		444 read_avail
		444 subchannel_id
		444 write_avail
	LIST
	)
	[ "$list" = "$wanted" ] || {
		echo "$list" >/tmp/list
		echo "$wanted" | diff - /tmp/list || true
		fail "$name: its channel's attributes differ from the C driver's"
	}
	# Each can be read.
	for file in "$device"/* "$device/channels/$id"/*; do
		[ ! -f "$file" ] || [ ! -r "$file" ] || cat "$file" >/dev/null || fail "$file cannot be read"
	done
done

for driver in hv_storvsc hv_netvsc hv_utils; do
	[ "$(stat -c %a $bus/drivers/$driver/new_id)" = 200 ] || fail "$driver has no new_id"
	[ "$(stat -c %a $bus/drivers/$driver/remove_id)" = 200 ] || fail "$driver has no remove_id"
done
grep -qx '[01]' $bus/hibernation || fail "the bus attribute hibernation is $(cat $bus/hibernation)"
