# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# kconfig: fast
# tools: hyperv_drm
# host: --service video
# breaks-with: vmbus/abi/plat.rs: vmbus_free_mmio() does nothing (seen)
#
# hyperv_drm agrees with the host on a version, takes its frame buffer from the bus's address space,
# tells the host where it is, and registers a card with the host's resolutions. All of that goes with
# the device, or with the module, and comes back.

class='{da0a7802-e377-4aac-8e77-0558eb1073f8}'
cards=/sys/class/drm
name=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id) || fail "the host offers no screen"
name=${name%/class_id}
name=${name##*/}
output() { ls -d $cards/card0-*; }
there() { [ -e $cards/card0 ] && output; }
# A range of addresses that the device has, in what the bus has of them.
claimed() { sed -n "s/^ *\([0-9a-f]*\)-\([0-9a-f]*\) : $name\$/\1 \2/p" /proc/iomem; }

need_screen() {
	local range
	within 20 there || fail "$1: there is no card"
	[ "$(basename "$(readlink -f $cards/card0/device)")" = "$name" ] || fail "$1: the card is another device's"
	[ "$(basename "$(readlink -f $cards/card0/device/driver)")" = hyperv_drm ] || fail "$1: another driver has it"
	[ "$(host video version)" = 3.5 ] || fail "$1: version $(host video version) was agreed on"
	range=$(claimed)
	[ "${range% *}" = "$(host video vram)" ] ||
		fail "$1: the frame buffer is at $(host video vram), and the device has ${range:-nothing}"
	[ $((0x${range#* } - 0x${range% *} + 1)) = $((8 << 20)) ] || fail "$1: the frame buffer has another size: $range"
	echo detect >"$(output)/status"
	[ "$(cat "$(output)/status")" = connected ] || fail "$1: the output is $(cat "$(output)/status")"
	[ "$(head -n 1 "$(output)/modes")" = 1280x960 ] ||
		fail "$1: it likes another mode best than the host: $(head -n 1 "$(output)/modes")"
	grep -qx 1280x1024 "$(output)/modes" || fail "$1: the host's largest mode is not there"
	! grep -qx 1600x1200 "$(output)/modes" || fail "$1: there is a mode that is larger than the screen"
}
need_no_screen() {
	within 10 not there || fail "$1: the card is still there"
	[ -z "$(claimed)" ] || fail "$1: the device has still $(claimed)"
}

modprobe hyperv_drm || fail "modprobe hyperv_drm"
need_screen "at first"

# Somebody looks: the driver hides the host's pointer, by two messages.
pointers=$(counter video.pointers)
hidden() { [ "$(counter video.pointers)" -ge $((pointers + 2)) ]; }
host video watch
within 10 hidden || fail "the driver does not hear that somebody looks"

for round in $(rounds 2); do
	host rescind video
	need_no_screen "round $round, taken away"
	host offer video
	need_screen "round $round, back"
	rmmod hyperv_drm || fail "round $round: rmmod hyperv_drm"
	need_no_screen "round $round, without driver"
	[ "$(host video version)" = none ] || fail "round $round: the channel is still open"
	modprobe hyperv_drm || fail "round $round: modprobe hyperv_drm"
	need_screen "round $round, with the driver again"
done
rmmod hyperv_drm
