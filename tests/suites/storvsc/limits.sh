# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 60
# boot: own
# each: none
# xfail-c: Y9 the driver is bound
# breaks-with: a limit that is taken as the host says it, as C does (seen: C)
#
# The host allows transfers of no bytes, which no driver can work with, or of more than there is
# memory, which is as good as any other limit.

noise 2
need_disk 0
device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
again() { unload hv_storvsc && modprobe hv_storvsc; }
case $1 in
none)
	for limit in 0 511 4095; do
		host scsi0 set max-transfer $limit
		again
		sleep 1
		not disk_name 0 || fail "with $limit bytes there is a disk"
		[ ! -e "$device/driver" ] || fail "with $limit bytes the driver is bound"
	done
	host scsi0 set max-transfer 262144
	again
	;;
huge)
	host scsi0 set max-transfer 4294967295
	again
	;;
esac
need_disk 0
dd if=/tmp/noise of="$disk" bs=2M oflag=direct
[ "$(host disk 0 hash 0 $((2 << 20)))" = "$(sum /tmp/noise)" ] || fail "the disk was not written"
[ "$(dd if="$disk" bs=2M count=1 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk returns other data"
