# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# boot: own
# host: --monitor
# breaks-with: nothing was tried yet (before it kept the monitor id of the first offer)
#
# After hibernation the host offers devices with other numbers and monitor ids than before: signals
# go by the new ones.

id() { cat /sys/bus/vmbus/devices/f8b3781a-*/id; }
need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
before=$(id)
# Those that come later move up.
host rescind heartbeat
sleep 1
echo platform >/sys/power/pm_test
echo 1 >/sys/module/hibernate/parameters/pm_test_delay
echo disk >/sys/power/state || fail "the kernel cannot hibernate: $(dmesg | tail -n 3)"
echo none >/sys/power/pm_test
[ "$(id)" != "$before" ] || fail "the controller has the number $before still, so nothing is shown"
[ "$(cat /sys/bus/vmbus/devices/f8b3781a-*/monitor_id)" = "$(id)" ] ||
	fail "the number is $(id), the monitor id $(cat /sys/bus/vmbus/devices/f8b3781a-*/monitor_id)"
signals=$(counter monitor_signals)
[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk returns other data"
[ "$(counter monitor_signals)" -gt "$signals" ] || fail "no signal came by a monitor id"
