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
keep_reads
sleep 1
[ "$(counter patterns_kept)" -ge 40 ] || fail "the host wrote over buffers $(counter patterns_kept) times"
need_kept_reads
# Others are answered meanwhile.
[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "another read returns other data"
answer_reads
