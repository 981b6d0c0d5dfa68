# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 60
# boot: own
# tools: sg_raw
# xfail-c: Y5 is told that all is well
# breaks-with: storvsc/errors.rs: sense data are believed without a check condition (seen)
#
# The host says that a command failed, announces sense data, and gives no SCSI status that they
# would belong to (Y5): nothing is taken for sense data, and who sent the command hears of the error.

need_disk 1
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
for answer in "84 00" "c4 00" "84 00 6/2a/09" "84 00 3/11/00 sense=ff"; do
	# shellcheck disable=SC2086
	host scsi0 fail 1 $answer opcode=28 lun=1
	/tools/sg_raw -r 4096 "$disk" 28 0 0 0 0 0 0 0 8 0 >/tmp/out 2>&1 &&
		fail "$answer: who reads is told that all is well"
	[ "$(host scsi0 faults)" = 0 ] || fail "$answer: nothing failed"
	grep -qi 'capacity\|medium error' /tmp/out && fail "$answer: there was sense data: $(tr '\n' ' ' </tmp/out)"
	/tools/sg_raw -r 4096 "$disk" 28 0 0 0 0 0 0 0 8 0 >/tmp/out 2>&1 || fail "$answer: the next command fails: $(tr '\n' ' ' </tmp/out)"
done
# An error that stays is one, and not tried again for ever.
host scsi0 fail 1000000 84 00 opcode=28 lun=1
dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct 2>/tmp/error &
reader=$!
within 20 not kill -0 $reader || fail "a read is tried again for ever"
wait $reader && fail "a read that always fails succeeds"
grep -q "Input/output error" /tmp/error || fail "a read fails otherwise: $(tail -n 1 /tmp/error)"
host scsi0 faults off
[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk returns other data"
