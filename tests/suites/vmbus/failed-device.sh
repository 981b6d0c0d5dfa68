# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: debug
# rust: hv_vmbus
# timeout: 60
# boot: own
# soak: 4
# host: --service echo
# xfail-c: W11 .
# breaks-with: the C driver, which uses a channel that it has freed (seen)
#
# Memory is short once while a device is registered, each time a little later: it comes, or it does
# not, and then the host can offer it again.

fail=/sys/kernel/debug/failslab
device=/sys/bus/vmbus/devices/5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
there() { [ -n "$(ls $device/channels 2>/dev/null)" ]; }
gone() { [ ! -e $device ]; }
over() { there || [ "$(cat $fail/times)" = 0 ]; }
# Devices are registered by workers, of which nobody knows the next one.
mark() {
	local dir name
	for dir in /proc/[0-9]*; do
		name=
		read -r name 2>/dev/null <"$dir/comm" || :
		case $name in
		kworker/*) echo 1 >"$dir/make-it-fail" ;;
		esac
	done 2>/dev/null
}

within 10 there || fail "the device is not there at first"
# What the guest refuses without a rescind is nothing that it does wrong.
host fault forge 0
echo Y >$fail/task-filter
echo N >$fail/ignore-gfp-wait
echo 0 >$fail/verbose
short=0
refused=0
for space in $(seq 2400 $((800 / TIMES)) 12000); do
	host rescind echo0
	within 10 gone || fail "the device stays after its rescind, $space bytes"
	within 5 calm || fail "the device does not go: the host has $(host channels)"
	mark
	echo "$space" >$fail/space
	echo 1 >$fail/times
	echo 100 >$fail/probability
	host offer echo0
	within 2 over || :
	sleep 0.5
	echo 0 >$fail/probability
	[ "$(cat $fail/times)" != 0 ] || short=$((short + 1))
	there || refused=$((refused + 1))
done
note "memory was short $short times, and the device did not come $refused times"
[ "$refused" -ge 3 ] || fail "the device came nearly every time: $refused times it did not, of $short"
try_host rescind echo0 || :
within 10 gone || fail "the device is still there"
host offer echo0
within 10 there || fail "the device does not come any more"
need_disk 0
dd if="$disk" of=/dev/null bs=64k count=16 iflag=direct
need_net
