# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 30
# kconfig: debug
# tools: fio
# pattern: no
# breaks-with: storvsc/channels.rs: TIME_LIMIT is 2 s (seen)
#
# The host answers 256 reads at once: whoever reads the ring lets other softirqs have their turn after
# 2 ms (S21), or a tick with C. On the debug kernel, where 256 answers take much longer, and which has
# the trace events that tell.

need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
mount -t tracefs tracefs /sys/kernel/tracing || fail "no tracefs"
t=/sys/kernel/tracing
kept() { [ $(($(counter scsi0.kept) - before)) -ge 256 ]; }
# The longest of the tasklets, and all of them (us).
tasklets() {
	awk '
		!match($0, / [0-9]+\.[0-9]+: /) { next }
		{ now = substr($0, RSTART, RLENGTH - 2) * 1000000 }
		/: tasklet_entry:/ { began = now }
		/: tasklet_exit:/ && began { took = now - began; sum += took; if (took > longest) longest = took }
		END { printf "%d %d\n", longest, sum }' $t/trace
}
best=
for round in 1 2 3; do
	before=$(counter scsi0.kept)
	host scsi0 keep 256
	fio_of reads --filename="$disk" --rw=read --bs=4k --iodepth=256 --size=1M &
	reads=$!
	within 20 kept || fail "round $round: the host kept $(($(counter scsi0.kept) - before)) reads, not 256"
	echo >$t/trace
	echo 1 >$t/events/irq/tasklet_entry/enable
	echo 1 >$t/events/irq/tasklet_exit/enable
	host scsi0 answer
	wait $reads || fail "round $round: a read failed"
	echo 0 >$t/events/irq/tasklet_entry/enable
	echo 0 >$t/events/irq/tasklet_exit/enable
	# shellcheck disable=SC2046
	set -- $(tasklets)
	[ "$2" -gt 0 ] || fail "round $round: no tasklet has read anything"
	echo "round $round: $1 us at a time, $2 us in all"
	# A machine that is emulated on another loses its processor now and then.
	[ -n "$best" ] && [ "$best" -le "$1" ] || best=$1 all=$2
done
umount $t
note "poll-budget: at most $best us at a time, of $all us"
[ $((2 * best)) -le "$all" ] || fail "answers were read for $best us at a time, of $all us"
