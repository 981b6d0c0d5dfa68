# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 90
# boot: own
# xfail-c: Y2 hangs
# breaks-with: a command that is forgotten when its answer is none
#
# The host answers a command with something that is no answer to a command: the command is
# tried again, and the disk works afterwards.

need_disk 1
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
for operation in 2 b c 3 0 ffffffff; do
	host scsi0 alter 1 answer=$operation opcode=28 lun=1
	dd if="$disk" of=/tmp/back bs=64k count=4 iflag=direct &
	reader=$!
	within 15 not kill -0 $reader || fail "a read hangs whose answer says operation $operation"
	wait $reader || fail "a read failed whose answer says operation $operation"
	[ "$(sum /tmp/back)" = "$(head -c 256k /tmp/noise | sum)" ] || fail "operation $operation: other bytes were read"
	[ "$(host scsi0 faults)" = 0 ] || fail "operation $operation: nothing was altered"
done
need_disk 0
