# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 60
# host: --pattern
# breaks-with: the VMM writes to the buffers once more before it answers (seen)
#
# Until the host has answered, the buffers of a request are its own: it writes all over
# them, and what counts is what they hold after the answer.

need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
before=$(counter scsi0.kept)
host scsi0 keep 4
readers=
for reader in 0 1 2 3; do
	dd if="$disk" of=/tmp/back$reader bs=64k skip=$((4 * reader)) count=4 iflag=direct &
	readers="$readers $!"
done
kept() { [ $(($(counter scsi0.kept) - before)) = 4 ]; }
within 10 kept || fail "the host kept $(($(counter scsi0.kept) - before)) reads, not 4"
sleep 1
[ "$(counter patterns_kept)" -ge 40 ] || fail "the host wrote over buffers $(counter patterns_kept) times"
for reader in $readers; do
	kill -0 "$reader" || fail "a read ended without an answer"
done
# Others are answered meanwhile.
[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "another read returns other data"

host scsi0 answer
for reader in $readers; do
	wait "$reader" || fail "a read that was answered late failed"
done
[ "$(cat /tmp/back0 /tmp/back1 /tmp/back2 /tmp/back3 | sum)" = "$(sum /tmp/noise)" ] ||
	fail "reads that were answered late returned other data"
