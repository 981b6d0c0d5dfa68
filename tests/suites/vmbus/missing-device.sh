# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 90
# boot: own
# xfail-c: W26 no end|still there
# breaks-with: vmbus/open.rs: a channel without a relid is opened (seen: the resume hangs)
#
# W26: after a sleep the host does not offer a device again: it is taken from its driver, and the
# others go on.

class='{57164f39-9115-4e78-ab55-382f3bd5422d}'
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }
need_disk 0
need_net
not gone || fail "there is no heartbeat service"
echo platform >/sys/power/pm_test
# Seconds that the kernel counts by turning round and round, with nothing there.
echo 1 >/sys/module/hibernate/parameters/pm_test_delay
# The offers come in the order of the devices; this one is the first.
host fault message OFFER_CHANNEL drop
echo disk >/sys/power/state || fail "the kernel cannot hibernate"
[ "$(counter fault.drop)" = 1 ] || fail "all devices were offered"
within 15 gone || fail "the device that was not offered again is still there"
need_net
dd if="$disk" of=/dev/null bs=64k count=16 iflag=direct || fail "the disk does not read after that"

# At the next time it is offered.
echo disk >/sys/power/state || fail "the kernel cannot hibernate a second time"
within 15 not gone || fail "the device is offered again, and does not come"
need_net
echo none >/sys/power/pm_test
