# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# tools: sg_inq sg_vpd sg_readcap sg_luns sg_modes
# breaks-with: the VMM's INQUIRY with another vendor, or READ CAPACITY with one block more
#
# What the disks say about themselves, through the driver and by SCSI commands from
# user space, and what the driver says about its controller.

need_disk 0
for lun in 0 1; do
	name=$(disk_name $lun)
	dir=/sys/block/$name
	case $lun in 0) mib=256 ;; 1) mib=64 ;; esac
	[ "$(cat "$dir/size")" = $((mib * 2048)) ] || fail "LUN $lun has $(cat "$dir/size") sectors, not $((mib * 2048))"
	[ "$(sed 's/ *$//' "$dir/device/vendor")" = Msft ] || fail "LUN $lun: vendor is $(cat "$dir/device/vendor")"
	[ "$(sed 's/ *$//' "$dir/device/model")" = "Virtual Disk" ] || fail "LUN $lun: model is $(cat "$dir/device/model")"
	[ "$(cat "$dir/device/type")" = 0 ] || fail "LUN $lun is no disk"
	# The driver's, instead of the SCSI layer's 30 s: the host is trusted to answer.
	[ "$(cat "$dir/device/timeout")" = 180 ] || fail "LUN $lun: timeout is $(cat "$dir/device/timeout") s"
	/tools/sg_inq "/dev/$name" >/tmp/inquiry
	grep -q 'Vendor identification: Msft' /tmp/inquiry || fail "LUN $lun: INQUIRY: $(cat /tmp/inquiry)"
	last=$(/tools/sg_readcap "/dev/$name" | sed -n 's/.*Last LBA=\([0-9]*\).*/\1/p')
	[ "$last" = $((mib * 2048 - 1)) ] || fail "LUN $lun: the last block is $last"
	last=$(/tools/sg_readcap --16 "/dev/$name" | sed -n 's/.*Last LBA=\([0-9]*\).*/\1/p')
	[ "$last" = $((mib * 2048 - 1)) ] || fail "LUN $lun: the last block by READ CAPACITY(16) is $last"
	fdisk -l "/dev/$name" 2>/dev/null | grep -q "255 heads, 63 sectors/track" || fail "LUN $lun: the geometry is $(fdisk -l "/dev/$name" 2>&1 | grep heads)"
	/tools/sg_vpd --page=di "/dev/$name" >/tmp/ids || fail "LUN $lun has no device identification page"
done
not cmp /sys/block/"$(disk_name 0)"/device/vpd_pg83 /sys/block/"$(disk_name 1)"/device/vpd_pg83 ||
	fail "both disks have the same identification"

[ "$(/tools/sg_luns "$disk" | grep -cE '^ +[0-9a-f]{16}$')" = 2 ] || fail "REPORT LUNS does not list two: $(/tools/sg_luns "$disk")"
/tools/sg_modes --page=8 "$disk" >/dev/null || fail "MODE SENSE of the caching page failed"
not disk_name 2 || fail "there is a third disk"

host_dir=$(readlink -f "/sys/block/${disk#/dev/}/device/../..")
host_name=${host_dir##*/}
[ "$(cat "/sys/class/scsi_host/$host_name/proc_name")" = storvsc_host ] || fail "the controller is not storvsc's"
[ "$(cat "/sys/class/scsi_host/$host_name/can_queue")" -ge 100 ] || fail "can_queue is $(cat "/sys/class/scsi_host/$host_name/can_queue")"
