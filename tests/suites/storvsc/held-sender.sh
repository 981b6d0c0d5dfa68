# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_storvsc
# timeout: 60
# boot: own
# tools: sg_reset
# xfail-c: Y13 the reset waits for ever
# breaks-with: storvsc/controller.rs: drain() waits for one command more than there are (seen)
#
# A processor stands still behind the signal that tells the host of a command: before C has counted the
# command (Y13). Another processor gets the answer meanwhile, and a reset of the host, which waits until
# none is under way: it sees that there is none, or is told when that is seen.

need_disk 0
device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
# Answers come to processor 0, where everything else is too.
taskset -p 1 $$ >/dev/null
for channel in "$device"/channels/*; do
	echo 0 >"$channel/cpu" || true
	[ "$(cat "$channel/cpu")" = 0 ] || fail "a channel's interrupts go to processor $(cat "$channel/cpu")"
done
host fault hold-sender scsi0 0 4000
began=$(cut -d. -f1 /proc/uptime)
taskset 2 dd if="$disk" of=/tmp/back bs=4k count=1 iflag=direct &
reader=$!
# The answer is there, and its reader is not.
sleep 1
kill -0 $reader || fail "processor 1 goes on"
/tools/sg_reset --host "$disk" &
reset=$!
wait $reader || fail "the read failed"
took=$(($(cut -d. -f1 /proc/uptime) - began))
[ $took -ge 3 ] || fail "processor 1 stood still for $took s only"
# The kernel waits for ten seconds after a reset.
within 25 not kill -0 $reset || fail "the reset waits for ever, though no command is under way"
wait $reset || fail "the reset failed"
[ "$(sum /tmp/back)" = "$(head -c 4k /tmp/noise | sum)" ] || fail "the read returned other data"
[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk returns other data"
