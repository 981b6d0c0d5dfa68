# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 120
# soak: 2
# tools: sg_reset
# breaks-with: storvsc/controller.rs: the host is not asked; commands are not waited for (both seen)
#
# Resets of the device, the bus and the host, which are all one, while the disk is busy: the host is
# asked, all commands are answered first, nothing is lost. See held-sender.

need_disk 0
noise 4
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
busy="$disk"
(while dd if="$busy" bs=64k count=64 iflag=direct | cmp - /tmp/noise; do sleep 0.05; done) 2>/dev/null &
reader=$!
need_disk 1
: >/tmp/written
(while dd if=/tmp/noise of="$disk" bs=64k oflag=direct && echo >>/tmp/written; do sleep 0.05; done) 2>/dev/null &
writer=$!
written() { [ "$(wc -l </tmp/written)" -gt "$1" ]; }
within 20 written 0 || fail "nothing is written"
before=$(counter scsi0.resets)
count=0
# The kernel waits for ten seconds after each.
[ "$TIMES" = 1 ] && ways=--device || ways="--device --target --bus --host"
for how in $ways; do
	timeout 30 /tools/sg_reset $how "$busy" || fail "sg_reset $how failed"
	count=$((count + 1))
done
[ "$(($(counter scsi0.resets) - before))" = $count ] || fail "the host saw $(($(counter scsi0.resets) - before)) resets, not $count"
within 20 written "$(wc -l </tmp/written)" || fail "nothing is written after the reset"
kill -0 $reader || fail "reading failed, or returned other data"
kill -0 $writer || fail "writing failed"
kill $reader $writer
wait || true
[ "$(host disk 1 hash 0 $((2 << 20)))" = "$(head -c 2m /tmp/noise | sum)" ] || fail "the disk that was written has other data"

# A reset ends when the host has answered what was under way.
host scsi0 keep 1
dd if="$busy" of=/tmp/back bs=64k count=1 iflag=direct &
reader=$!
sleep 1
/tools/sg_reset --host "$busy" &
reset=$!
# Longer than the kernel waits afterwards.
sleep 13
kill -0 $reset || fail "the reset did not wait for the command"
host scsi0 answer
within 20 not kill -0 $reset || fail "the reset hangs though all is answered"
wait $reset || fail "the reset failed"
wait $reader || fail "the read failed"
[ "$(sum /tmp/back)" = "$(head -c 64k /tmp/noise | sum)" ] || fail "the read returned other data"
