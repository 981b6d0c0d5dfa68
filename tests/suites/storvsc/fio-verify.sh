# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus hv_storvsc
# timeout: 180
# tools: fio
# breaks-with: the VMM's READ one byte off in the second of two ranges
#
# Random writes of mixed sizes past the page cache, 16 of them under way, each block
# with a checksum that is verified after it was read back.

need_disk 0
/tools/fio --name=verify --filename="$disk" --ioengine=libaio --direct=1 --iodepth=16 \
	--rw=randwrite --bsrange=4k-256k --blockalign=4k --size=48M --verify=crc32c --verify_fatal=1 \
	--do_verify=1 --thread --output=/tmp/fio.txt || {
	cat /tmp/fio.txt
	fail "fio: $(grep -m1 -iE 'verify|error|bad' /tmp/fio.txt)"
}
# That it verified at all: as much was read as was written.
grep -q 'READ:' /tmp/fio.txt || fail "fio did not read anything back"
