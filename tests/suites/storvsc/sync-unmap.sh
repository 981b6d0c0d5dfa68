# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# smoke: yes
# rust: hv_storvsc
# tools: sg_sync
# breaks-with: the VMM's UNMAP does nothing; MODE SENSE without the write cache bit
#
# Flushes reach the host, and a discarded range reads as zeros while its neighbours stay.

need_disk 0
name=${disk#/dev/}
[ "$(cat /sys/class/scsi_disk/*:0:0:0/cache_type)" = "write back" ] || fail "no write cache: $(cat /sys/class/scsi_disk/*:0:0:0/cache_type)"
before=$(counter scsi0.flushes)
/tools/sg_sync "$disk" || fail "SYNCHRONIZE CACHE failed"
dd if=/dev/urandom of=/tmp/data bs=256k count=4
dd if=/tmp/data of="$disk" bs=256k conv=fsync
after=$(counter scsi0.flushes)
[ "$after" -ge $((before + 2)) ] || fail "the host saw $((after - before)) cache flushes, and there were two"

[ "$(cat "/sys/block/$name/queue/discard_max_bytes")" -gt 0 ] || fail "the disk cannot discard"
before=$(counter scsi0.unmaps)
blkdiscard -o $((256 << 10)) -l $((512 << 10)) "$disk" || fail "blkdiscard failed"
[ "$(counter scsi0.unmaps)" -gt "$before" ] || fail "the host saw no UNMAP"
# The same as in the file: 256 KiB of data, 512 KiB of zeros, 256 KiB of data.
dd if=/dev/zero of=/tmp/data bs=256k seek=1 count=2 conv=notrunc
[ "$(dd if="$disk" bs=256k count=4 iflag=direct | sum)" = "$(sum /tmp/data)" ] ||
	fail "after a discard the disk does not hold zeros there and data around"
[ "$(host disk 0 hash 0 $((1 << 20)))" = "$(sum /tmp/data)" ] || fail "the host does not hold zeros after a discard"
