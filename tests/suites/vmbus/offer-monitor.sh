# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 20
# boot: own
# xfail-c: W18 an offer with monitor id 200 became a device
# breaks-with: the C driver, which takes any monitor id (seen)
#
# There are 128 monitor ids: an offer with another is refused.

devices() { ls /sys/bus/vmbus/devices | wc -l; }
before=$(devices)
host fault offer nic0 monitor=200
sleep 1
[ "$(devices)" = "$before" ] || fail "an offer with monitor id 200 became a device"
