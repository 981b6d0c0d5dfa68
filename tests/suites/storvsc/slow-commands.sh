# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 60
# soak: 5
# breaks-with: storvsc/queue.rs: what takes too long is for the error handler (not tried yet)
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
	local before readers reader
	before=$(counter scsi0.kept)
	host scsi0 keep 4
	readers=
	for reader in 0 1 2 3; do
		dd if="$disk" of=/tmp/back$reader bs=64k skip=$((4 * reader)) count=4 iflag=direct &
		readers="$readers $!"
	done
	kept() { [ $(($(counter scsi0.kept) - before)) = 4 ]; }
	within 10 kept || fail "the host kept $(($(counter scsi0.kept) - before)) reads, not 4"
	sleep "$1"
	for reader in $readers; do
		kill -0 "$reader" || fail "a read was given up within $1 s"
	done
	# Others do not wait for them.
	dd if=/tmp/noise of="$disk" bs=64k seek=64 oflag=direct || fail "a write fails while others wait"
	host scsi0 answer
	for reader in $readers; do
		wait "$reader" || fail "a read that was answered after $1 s failed"
	done
	[ "$(cat /tmp/back0 /tmp/back1 /tmp/back2 /tmp/back3 | sum)" = "$(sum /tmp/noise)" ] || fail "a read that was answered after $1 s returned other data"
	[ "$(counter scsi0.resets)" = "$resets" ] || fail "the host was reset"
}
if [ "$TIMES" != 1 ]; then
	wait_for 200
fi
echo 1000 >"/sys/block/$name/queue/io_timeout"
wait_for 4
echo 180000 >"/sys/block/$name/queue/io_timeout"
