# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 60
# boot: own
# each: vcpus
# xfail-c: Y8 divide|Oops|did not come|WARNING|depth|exit status
# breaks-with: a division by the parameter, as C has it (seen: C)
#
# Parameters that make no sense: the driver takes what comes next to them.

unload hv_storvsc
case $1 in
vcpus) modprobe hv_storvsc storvsc_vcpus_per_sub_channel=0 ;;
lowater) modprobe hv_storvsc ring_avail_percent_lowater=150 ;;
ring) modprobe hv_storvsc storvsc_ringbuffer_size=1 ;;
esac
need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
[ "$(host disk 0 hash 0 $((1 << 20)))" = "$(sum /tmp/noise)" ] || fail "the disk was not written"
depth=$(cat /sys/bus/vmbus/devices/f8b3781a-*/host*/scsi_host/host*/can_queue)
[ "$depth" -gt 0 ] || fail "the depth is $depth"
