# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 240
# boot: own
# host: --disk 512M --boots 4
# breaks-with: a disk that forgets what was written (the VMM without --boots: the guest does not come back)
#
# Hibernation, three times: the image goes to a disk, the machine goes off, another kernel on
# a new machine reads it, and there everything goes on as if nothing had been.

need_disk 2
swap=$disk
need_disk 0
# What the first kernel has left, seen by one that was booted to bring it back.
if [ "$(dd if="$swap" bs=1 skip=4086 count=9 2>/dev/null)" = S1SUSPEND ]; then
	cat "/sys/block/${swap#/dev/}/dev" >/sys/power/resume || true
	fail "the image was not restored: $(dmesg | tail -n 3)"
fi
need_net
noise 1
digest=$(sum /tmp/noise)
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
mac=$(cat /sys/class/net/eth0/address)
processors=$(nproc)
mkswap "$swap" >/dev/null
swapon "$swap"
for round in 1 2 3; do
	(while dd if="$disk" bs=64k count=16 iflag=direct 2>/dev/null | cmp - /tmp/noise && [ ! -e /tmp/enough ]; do :; done
	[ -e /tmp/enough ]) &
	reader=$!
	ping -i 0.01 $PEER >/dev/null 2>&1 &
	pinger=$!
	sleep 0.5
	echo disk >/sys/power/state || fail "round $round: the kernel cannot hibernate: $(dmesg | tail -n 3)"
	# The host is a new one: the kernel that brought us back has left it, and we have come.
	[ "$(counter_ever contacts)" = 2 ] || fail "round $round: the new host was contacted $(counter_ever contacts) times"
	[ "$(counter_ever unloads)" = 1 ] || fail "round $round: the new host was left $(counter_ever unloads) times"
	sleep 0.5
	touch /tmp/enough
	wait $reader || fail "round $round: the disk does not read what was written"
	rm /tmp/enough
	kill $pinger
	[ "$(sum /tmp/noise)" = "$digest" ] || fail "round $round: memory holds something else than before"
	[ "$(nproc)" = "$processors" ] || fail "round $round: a processor is missing"
	[ "$(cat /sys/class/net/eth0/address)" = "$mac" ] || fail "round $round: the card has another address"
	need_net
	send_file /tmp/noise
	receive_file
	[ "$(host disk 0 hash 0 $((1 << 20)))" = "$digest" ] || fail "round $round: the disk holds something else than before"
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct || fail "round $round: the disk does not write any more"
done
swapoff "$swap"
