# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 120
# tools: mkfs.ext4 e2fsck blkdiscard fallocate fstrim
# breaks-with: the VMM's WRITE SAME of zeros one block short
#
# What is discarded or zeroed reads as zeros, on the host too, and nothing else does: by
# UNMAP, by WRITE SAME with 10 and 16 bytes, by writes of zeros, by a file system.

need_disk 1
name=${disk#/dev/}
mode=$(echo /sys/class/scsi_disk/*:0:0:1/provisioning_mode)
[ "$(cat "$mode")" = unmap ] || fail "discards are done by $(cat "$mode"), not by UNMAP"
noise 8

# 1 MiB and a block of data, 6 MiB of zeros, data: seen from both sides.
{
	head -c $((2049 * 512)) /tmp/noise
	head -c $((12288 * 512)) /dev/zero
	tail -c +$(((2049 + 12288) * 512 + 1)) /tmp/noise
} >/tmp/expected
expected=$(sum /tmp/expected)
check() { # HOW
	dd if="$disk" bs=1M count=8 iflag=direct | cmp - /tmp/expected || fail "$1: the disk does not hold zeros there and data around"
	[ "$(host disk 1 hash 0 $((8 << 20)))" = "$expected" ] || fail "$1: the host holds something else"
}
for how in unmap writesame_16 writesame_10 writesame_zero; do
	dd if=/tmp/noise of="$disk" bs=1M oflag=direct
	echo $how >"$mode"
	case $how in unmap) what=scsi0.unmaps ;; *) what=scsi0.write_sames ;; esac
	before=$(counter $what)
	/tools/blkdiscard -o $((2049 * 512)) -l $((12288 * 512)) "$disk" || fail "discard by $how failed"
	[ "$(counter $what)" -gt "$before" ] || fail "discard by $how: the host saw none"
	check $how
done
echo unmap >"$mode"

# BLKZEROOUT and FALLOC_FL_ZERO_RANGE, which may not unmap.
for how in "/tools/blkdiscard -z -o $((2049 * 512)) -l $((12288 * 512))" "/tools/fallocate -z -o $((2049 * 512)) -l $((12288 * 512))"; do
	dd if=/tmp/noise of="$disk" bs=1M oflag=direct
	$how "$disk" || fail "$how failed"
	check "$how"
done

# All of it: more than one request, and the host has nothing left.
/tools/blkdiscard "$disk" || fail "the whole disk cannot be discarded"
[ "$(cat "/sys/block/$name/size")" = 131072 ] || fail "the disk has not 64 MiB"
# Of so many zeros.
[ "$(host disk 1 hash 0 $((64 << 20)))" = 3b6a07d0d404fab4e23b6d34bc6696a6a312dd92821332385e5af7c01c421351 ] ||
	fail "the discarded disk is not all zeros"

# A file system gives back what its files had.
/tools/mkfs.ext4 -q -F "$disk"
mount -t ext4 "$disk" /mnt
cp /tmp/noise /mnt/gone
cp /tmp/noise /mnt/kept
sync
rm /mnt/gone
sync
before=$(counter scsi0.unmaps)
/tools/fstrim -v /mnt || fail "fstrim failed"
[ "$(counter scsi0.unmaps)" -gt "$before" ] || fail "fstrim: the host saw no UNMAP"
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 "$disk" /mnt
cmp /tmp/noise /mnt/kept || fail "fstrim took a file's data"
umount /mnt
/tools/e2fsck -f -n "$disk" || fail "e2fsck finds errors after fstrim"
