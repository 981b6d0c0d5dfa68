# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 60
# soak: 5
# breaks-with: storvsc/queue.rs: no eh_timed_out(), so that what takes too long is for the error handler (seen)
#
# The host takes longer for commands than the block layer has patience (S16): nobody aborts them,
# nobody resets anything, and what was asked for comes. A soak waits for the 180 s there are by default.

need_disk 0
name=${disk#/dev/}
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
[ "$(cat "/sys/block/$name/queue/io_timeout")" = 180000 ] || fail "commands have $(cat "/sys/block/$name/queue/io_timeout") ms"
resets=$(counter scsi0.resets)
wait_for() { # SECONDS
	keep_reads
	sleep "$1"
	need_kept_reads
	# Others do not wait for them.
	dd if=/tmp/noise of="$disk" bs=64k seek=64 oflag=direct || fail "a write fails while others wait"
	answer_reads
	[ "$(counter scsi0.resets)" = "$resets" ] || fail "the host was reset"
}
if [ "$TIMES" != 1 ]; then
	wait_for 200
fi
echo 1000 >"/sys/block/$name/queue/io_timeout"
wait_for 4
echo 180000 >"/sys/block/$name/queue/io_timeout"
