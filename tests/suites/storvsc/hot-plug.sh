# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 120
# breaks-with: the VMM sends no ENUMERATE_BUS or REMOVE_DEVICE
#
# Disks come and go while the guest runs, one by one and many at once, also one that is in
# use; what is written to them arrives, and a disk that comes back holds its data.

need_disk 1
dd if=/dev/urandom of=/tmp/data bs=1M count=4
for event in enumerate remove-device; do
	host scsi0 add 5 48M $event
	need_disk 5
	[ "$(cat "/sys/block/${disk#/dev/}/size")" = $((48 * 2048)) ] || fail "the new disk has another size"
	dd if=/tmp/data of="$disk" bs=1M seek=1 oflag=direct
	[ "$(host disk 5 hash $((1 << 20)) $((4 << 20)))" = "$(sum /tmp/data)" ] || fail "the new disk was not written"
	host scsi0 remove 5 $event
	within 20 not disk_name 5 || fail "$event: the disk is still there 20 s after it was removed"
done
# Back as it was.
host scsi0 add 5
need_disk 5
[ "$(dd if="$disk" bs=1M skip=1 count=4 iflag=direct | sum)" = "$(sum /tmp/data)" ] || fail "the disk came back with other data"
host scsi0 remove 5
within 20 not disk_name 5 || fail "the disk is still there"

# Another disk in the same place, without a look in between.
host scsi0 add 5 8M
need_disk 5
host scsi0 remove 5 silent
host scsi0 add 6 8M
need_disk 6
within 20 not disk_name 5 || fail "the disk that was removed silently is still there after the next event"

# Many at once; the events come faster than they can be looked after.
for lun in 10 11 12 13 14 15 16 17; do
	host scsi0 add $lun 8M
done
host scsi0 notify b 50
for lun in 10 11 12 13 14 15 16 17; do
	need_disk $lun
	echo "I am $lun" | dd of="$disk" bs=512 conv=sync oflag=direct
done
for lun in 10 11 12 13 14 15 16 17; do
	(echo "I am $lun"; head -c 512 /dev/zero) | head -c 512 >/tmp/block
	[ "$(host disk $lun hash 0 512)" = "$(sum /tmp/block)" ] || fail "disk $lun is another one"
	[ $lun = 17 ] || host scsi0 remove $lun silent
done

# One that is busy goes with the last event.
need_disk 17
(while dd if="$disk" of=/dev/null bs=64k count=64 iflag=direct; do :; done) 2>/dev/null &
reader=$!
sleep 1
kill -0 $reader || fail "reading failed before the disk was removed"
host scsi0 remove 17
for lun in 10 11 12 13 14 15 16 17; do
	within 20 not disk_name $lun || fail "disk $lun is still there"
done
within 20 not kill -0 $reader || fail "reading from a disk that is gone hangs"
host scsi0 remove 6
within 20 not disk_name 6 || fail "disk 6 is still there"

# Those that stayed are as before.
for lun in 0 1; do
	need_disk $lun
	dd if=/tmp/data of="$disk" bs=64k oflag=direct
	[ "$(host disk $lun hash 0 $((4 << 20)))" = "$(sum /tmp/data)" ] || fail "disk $lun was not written"
done
