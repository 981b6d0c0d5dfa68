# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 20
# boot: own
# xfail-c: W4 the kernel's log: .*WARNING
# breaks-with: the C driver, which makes a channel of any number (seen)
#
# Offers with numbers of channels that cannot be: they are refused, and the log stays calm.

need_disk 0
devices() { ls /sys/bus/vmbus/devices | wc -l; }
before=$(devices)
for relid in 4096 2048 0xffffffff; do
	host fault offer nic0 relid=$relid
done
sleep 1
[ "$(devices)" = "$before" ] || fail "offers with impossible numbers became devices"
dd if="$disk" of=/dev/null bs=64k count=16 iflag=direct
