# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: debug
# rust: hv_vmbus hv_netvsc hv_storvsc
# timeout: 60
# boot: own
# soak: 10
# xfail-c: W23 does not bind without blocks
# breaks-with: netvsc/lent.rs: all headers of a queue in one block (seen); the C driver, whose rings are blocks of several pages (seen)
#
# No eight pages in a row are free while card and controller open their channels: they bind all the
# same, and move data.

need_disk 0
need_net
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
bus=/sys/bus/vmbus
device_of() { # CLASS
	local file
	file=$(grep -lF "{$1}" $bus/devices/*/class_id)
	file=${file%/class_id}
	echo "${file##*/}"
}
card=$(device_of f8615163-df3e-46c5-913f-f2d2f965ed0e)
controller=$(device_of ba6163d9-04a1-4d29-b605-72e2ffb1dc7f)
fail=/sys/kernel/debug/fail_page_alloc
# The kernel's own structures grow by what debugging adds, and take up to four.
echo 3 >$fail/min-order
echo 0 >$fail/verbose
# Those that may wait as well: what a driver asks for is no atomic allocation.
echo N >$fail/ignore-gfp-wait
echo N >$fail/ignore-gfp-highmem
# Of who binds the drivers only.
echo Y >$fail/task-filter
echo -1 >$fail/times
for round in $(rounds 3); do
	for pair in "hv_netvsc $card" "hv_storvsc $controller"; do
		driver=${pair% *}
		device=${pair#* }
		echo "$device" >"$bus/drivers/$driver/unbind"
		echo 100 >$fail/probability
		sh -c "echo 1 >/proc/self/make-it-fail; echo $device >$bus/drivers/$driver/bind" || :
		echo 0 >$fail/probability
		[ -e "$bus/drivers/$driver/$device" ] || fail "round $round: $driver does not bind without blocks"
	done
	need_disk 0
	[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "round $round: other data"
	need_net
	send_file /tmp/noise
done
