# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 240
# boot: own
# soak: 2
# tools: sg_reset
# xfail-c: Y11 .
# breaks-with: one number for all questions, as C has it (seen: C)
#
# The host answers a question once more while the next one waits (Y11): that is not taken for its
# answer. A soak waits for the 180 s that the host has for a reset: the answer that comes later does
# not end the next reset.

class='{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}'
need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
# BEGIN_INITIALIZATION says yes, again while the host thinks about version 6.2, which it does not know.
for step in 0 1 2 3; do
	unload hv_storvsc
	[ $step = 0 ] || host fault packet scsi0 delay 1 $step completions
	host fault packet scsi0 again 300 completions
	host fault packet scsi0 delay 900 completions
	modprobe hv_storvsc
	within 20 opens disk_name 0 || fail "step $step: the disk did not come"
	grep -qF "$class" /sys/bus/vmbus/drivers/hv_storvsc/*/class_id || fail "step $step: the driver is not bound"
	[ "$(counter scsi0.out_of_order)" = 0 ] || fail "step $step: a question came before the last one was answered"
	[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "step $step: the disk returns other data"
done
host fault clear
[ "$TIMES" != 1 ] || exit 0

# The first reset is answered after 195 s, the second one after 25 s more.
host fault packet scsi0 delay 195000 completions
host fault packet scsi0 delay 40000 completions
start=$(cut -d. -f1 /proc/uptime)
/tools/sg_reset --host "$disk" && fail "a reset succeeds that the host does not answer"
[ $(($(cut -d. -f1 /proc/uptime) - start)) -ge 179 ] || fail "a reset was given up after $(($(cut -d. -f1 /proc/uptime) - start)) s"
start=$(cut -d. -f1 /proc/uptime)
/tools/sg_reset --host "$disk" || fail "a reset fails that the host answers"
took=$(($(cut -d. -f1 /proc/uptime) - start))
[ $took -ge 39 ] || fail "the second reset took $took s: it took the answer to the first one"
[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk returns other data after the resets"
