# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# breaks-with: a resize without unit attention
#
# A disk gets another size: the guest sees it with the next command, whatever that is, and
# the command itself succeeds.

host scsi0 add 4 32M
need_disk 4
name=${disk#/dev/}
has() { [ "$(cat "/sys/block/$name/size")" = $(($1 * 2048)) ]; }
has 32 || fail "the new disk has another size"
noise 8
dd if=/tmp/noise of="$disk" bs=1M oflag=direct

host scsi0 resize 4 64M
dd if="$disk" of=/tmp/back bs=4k count=1 iflag=direct || fail "the read after the resize failed"
within 10 has 64 || fail "10 s after a read the disk has $(cat "/sys/block/$name/size") sectors, not those of 64 MiB"
dd if=/tmp/noise of="$disk" bs=1M seek=40 oflag=direct
[ "$(host disk 4 hash $((40 << 20)) $((8 << 20)))" = "$(sum /tmp/noise)" ] || fail "what was added was not written"

host scsi0 resize 4 96M
dd if=/tmp/noise of="$disk" bs=1M oflag=direct || fail "the write after the resize failed"
within 10 has 96 || fail "the size was not seen after a write"

host scsi0 resize 4 100M
dd if=/tmp/noise of="$disk" bs=4k count=1 conv=fsync || fail "the flush after the resize failed"
within 10 has 100 || fail "the size was not seen after a flush"

# Nobody uses it: the event makes the driver look.
host scsi0 resize 4 128M enumerate
within 10 has 128 || fail "the size of an idle disk was not seen after an event"

# In use, smaller.
(for i in $(seq 100); do dd if="$disk" of=/dev/null bs=64k count=16 iflag=direct || exit 1; done) 2>/dev/null &
reader=$!
host scsi0 resize 4 48M
within 10 has 48 || fail "the disk did not become smaller"
wait $reader || fail "reading what is still there failed"
bytes=$(dd if="$disk" bs=4k skip=$((48 * 256)) count=1 iflag=direct | wc -c) || true
[ "$bytes" = 0 ] || fail "a block behind the end was read"
[ "$(dd if="$disk" bs=1M count=8 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk lost its data"
host scsi0 remove 4
within 20 not disk_name 4 || fail "the disk is still there"
