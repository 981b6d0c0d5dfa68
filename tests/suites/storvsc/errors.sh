# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 120
# breaks-with: a failed command's SRB status without the bit for sense data
#
# The host fails commands in each way there is: what a program sees, what is tried again,
# and that the disk works afterwards.

need_disk 1
noise 2
dd if=/tmp/noise of="$disk" bs=64k oflag=direct

# Each reads or writes at a place of its own.
io() { # r|w PLACE
	case $1 in
	r) dd if="$disk" of=/tmp/back bs=4k skip="$2" count=1 iflag=direct ;;
	w) dd if=/tmp/noise of="$disk" bs=4k seek="$2" skip="$2" count=1 oflag=direct ;;
	esac
}
try() { # r|w EXPECTED FAULT...: EXPECTED is ok, or what the program is told
	local kind=$1 expected=$2 got opcode
	shift 2
	case $kind in r) opcode=28 ;; w) opcode=2a ;; esac
	host scsi0 "$@" opcode=$opcode lun=1
	got=ok
	io "$kind" 7 2>/tmp/error || got=$(grep '^dd: ' /tmp/error | tail -n 1 | sed 's/.*: //')
	[ "$got" = "$expected" ] || fail "$kind, $*: $got, and not $expected"
	[ "$(host scsi0 faults)" = 0 ] || [ "$expected" != ok ] || fail "$kind, $*: $(host scsi0 faults) of the faults did not happen"
	host scsi0 faults off
	[ $kind = w ] || [ "$expected" != ok ] || [ "$(sum /tmp/back)" = "$(dd if=/tmp/noise bs=4k skip=7 count=1 | sum)" ] ||
		fail "$kind, $*: other bytes were read"
	io "$kind" 8 || fail "$kind, $*: the next command failed too"
}
for kind in r w; do
	# Media and hardware errors are reported, and not tried again.
	try $kind "No data available" fail 1 3/11/00
	try $kind "Remote I/O error" fail 1 4/44/00
	try $kind "Remote I/O error" fail 1 5/24/00
	try $kind "Remote I/O error" fail 1 7/27/00
	# What passes by itself is tried again.
	try $kind ok fail 1 b/00/00
	try $kind ok fail 1 6/29/00
	try $kind ok fail 2 6/2a/01
	try $kind ok fail 1 6/3f/0e
	try $kind ok fail 1 2/04/01
	# Capacity or parameters changed: tried again after a new look at the disk.
	try $kind ok fail 1 6/2a/09
	try $kind ok fail 1 6/3f/02
	# SCSI statuses: busy, task set full.
	try $kind ok fail 1 01 08
	try $kind ok fail 1 01 28
	# The host's own errors, without sense data: tried again, a few times.
	for status in 02 04 06 09 0a 0e 12 30; do
		try $kind ok fail 1 $status
	done
	try $kind "Input/output error" fail 100 04
	# A sense length of more than was sent, and more than there can be.
	try $kind "No data available" fail 1 3/11/00 sense=15
	try $kind "No data available" fail 1 3/11/00 sense=ff
	# Sense data announced without a SCSI status.
	try $kind ok fail 1 84 00
	# More data than was asked for, and less.
	try $kind ok alter 1 data=+4096
	try $kind ok alter 1 data=4294967295
	try $kind ok alter 1 data=512
done

# No such disk: it is taken away, and an event brings it back.
host scsi0 fail 1000 20 lun=1
not io r 3 || fail "reading from a disk that the host denies succeeded"
within 20 not disk_name 1 || fail "the disk is still there after the host denied it"
host scsi0 faults off
host scsi0 notify b
need_disk 1
[ "$(dd if="$disk" bs=64k count=32 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk came back with other data"
need_disk 0
