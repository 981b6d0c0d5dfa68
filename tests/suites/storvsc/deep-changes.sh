# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 150
# host: --scsi 64M,64M --scsi-channels 1
# soak: 5
# tools: fio
# breaks-with: storvsc/errors.rs: a disk that the host denies is not removed (seen)
#
# Disks are removed and get other sizes with 256 commands under way: who uses the disk gets an error
# at most, the disk beside it returns what was written to it.

within 20 opens disk_of 1 0 || fail "the disk did not come"
beside=/dev/$(disk_of 1 0)
for round in $(rounds 3); do
	host scsi1 add 7 64M
	within 20 opens disk_of 1 7 || fail "round $round: the new disk did not come"
	# Until the first error.
	fio_of deep --filename="$disk" --rw=randrw --bs=4k --size=24M --iodepth=256 --time_based --runtime=60 --allow_file_create=0 &
	deep=$!
	fio_of beside --filename="$beside" --rw=randwrite --bsrange=4k-64k --blockalign=4k --size=24M --io_size=6M --iodepth=32 \
		--verify=crc32c --verify_fatal=1 --do_verify=1 &
	other=$!
	begun() { [ "$(awk '{ print $1 + $5 }' "/sys/block/${disk#/dev/}/stat")" -gt 1000 ]; }
	within 30 begun || fail "round $round: nothing is read or written: $(cat "/sys/block/${disk#/dev/}/stat")"
	for size in 128M 24M 64M; do
		sleep 0.5
		host scsi1 resize 7 $size
	done
	has() { [ "$(cat "/sys/block/${disk#/dev/}/size")" = $((64 * 2048)) ]; }
	within 20 has || fail "round $round: the disk has $(cat "/sys/block/${disk#/dev/}/size") sectors after all"
	kill -0 $deep || fail "round $round: fio ended before the disk was removed"
	case $((round % 3)) in
	0) host scsi1 remove 7 remove-device ;;
	1) host scsi1 remove 7 enumerate ;;
	# The answers to commands say it.
	2) host scsi1 remove 7 silent ;;
	esac
	within 30 not disk_of 1 7 || fail "round $round: the disk is still there"
	within 60 not kill -0 $deep || fail "round $round: commands hang for a disk that is gone"
	wait $other || {
		cat /tmp/beside.txt
		fail "round $round: the disk beside it: $(grep -m1 -iE 'verify|error|bad' /tmp/beside.txt)"
	}
	wait $deep || true
done
disk=/dev/$(disk_of 0 0)
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
[ "$(host disk 0 hash 0 $((1 << 20)))" = "$(sum /tmp/noise)" ] || fail "another controller's disk was not written"
