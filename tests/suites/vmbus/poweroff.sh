# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 40
# boot: own
# breaks-with: the VMM's shutdown message with other flags (seen); hv_utils without the shutdown service
#
# The host asks the guest to power off. The kernel then runs /sbin/poweroff (that is
# tests/guest/poweroff), which says PASS for this test and powers off.

touch /tmp/poweroff-wanted
host shutdown
sleep 30
fail "nothing powers the guest off 30 s after the host asked for it"
