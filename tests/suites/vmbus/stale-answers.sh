# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 120
# xfail-c: W29 an old answer was taken
# breaks-with: vmbus/open.rs: the relid as open_id, which is what C uses (seen with C)
#
# An answer that comes once more, when the next request of its kind waits already, is not
# taken for the answer to that one.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
device=${device##*/}
driver=/sys/bus/vmbus/drivers/hv_netvsc

need_net
for message in GPADL_CREATED GPADL_TORNDOWN; do
	echo "$device" >$driver/unbind
	host fault message $message again 150 4
	for round in 1 2 3; do
		echo "$device" >$driver/bind || fail "$message $round: the card cannot be bound"
		echo "$device" >$driver/unbind
	done
	echo "$device" >$driver/bind || fail "$message: the card cannot be bound"
	need_net
	host fault clear
done

# The second open waits while the answer to the first one comes again.
echo "$device" >$driver/unbind
host fault message OPEN_RESULT again 3000
echo "$device" >$driver/bind || fail "the card cannot be bound"
echo "$device" >$driver/unbind
host fault message OPEN_RESULT delay 6000
start=$(cut -d. -f1 /proc/uptime)
echo "$device" >$driver/bind || fail "the card cannot be bound a second time"
took=$(($(cut -d. -f1 /proc/uptime) - start))
[ $took -ge 5 ] || fail "an old answer was taken: the channel is open after $took s, the host answers after 6 s"
need_net
