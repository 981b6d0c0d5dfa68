# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# host: --scsi 32M:ro,32M:4k
# tools: mkfs.ext4 e2fsck
# breaks-with: a read-only disk that takes writes
#
# A disk that must not be written, and one with blocks of 4096 bytes.

for lun in 0 1; do
	within 20 opens disk_of 1 $lun || fail "disk $lun of controller 1 did not come"
done
name=$(disk_of 1 0)
[ "$(cat "/sys/block/$name/ro")" = 1 ] || fail "the read-only disk says that it can be written"
not dd if=/dev/zero of="/dev/$name" bs=4k count=1 oflag=direct || fail "the read-only disk was written"
dd if="/dev/$name" of=/dev/null bs=64k count=16 iflag=direct || fail "the read-only disk cannot be read"

name=$(disk_of 1 1)
disk=/dev/$name
[ "$(cat "/sys/block/$name/queue/logical_block_size")" = 4096 ] || fail "its blocks have $(cat "/sys/block/$name/queue/logical_block_size") bytes"
[ "$(cat "/sys/block/$name/size")" = 65536 ] || fail "it has $(cat "/sys/block/$name/size") sectors"
/tools/mkfs.ext4 -q -F "$disk"
mount -t ext4 "$disk" /mnt
noise 8
cp /tmp/noise /mnt/
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 "$disk" /mnt
cmp /tmp/noise /mnt/noise || fail "the file differs after mounting again"
umount /mnt
/tools/e2fsck -f -n "$disk" || fail "e2fsck finds errors"
dd if=/tmp/noise of="$disk" bs=4k seek=3 oflag=direct
[ "$(host scsi1 disk 1 hash 12288 $((8 << 20)))" = "$(sum /tmp/noise)" ] || fail "the host sees other bytes than were written"
