# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 120
# host: --scsi 16M:dvd,24M
# tools: sg_start sg_raw sg_inq
# breaks-with: a tray of the VMM that opens although it is locked (seen)
#
# A DVD drive: no medium, another medium, one that is taken out while it is read; who has it open
# keeps the tray closed; the disk beside it is not touched.

within 20 [ -b /dev/sr0 ] || fail "the drive did not come"
within 20 opens disk_of 1 1 || fail "the disk beside the drive did not come"
beside=/dev/$(disk_of 1 1)
noise 1
dd if=/tmp/noise of="$beside" bs=64k oflag=direct
[ "$(cat /sys/block/sr0/device/type)" = 5 ] || fail "the drive has type $(cat /sys/block/sr0/device/type)"
[ "$(cat /sys/block/sr0/removable)" = 1 ] || fail "the medium cannot be changed"

same() { # BYTES WHAT
	[ "$(cat /sys/block/sr0/size)" = $(($1 / 512)) ] || fail "$2: $(cat /sys/block/sr0/size) sectors"
	[ "$(dd if=/dev/sr0 bs=64k iflag=direct | sum)" = "$(host scsi1 hash 0 0 "$1")" ] || fail "$2: other data"
}
reads() { dd if=/dev/sr0 of=/dev/null bs=2048 count=1 iflag=direct; }
empty() {
	reads 2>/tmp/error && fail "$1: it was read"
	grep -q "No medium found" /tmp/error || fail "$1: $(cat /tmp/error)"
}

within 10 reads || fail "the first medium cannot be read"
same $((16 << 20)) "the first medium"
dd if=/tmp/noise of=/dev/sr0 bs=2048 count=1 oflag=direct 2>/dev/null && fail "the medium was written"

host scsi1 medium 0 eject
empty "no medium"
# sg_turs of Debian 13 sends nothing.
/tools/sg_raw /dev/sr0 0 0 0 0 0 0 >/dev/null 2>&1 && fail "the drive is ready without a medium"
/tools/sg_inq /dev/sr0 >/dev/null || fail "INQUIRY wants a medium"
for round in 1 2 3; do
	host scsi1 medium 0 insert $((round * 4))M $round
	within 20 reads || fail "medium $round cannot be read"
	same $((round << 22)) "medium $round"
	host scsi1 medium 0 eject
	empty "after medium $round"
done

# Another medium in the middle of reading: an error at most, and then the other one.
host scsi1 medium 0 insert 8M 17
within 20 reads || fail "medium 17 cannot be read"
(while dd if=/dev/sr0 of=/dev/null bs=64k iflag=direct; do :; done) 2>/dev/null &
reader=$!
sleep 1
kill -0 $reader || fail "reading failed before the change"
host scsi1 medium 0 eject
host scsi1 medium 0 insert 12M 18
sleep 1
kill $reader 2>/dev/null || true
wait $reader || true
within 20 reads || fail "medium 18 cannot be read"
same $((12 << 20)) "medium 18"

# Who has it open keeps it in.
exec 5</dev/sr0
/tools/sg_start --readonly --eject /dev/sr0 >/tmp/error 2>&1 && fail "the tray opened while it was locked"
exec 5<&-
same $((12 << 20)) "the locked medium"
/tools/sg_start --readonly --eject /dev/sr0 || fail "the tray does not open"
empty "after the guest's eject"

[ "$(dd if="$beside" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk beside the drive has other data"
host scsi1 medium 0 insert 16M 1
within 20 reads || fail "the last medium cannot be read"
