# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 90
# soak: 100
# each: platform core
# breaks-with: a VMM that refuses versions on the way back (seen)
#
# The way into hibernation up to the image and back, with both devices busy (100 times in a soak):
# the bus leaves the host and connects again, and everything works as before, also with the
# other processor away in between (core).

need_disk 0
need_net
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
mac=$(cat /sys/class/net/eth0/address)
processors=$(nproc)
echo "$1" >/sys/power/pm_test
# Seconds that the kernel counts by turning round and round, with nothing there.
echo 1 >/sys/module/hibernate/parameters/pm_test_delay
for round in $(rounds 1); do
	contacts=$(counter contacts) unloads=$(counter unloads)
	(while dd if="$disk" bs=64k count=16 iflag=direct 2>/dev/null | cmp - /tmp/noise && [ ! -e /tmp/enough ]; do :; done
	[ -e /tmp/enough ]) &
	reader=$!
	ping -i 0.01 $PEER >/dev/null 2>&1 &
	pinger=$!
	sleep 0.5
	echo disk >/sys/power/state || fail "round $round: the kernel cannot hibernate"
	[ "$(counter contacts)" = $((contacts + 1)) ] || fail "round $round: the bus did not connect again"
	[ "$(counter unloads)" = $((unloads + 1)) ] || fail "round $round: the bus did not leave the host"
	sleep 0.5
	touch /tmp/enough
	wait $reader || fail "round $round: the disk does not read what was written"
	rm /tmp/enough
	kill $pinger
	[ "$(nproc)" = "$processors" ] || fail "round $round: a processor is missing"
	need_net
	[ "$(cat /sys/class/net/eth0/address)" = "$mac" ] || fail "round $round: the card has another address"
	send_file /tmp/noise
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct || fail "round $round: the disk does not write any more"
done
echo none >/sys/power/pm_test
