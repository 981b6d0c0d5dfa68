# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 30
# boot: own
# xfail-c: W1 the card is still there after the rescind
# breaks-with: the C driver, in which a refused offer still counts as being processed (seen)
#
# An offer whose flags contradict each other (encrypted memory around a ring that is not)
# is refused, and does not keep the host from taking another device away.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }
need_net
host fault offer scsi0 flags=4
sleep 1
host rescind nic0
within 10 gone || fail "the card is still there after the rescind"
host offer nic0
need_net
