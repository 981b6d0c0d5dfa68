# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# boot: own
# xfail-c: W17 no end|stays in the ring
# breaks-with: vmbus/abi/data.rs: no call_again() (seen: the driver is not called any more), and the C driver
#
# W17: a packet that is larger than the buffer of a driver that has no larger one: the driver is
# called once more, the bus drops the packet when the same buffer comes again, and what follows is
# read.

answered=$(host heartbeat)
more() { [ "$(host heartbeat)" -gt "$answered" ]; }
within 20 more || fail "no heartbeat before"
host fault packet heartbeat extend 6000
seen() { [ "$(counter heartbeat.fault.extend)" = 1 ]; }
within 10 seen || fail "no packet was made larger"
class='{57164f39-9115-4e78-ab55-382f3bd5422d}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
device=${device%/class_id}
# Nobody interrupts the guest as long as its ring is not empty.
empty() { [ "$(cat "$device/in_read_index")" = "$(cat "$device/in_write_index")" ]; }
within 10 empty || fail "what was too large stays in the ring, and keeps back all that follows"
# The host does not ask again before it has an answer.
host rescind heartbeat
host offer heartbeat
answered=$(host heartbeat)
within 20 more || fail "no heartbeat is answered any more"
