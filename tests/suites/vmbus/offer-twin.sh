# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 20
# boot: own
# xfail-c: W2 the kernel's log: .*WARNING
# breaks-with: the C driver, which takes an offer of a live instance for one after hibernation (seen)
#
# The host offers a device that is there once more, under another channel's number: the
# one that is there goes on, and the log stays calm.

need_disk 0
host fault offer scsi0 class=same instance=same
sleep 1
dd if="$disk" of=/dev/null bs=64k count=16 iflag=direct || fail "the disk went with the second offer"
