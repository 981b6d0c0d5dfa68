# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 120
# boot: own
# xfail-c: Y12 still looking
# breaks-with: a scan for each event, as C has it (seen: C)
#
# Thousands of events are one look for disks, or two; errors that do not end are ten lines in the
# log in five seconds.

need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
quiet() { # nothing is asked of the host any more
	local before
	before=$(counter scsi0.other_commands)
	sleep 1
	[ "$(counter scsi0.other_commands)" = "$before" ]
}
within 10 quiet || fail "the disks are still being looked at before it begins"
before=$(counter scsi0.other_commands)
for times in 1 2 3; do
	host scsi0 notify b 1000
done
within 10 quiet || fail "10 s after 3000 events the driver is still looking for disks"
note "storms: 3000 events were $(($(counter scsi0.other_commands) - before)) commands"

# The same answer for each of a thousand commands: the disk has changed.
host scsi0 fail 1000 6/2a/09 lun=0 opcode=28
(timeout 6 dd if="$disk" of=/dev/null bs=4k count=64 iflag=direct) || true
host scsi0 faults off
within 10 quiet || fail "10 s after the last change the driver is still looking at the disk"

# Errors without an end.
dmesg -c >/dev/null
host scsi0 fail 100000 04 lun=0 opcode=28
start=$(date +%s)
while [ $(($(date +%s) - start)) -lt 4 ]; do
	dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null || true
done
lines=$(dmesg | grep -c 'hv_storvsc' || true)
host scsi0 faults off
[ "$lines" -gt 0 ] || fail "errors are not logged"
[ "$lines" -le 40 ] || fail "$lines lines were logged in 4 s"
[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk returns other data"
