# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: debug
# rust: hv_vmbus hv_netvsc hv_storvsc
# timeout: 60
# boot: own
# soak: 10
# xfail-c: W23 binds without blocks
# breaks-with: the C driver, whose rings are blocks of several pages
#
# W23: no two pages in a row are free while card and controller open their channels: they bind all
# the same, and move data.

need_disk 0
need_net
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
fail=/sys/kernel/debug/fail_page_alloc
for round in $(rounds 3); do
	rmmod hv_netvsc
	rmmod hv_storvsc
	echo 1 >$fail/min-order
	echo 0 >$fail/verbose
	# Those that may wait as well: what a driver asks for is no atomic allocation.
	echo N >$fail/ignore-gfp-wait
	echo N >$fail/ignore-gfp-highmem
	echo -1 >$fail/times
	echo 100 >$fail/probability
	modprobe hv_storvsc && modprobe hv_netvsc
	bound=$?
	sleep 2
	echo 0 >$fail/probability
	[ $bound = 0 ] || fail "round $round: no module loads without blocks of memory"
	for driver in hv_netvsc hv_storvsc; do
		[ "$(echo /sys/bus/vmbus/drivers/$driver/*-*-*-*)" != "/sys/bus/vmbus/drivers/$driver/*-*-*-*" ] ||
			fail "round $round: nothing of $driver binds without blocks"
	done
	need_disk 0
	[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "round $round: other data"
	need_net
	send_file /tmp/noise
done
