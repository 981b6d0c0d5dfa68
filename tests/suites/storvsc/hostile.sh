# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 150
# host: --scsi 64M,64M --scsi-channels 1
# soak: 34
# tools: fio
# xfail-c: Y1 .
# breaks-with: storvsc/errors.rs: odd statuses left to the error handler, which waits for all (seen)
#
# One disk's commands are answered in every mad way: late, twice, again after their slots were used
# again, not until the end, under numbers of others, cut off, with more behind them, with any status
# and any sense data; events come between them. The disk beside it, on the same channels, returns
# what was written to it; what was acknowledged is on the disk; and when it is over all works as
# before. 10,000 such answers in a soak.

within 20 opens disk_of 1 0 && within 20 opens disk_of 1 1 || fail "the disks did not come"
mad() { disk=/dev/$(disk_of 1 0); }
beside=/dev/$(disk_of 1 1)
seed=${SEED:-$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}
note "hostile: seed $seed"
wanted=$((300 * TIMES))
round=0
while [ "$(counter scsi1.mad)" -lt $wanted ] && [ $round -lt $((20 * TIMES)) ]; do
	round=$((round + 1))
	mad
	host scsi1 chaos 500 $((seed + round)) 0
	# What is written and acknowledged here is to be found later: a block at a time.
	: >/tmp/acknowledged
	(for block in $(seq 60); do
		yes "round $round, block $block" | head -c 4096 >/tmp/block
		dd if=/tmp/block of="$disk" bs=4k seek=$((8192 + block)) count=1 oflag=direct 2>/dev/null && echo $block >>/tmp/acknowledged
	done) &
	writer=$!
	fio_of mad --filename="$disk" --rw=randrw --bsrange=4k-128k --blockalign=4k --size=32M --io_size=24M --iodepth=64 \
		--numjobs=2 --continue_on_error=all --ignore_error=EIO:61:121:84:28:52:110,EIO:61:121:84:28:52:110 &
	hostile=$!
	fio_of beside --filename="$beside" --rw=randwrite --bsrange=4k-64k --blockalign=4k --size=16M --io_size=8M --iodepth=16 \
		--verify=crc32c --verify_fatal=1 --do_verify=1 || {
		cat /tmp/beside.txt
		fail "seed $seed, round $round: the disk beside it: $(grep -m1 -iE 'verify|error|bad' /tmp/beside.txt)"
	}
	# What is never answered keeps them.
	sleep 1
	host scsi1 chaos off
	within 60 not kill -0 $hostile || fail "seed $seed, round $round: commands hang though the host answers again"
	within 60 not kill -0 $writer || fail "seed $seed, round $round: a write hangs though the host answers again"
	wait $hostile || true
	host scsi1 notify b
	within 20 disk_of 1 0 || fail "seed $seed, round $round: the disk is gone"
	mad
	lost=0
	while read -r block; do
		yes "round $round, block $block" | head -c 4096 >/tmp/block
		[ "$(host scsi1 hash 0 $(((8192 + block) * 4096)) 4096)" = "$(sum /tmp/block)" ] || lost=$((lost + 1))
	done </tmp/acknowledged
	[ $lost = 0 ] || fail "seed $seed, round $round: $lost of $(wc -l </tmp/acknowledged) writes that were acknowledged are not on the disk"
done
note "hostile: $(counter scsi1.mad) mad answers in $round rounds"
[ "$(counter scsi1.mad)" -ge $wanted ] || fail "there were only $(counter scsi1.mad) mad answers"
# Both disks, and those of the other controller, are as good as new.
noise 4
for disk in /dev/$(disk_of 1 0) "$beside" /dev/$(disk_name 0) /dev/$(disk_name 1); do
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct || fail "$disk cannot be written any more"
	[ "$(dd if="$disk" bs=64k count=64 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "$disk returns other data"
done
