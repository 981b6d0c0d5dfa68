# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 120
# breaks-with: a host that takes any version
#
# Other versions, other limits, and a host that refuses a step: the driver takes what it
# can, gives up in peace otherwise, and works again when the host does.

device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
noise 1
again() { unload hv_storvsc && modprobe hv_storvsc; }
works() {
	need_disk 0
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct
	[ "$(host disk 0 hash 0 $((1 << 20)))" = "$(sum /tmp/noise)" ] || fail "$1: the disk was not written"
}
dead() {
	# Probing is asynchronous: let it fail.
	sleep 1
	not disk_name 0 || fail "$1: there is a disk"
	[ ! -e "$device/driver" ] || fail "$1: the driver is bound"
}
for versions in "6.2 6.0" 6.2; do
	host scsi0 set versions "$versions"
	again
	works "$versions"
done
host scsi0 set versions
again
dead "no version"
host scsi0 set versions 2.0 4.2 5.1
again
dead "only old versions"
host scsi0 set versions 6.0
for step in 7 a 8; do
	host scsi0 fail 1 op=$step host=c0000184
	again
	dead "step $step refused"
	host scsi0 alter 1 op=$step answer=3
	again
	dead "step $step answered wrongly"
	[ "$(host scsi0 faults)" = 0 ] || fail "step $step did not happen"
done

# max_hw_sectors_kb is the host's limit, in whole pages.
for limit in 1048576 524288 100000 4096; do
	host scsi0 set max-transfer $limit
	again
	works "$limit bytes"
	kib=$(cat "/sys/block/${disk#/dev/}/queue/max_hw_sectors_kb")
	[ "$kib" = $((limit / 4096 * 4)) ] || fail "with $limit bytes the limit is $kib KiB"
done
host scsi0 set max-transfer 262144
again
works "as before"
