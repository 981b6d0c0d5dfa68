# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# boot: own
# host: --service echo
# xfail-c: W13 pages are shared with the host twice
# breaks-with: the C driver, which forgets that the message was not posted
#
# W13: the hypervisor takes none of the messages with which a driver wants its memory back: what
# the host still knows is not used for anything else, least of all shared a second time.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
device=${device##*/}
need_net
# Not an error after which posting is tried again.
host fault post 5 1000
echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/unbind
host fault clear
# Others share as much, twice.
for round in 1 2; do
	modprobe hvrust_sample packets=1 sections=6000
	rmmod hvrust_sample
done
twice=$(counter pages_shared_twice)
[ "$twice" = 0 ] || fail "$twice pages are shared with the host twice"
dmesg | grep -E 'lost' || fail "nobody says that memory is lost"
host rescind nic0
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }
within 10 gone || fail "the card is still on the bus"
host offer nic0
need_net
