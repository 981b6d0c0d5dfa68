# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 120
# host: --service timesync --service kvp --service vss --service keyboard --service mouse --service balloon --service echo
# breaks-with: the VMM's mouse keeps its state when its channel is closed (seen)
#
# The other drivers of the bus can be unloaded and loaded again, and find their devices each
# time. hv_balloon has no exit.

devices=/sys/bus/vmbus/devices
bound() { # DEVICE...
	local device
	for device in "$@"; do
		[ -e $devices/$device/driver ] || return 1
	done
}
services="2dd1ce17-079e-403c-b352-a1921ee207ee 242ff919-07db-4180-9c2e-b86cb68c8c55
	2450ee40-33bf-4fbd-892e-9fb06e9214cf fd149e91-82e0-4a7d-afa6-2a4166cbd7c0
	b6650ff7-33bc-4840-8048-e0676786f393"
keyboard=d34b2567-b9b6-42b9-8778-0a4ec0b955bf
mouse=58f75a6d-d949-4320-99e1-a2a2576d581c

for module in hyperv-keyboard hid-hyperv hv_sock; do
	modprobe $module || fail "modprobe $module"
done
for round in 1 2 3; do
	# shellcheck disable=SC2086
	within 20 bound $services $keyboard $mouse || fail "round $round: not all devices have their driver"
	grep -qx hyperv /sys/class/ptp/*/clock_name || fail "round $round: there is no PTP clock named hyperv"
	for node in hv_kvp hv_vss; do
		within 10 test -c /dev/vmbus/$node || fail "round $round: there is no /dev/vmbus/$node"
	done
	for module in hv_utils hyperv-keyboard hid-hyperv hv_sock; do
		unload $module
	done
	for device in $services $keyboard $mouse; do
		[ ! -e $devices/$device/driver ] || fail "round $round: $device has a driver without its module"
	done
	[ ! -e /dev/vmbus/hv_kvp ] || fail "round $round: /dev/vmbus/hv_kvp is there without hv_utils"
	for module in hv_utils hyperv-keyboard hid-hyperv hv_sock; do
		modprobe $module || fail "round $round: modprobe $module"
	done
done
answered=$(host heartbeat)
more() { [ "$(host heartbeat)" -gt "$answered" ]; }
within 20 more || fail "no heartbeat is answered after the last load"
