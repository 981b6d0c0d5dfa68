# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 90
# boot: own
# host: --scsi 16M:spc=2,8M:spc=3:lun=77
# breaks-with: storvsc/queue.rs: the version is taken for 6.2 (seen)
#
# What disks are believed to be able to do, by version and vendor (S17): SPC-3 with Microsoft's of
# 6.0; no WRITE SAME; nobody asks which commands there are; logical units are asked
# for also if the first disk claims a standard without that command.

at() { # LUN FILE
	cat /sys/block/"$(disk_of 0 "$1")"/device/$2
}
same() { # WHAT GOT EXPECTED
	[ "$2" = "$3" ] || fail "version $version: $1 is $2, and not $3"
}
host scsi0 add 20 8M:spc=4
host scsi0 add 21 8M:spc=4:vendor=Other
host scsi0 add 22 8M:spc=5:vendor=Other
within 20 disk_of 0 22 || fail "disk 22 did not come"
for version in 6.0 6.2; do
	host scsi0 set versions $version
	host scsi1 set versions $version
	unload hv_storvsc
	host scsi0 capture a3
	modprobe hv_storvsc
	for lun in 0 20 21 22; do
		within 20 disk_of 0 $lun || fail "version $version: disk $lun did not come"
	done
	# Beyond what is looked at one by one where the first is of SCSI-2.
	within 20 disk_of 1 77 || fail "version $version: the logical unit 77 is not found"
	same "REPORT SUPPORTED OPERATION CODES" "$(host scsi0 captured)" ""
	case $version in
	6.0) same "the level of Microsoft's disk" "$(at 20 scsi_level)" 6 ;;
	6.2) same "the level of Microsoft's disk" "$(at 20 scsi_level)" 5 ;;
	esac
	same "the level of another disk" "$(at 21 scsi_level)" 5
	same "the level of a newer disk" "$(at 22 scsi_level)" 6
	# sd asks the host template first, which says no; the driver's yes for 6.2 comes to nothing in 7.3.
	for lun in 0 20 21 22; do
		same "the limit of WRITE SAME of disk $lun" "$(at $lun "scsi_disk/*/max_write_same_blocks")" 0
	done
	for lun in 20 21 22; do
		[ "$(cat "/sys/block/$(disk_of 0 $lun)/device/vpd_pg83" | wc -c)" -gt 4 ] || fail "version $version: disk $lun was not asked for its identification"
	done
done
