# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# tools: sg_get_lba_status sg_inq sg_modes sg_raw sg_readcap sg_requests sg_senddiag sg_start sg_sync sg_turs sg_unmap sg_verify sg_vpd sg_wr_mode sg_write_same
# breaks-with: a completion that names as many bytes as were asked for, whatever was moved
#
# SCSI commands of user space: they reach the disk as they are, and its answer, data, sense
# data and residue come back.

need_disk 1
noise 4
dd if=/tmp/noise of="$disk" bs=64k oflag=direct

sense() { # WANTED COMMAND...: the command fails with this key, code and qualifier
	local wanted=$1
	shift
	"$@" >/tmp/answer 2>&1 && fail "$*: it succeeded"
	grep -qi "$wanted" /tmp/answer || fail "$*: not '$wanted' but: $(tr '\n' ' ' </tmp/answer)"
}
ok() {
	"$@" >/tmp/answer 2>&1 || fail "$*: $(tr '\n' ' ' </tmp/answer)"
}
ok /tools/sg_turs "$disk"
ok /tools/sg_requests "$disk"
ok /tools/sg_senddiag --test "$disk"
ok /tools/sg_start --start "$disk"
ok /tools/sg_sync "$disk"
ok /tools/sg_sync --16 "$disk"
ok /tools/sg_inq "$disk"
for page in sv sn di bl bdc lbpv; do
	ok /tools/sg_vpd --page=$page "$disk"
done
ok /tools/sg_readcap --long "$disk"
grep -q 'lbpme=1, lbprz=1' /tmp/answer || fail "READ CAPACITY(16): $(cat /tmp/answer)"
for page in 8 0xa 0x3f; do
	ok /tools/sg_modes --page=$page "$disk"
	ok /tools/sg_modes --six --page=$page "$disk"
done

# What the disk does not do, with its reasons.
sense "Logical block address out of range" /tools/sg_raw -r 512 "$disk" 28 00 7f ff ff ff 00 00 01 00
sense "Logical block address out of range" /tools/sg_raw -r 512 "$disk" 88 00 00 00 00 01 00 00 00 00 00 00 00 01 00 00
sense "Invalid command operation code" /tools/sg_raw "$disk" 1e 00 00 00 00 00
sense "Invalid field in cdb" /tools/sg_raw -r 512 "$disk" 28 20 00 00 00 00 00 00 01 00
sense "Invalid field in cdb" /tools/sg_raw "$disk" 1d 00 00 00 00 00

# READ with less data than there is room: the residue tells.
ok /tools/sg_raw -r 4096 -o /tmp/out "$disk" 28 00 00 00 00 03 00 00 02 00
[ "$(sum /tmp/out)" = "$(dd if=/tmp/noise bs=512 skip=3 count=2 | sum)" ] || fail "READ(10) with room for more: $(wc -c </tmp/out) bytes"
for cdb in "08 00 00 03 02 00" "a8 00 00 00 00 03 00 00 00 02 00 00" "88 18 00 00 00 00 00 00 00 03 00 00 00 02 00 00"; do
	# shellcheck disable=SC2086
	ok /tools/sg_raw -r 1024 -o /tmp/out "$disk" $cdb
	[ "$(sum /tmp/out)" = "$(dd if=/tmp/noise bs=512 skip=3 count=2 | sum)" ] || fail "$cdb: other bytes"
done
head -c 1024 /tmp/noise >/tmp/in
for cdb in "0a 00 40 00 02 00" "2a 08 00 00 50 00 00 00 02 00" "aa 00 00 00 60 00 00 00 00 02 00 00" "8a 18 00 00 00 00 00 00 70 00 00 00 00 02 00 00"; do
	# shellcheck disable=SC2086
	ok /tools/sg_raw -s 1024 -i /tmp/in "$disk" $cdb
done
for block in 16384 20480 24576 28672; do
	[ "$(host disk 1 hash $((block * 512)) 1024)" = "$(sum /tmp/in)" ] || fail "the write to block $block did not arrive"
done
ok /tools/sg_verify --lba=20480 --count=2 "$disk"
ok /tools/sg_verify --lba=20480 --count=2 --ebytchk=1 --ndo=1024 --in=/tmp/in "$disk"
sense "Miscompare" /tools/sg_verify -v --lba=20479 --count=2 --ebytchk=1 --ndo=1024 --in=/tmp/in "$disk"

# One block many times; zeros; holes.
head -c 512 /tmp/noise >/tmp/in
for width in 10 16; do
	ok /tools/sg_write_same --$width --lba=40000 --num=300 --in=/tmp/in --xferlen=512 "$disk"
	for i in $(seq 300); do cat /tmp/in; done >/tmp/expected
	[ "$(host disk 1 hash $((40000 * 512)) $((300 * 512)))" = "$(sum /tmp/expected)" ] || fail "WRITE SAME($width) wrote something else"
	ok /tools/sg_write_same --$width --unmap --lba=40001 --num=298 --xferlen=512 "$disk"
	[ "$(host disk 1 hash $((40001 * 512)) $((298 * 512)))" = "$(head -c $((298 * 512)) /dev/zero | sum)" ] || fail "WRITE SAME($width) with UNMAP left data"
	[ "$(host disk 1 hash $((40299 * 512)) 512)" = "$(sum /tmp/in)" ] || fail "WRITE SAME($width) with UNMAP took too much"
done
ok /tools/sg_write_same --16 --ndob --lba=40000 --num=300 "$disk"
[ "$(host disk 1 hash $((40000 * 512)) $((300 * 512)))" = "$(head -c $((300 * 512)) /dev/zero | sum)" ] || fail "WRITE SAME without data left data"
sense "Invalid field in cdb" /tools/sg_write_same -v --16 --anchor --lba=0 --num=8 --xferlen=512 "$disk"
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
ok /tools/sg_unmap --force --lba=8,100 --num=3,4 "$disk"
dd if=/tmp/noise of=/tmp/expected bs=64k
dd if=/dev/zero of=/tmp/expected bs=512 seek=8 count=3 conv=notrunc
dd if=/dev/zero of=/tmp/expected bs=512 seek=100 count=4 conv=notrunc
[ "$(host disk 1 hash 0 $((4 << 20)))" = "$(sum /tmp/expected)" ] || fail "UNMAP of two ranges"
sense "Logical block address out of range" /tools/sg_unmap -v --force --lba=131072 --num=1 "$disk"
for i in $(seq 33); do echo "0, 131072"; done >/tmp/list
sense "Invalid field in parameter list" /tools/sg_unmap -v --force --in=/tmp/list "$disk"
ok /tools/sg_get_lba_status --lba=0 "$disk"
grep -qi 'mapped' /tmp/answer || fail "GET LBA STATUS: $(cat /tmp/answer)"

# The write cache, switched by the driver above: without it each write is durable.
cache=$(echo /sys/class/scsi_disk/*:0:0:1/cache_type)
durable() {
	local before
	before=$(counter scsi0.made_durable)
	dd if=/tmp/noise of="$disk" bs=4k count=8 oflag=direct
	echo $(($(counter scsi0.made_durable) - before))
}
[ "$(durable)" = 0 ] || fail "writes are durable with the write cache"
echo "write through" >"$cache"
[ "$(cat "$cache")" = "write through" ] || fail "the write cache cannot be switched off"
[ "$(durable)" = 8 ] || fail "writes are not durable without the write cache"
echo "write back" >"$cache"
[ "$(durable)" = 0 ] || fail "the write cache cannot be switched on again"
