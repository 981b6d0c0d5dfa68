# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# host: --service echo
# breaks-with: vmbus/request.rs: a rescind does not end the waits of a channel; an export that is missing
#
# A client in C for which the host has no device finds all that it wants of the bus: the PCI driver
# loads, registers, and goes again; given a device that does not speak with it, it waits for that
# until the host takes the device away. Of the graphics driver there is clients/screen.

drivers=/sys/bus/vmbus/drivers
device=/sys/bus/vmbus/devices/5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
gone() { [ ! -e $device ]; }
for round in 1 2 3; do
	for module in pci-hyperv:hv_pci; do
		modprobe "${module%:*}" || fail "round $round: modprobe ${module%:*}"
		[ -e "$drivers/${module#*:}/new_id" ] || fail "round $round: there is no driver ${module#*:}: $(echo $(ls $drivers))"
		grep -q "^$(echo "${module%:*}" | tr - _) .* Live" /proc/modules || fail "round $round: ${module%:*} is not alive"
		rmmod "${module%:*}" || fail "round $round: rmmod ${module%:*}"
		[ ! -e "$drivers/${module#*:}" ] || fail "round $round: the driver ${module#*:} stays"
	done
done

modprobe pci-hyperv
(echo e5a3c1d7-6b0f-4e52-9c84-2f7d10b8a6e3 >$drivers/hv_pci/new_id) 2>/dev/null &
sent() { [ "$(counter echo0.packets)" -ge 1 ]; }
within 10 sent || fail "hv_pci sends nothing to the device that it was given"
host rescind echo0
within 10 not kill -0 $! || fail "probe of hv_pci does not end with the rescind"
within 10 gone || fail "the device is still on the bus"
host offer echo0
within 10 not gone || fail "the device does not come again"
# It takes the device again, which has nothing to say.
host rescind echo0
within 10 gone || fail "the device is still on the bus after its second rescind"
rmmod pci-hyperv || fail "rmmod pci-hyperv after that"
host offer echo0
