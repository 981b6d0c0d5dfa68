# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 120
# host: --scsi 16M,17M,18M,19M --scsi 20M,21M,22M,23M --scsi 24M,25M:lun=63,26M:target=1:lun=2,27M:path=3:lun=0
# breaks-with: the VMM looks disks of all paths up on path 0
#
# Three more controllers with four disks each, the last with disks at the ends of what a
# driver looks at: each disk has its own size and bytes, and keeps them.

each() { # runs visit with controller, address and size in MiB
	local number=16 controller at places
	for controller in 1 2 3; do
		case $controller in 3) places="0 63 0:1:2 3:0:0" ;; *) places="0 1 2 3" ;; esac
		for at in $places; do
			visit $controller "$at" $number
			number=$((number + 1))
		done
	done
}

visit() {
	within 20 opens disk_of "$1" "$2" || fail "disk $2 of controller $1 did not come"
	local name
	name=$(disk_of "$1" "$2")
	[ "$(cat "/sys/block/$name/size")" = $(($3 * 2048)) ] || fail "disk $2 of controller $1 has $(cat "/sys/block/$name/size") sectors"
	# Its own bytes: noise, at a place of its own.
	dd if=/tmp/noise of="/dev/$name" bs=64k skip="$3" seek="$3" count=$((32 - $3)) oflag=direct &
}
noise 2
each
wait

visit() {
	local name seen
	name=$(disk_of "$1" "$2")
	seen=$(dd if="/dev/$name" bs=64k skip="$3" count=$((32 - $3)) iflag=direct | sum)
	[ "$seen" = "$(dd if=/tmp/noise bs=64k skip="$3" | sum)" ] || fail "disk $2 of controller $1 holds other bytes than were written"
	[ "$seen" = "$(host scsi"$1" disk "$2" hash $(($3 << 16)) $(((32 - $3) << 16)))" ] ||
		fail "the host has other bytes on disk $2 of controller $1"
	[ "$(host scsi"$1" disk "$2" hash 0 $(($3 << 16)))" = "$(head -c $(($3 << 16)) /dev/zero | sum)" ] ||
		fail "somebody wrote at the beginning of disk $2 of controller $1"
}
each
[ "$(ls /sys/block | grep -c '^sd')" = 14 ] || fail "there are $(ls /sys/block | grep -c '^sd') disks, not 14: $(ls /sys/block)"
