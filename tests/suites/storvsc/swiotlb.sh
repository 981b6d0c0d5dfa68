# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 180
# append: swiotlb=4096,force,track_hiwater
# tools: fio mkfs.ext4 e2fsck
# breaks-with: storvsc/queue.rs: a command that gets no bounce buffer fails (seen)
#
# All data go through bounce buffers, of which there are 8 MiB: less than commands may have under
# way. Who gets none waits; data arrive, wherever in a page they begin.

need_disk 0
verify_fio mixed --rw=randwrite --bsrange=512-1M --blockalign=512 --size=48M --io_size=32M --iodepth=8
verify_fio deep --rw=randwrite --bs=256k --size=32M --offset=64M --iodepth=64
verify_fio offset --rw=randwrite --bsrange=512-306688 --blockalign=512 --size=16M --offset=128M --iodepth=4 --iomem_align=512
# In slots of 2 KiB.
used=$(cat /sys/kernel/debug/swiotlb/io_tlb_used_hiwater)
note "swiotlb: at most $used of 4096 slots were in use"
[ "$used" -gt 2048 ] || fail "only $used bounce buffers were used at a time"
need_disk 1
/tools/mkfs.ext4 -q "$disk"
mount -t ext4 "$disk" /mnt
noise 4
for i in 1 2 3 4; do cp /tmp/noise /mnt/$i; done
umount /mnt
/tools/e2fsck -fn "$disk" >/tmp/fsck 2>&1 || fail "the file system is bad: $(tail -n 3 /tmp/fsck)"
mount -t ext4 -o ro "$disk" /mnt
for i in 1 2 3 4; do cmp /tmp/noise /mnt/$i || fail "file $i differs"; done
umount /mnt
