# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 20
# boot: own
# xfail-c: W3 an offer of a sub-channel became a device
# breaks-with: the C driver, which takes the first offer of an instance for its primary channel, whatever it says (seen)
#
# A sub-channel of a device that is not there is no device.

devices() { ls /sys/bus/vmbus/devices | wc -l; }
before=$(devices)
host fault offer nic0 sub=5
sleep 1
[ "$(devices)" = "$before" ] || fail "an offer of a sub-channel became a device"
