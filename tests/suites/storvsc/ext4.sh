# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus hv_storvsc
# timeout: 120
# tools: mkfs.ext4 e2fsck
# breaks-with: the VMM's WRITE one block further when it is longer than 64 KiB
#
# A file system with files of many sizes: copied, mounted anew, compared, checked.

need_disk 0
/tools/mkfs.ext4 -q -F "$disk"
mount -t ext4 "$disk" /mnt
noise 24
mkdir /tmp/tree
for size in 1 511 512 513 4095 4096 4097 65535 65536 65537 1000000 9000000; do
	head -c $size /tmp/noise >/tmp/tree/$size
done
cp -r /tmp/tree /tmp/noise /mnt/
mkdir /mnt/many
for i in $(seq 200); do echo "$i" >/mnt/many/"$i"; done
umount /mnt
echo 3 >/proc/sys/vm/drop_caches

mount -t ext4 "$disk" /mnt
cmp /tmp/noise /mnt/noise || fail "the large file differs after mounting again"
for file in /tmp/tree/*; do
	cmp "$file" "/mnt/tree/${file##*/}" || fail "the file of ${file##*/} bytes differs after mounting again"
done
for i in $(seq 200); do
	[ "$(cat /mnt/many/"$i")" = "$i" ] || fail "small file $i differs after mounting again"
done
umount /mnt
rm -r /tmp/tree
/tools/e2fsck -f -n "$disk" || fail "e2fsck finds errors"
