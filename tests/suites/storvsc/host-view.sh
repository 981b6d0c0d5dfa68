# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# breaks-with: the VMM acknowledges WRITE without writing (seen: a disk write that drops its bytes)
#
# What the guest writes is what the host has on the disk, at the same place, and the
# other way round; and the disks are not mixed up.

for lun in 0 1; do
	need_disk $lun
	head -c 3m /dev/urandom >/tmp/pattern$lun
	# 4 KiB in, so that an offset that is lost shows.
	dd if=/tmp/pattern$lun of="$disk" bs=4k seek=$((1 + lun)) oflag=direct
done
for lun in 0 1; do
	seen=$(host disk $lun hash $((4096 * (1 + lun))) $((3 << 20)))
	[ "$seen" = "$(sum /tmp/pattern$lun)" ] || fail "the host sees other bytes on disk $lun than the guest wrote"
	need_disk $lun
	[ "$(dd if="$disk" bs=4k skip=$((1 + lun)) count=768 iflag=direct | sum)" = "$seen" ] ||
		fail "the guest reads other bytes from disk $lun than the host sees"
done

# Through the page cache: fsync brings it to the host.
need_disk 0
dd if=/tmp/pattern1 of="$disk" bs=64k conv=fsync
[ "$(host disk 0 hash 0 $((3 << 20)))" = "$(sum /tmp/pattern1)" ] || fail "fsync returned before the host had the data"
