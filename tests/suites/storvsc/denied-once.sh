# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_storvsc
# xfail-c: Y17 taken away
# breaks-with: a disk that goes for one answer, as C has it (seen: C)
#
# The host says of one command that there is no such disk, and is there for the next. The command
# fails; the disk is asked, and stays. The answer can be about a disk that was there before.

need_disk 1
place=/sys/block/${disk#/dev/}
before=$(cat "$place/diskseq")
host scsi0 fail 1 20 lun=1 opcode=28
not dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct || fail "reading from a disk that the host denies succeeded"
host scsi0 notify b
sleep 2
need_disk 1
[ "$(cat "/sys/block/${disk#/dev/}/diskseq")" = "$before" ] || fail "the disk was taken away for one answer"
dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct || fail "the disk does not read any more"
