# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# tools: sg_persist sg_turs
# breaks-with: a reservation of the other node that does not keep the guest from writing
#
# Persistent reservations, as two nodes of a cluster use them: the other node is the host's
# control line.

need_disk 1
noise 1
persist() { /tools/sg_persist --no-inquiry "$@" "$disk" >/tmp/answer 2>&1; }
shows() { grep -qi "$1" /tmp/answer || fail "not '$1' but: $(tr '\n' ' ' </tmp/answer)"; }
write() { dd if=/tmp/noise of="$disk" bs=4k count=1 oflag=direct; }
conflict() { # COMMAND...
	local status=0
	"$@" 2>/tmp/error || status=$?
	[ $status != 0 ] || fail "$*: no conflict"
}

persist --in --report-capabilities || fail "REPORT CAPABILITIES: $(cat /tmp/answer)"
shows 'Exclusive Access, All Registrants: 1\|Type Mask Valid'
persist --out --register --param-sark=0xabc || fail "REGISTER: $(cat /tmp/answer)"
persist --in --read-keys
shows 0xabc
conflict persist --out --register --param-sark=0xdef
persist --out --reserve --param-rk=0xabc --prout-type=1 || fail "RESERVE: $(cat /tmp/answer)"
persist --in --read-reservation
shows 'Write Exclusive'
write || fail "the holder cannot write"
persist --out --release --param-rk=0xabc --prout-type=1 || fail "RELEASE: $(cat /tmp/answer)"

# The other node takes it: reading works, writing does not, and says why.
host scsi0 rival 1 register 0x999
host scsi0 rival 1 reserve 1
dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct || fail "cannot read under the other's Write Exclusive"
conflict write
grep -q 'Invalid exchange' /tmp/error || fail "writing: $(tail -n 1 /tmp/error), and not EBADE"
conflict persist --out --reserve --param-rk=0xabc --prout-type=1
host scsi0 rival 1 release 1
host scsi0 rival 1 reserve 3
conflict dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct
/tools/sg_turs "$disk" || fail "TEST UNIT READY conflicts"

# We throw it out.
persist --out --preempt --param-rk=0xabc --param-sark=0x999 --prout-type=3 || fail "PREEMPT: $(cat /tmp/answer)"
write || fail "cannot write after the other one was thrown out"
persist --in --read-keys
not grep -qi 0x999 /tmp/answer || fail "the other one is still registered"
persist --out --clear --param-rk=0xabc || fail "CLEAR: $(cat /tmp/answer)"
persist --in --read-reservation
shows 'there is NO reservation'

# It throws us out: the unit attention is tried again, and then it is a conflict.
persist --out --register --param-sark=0xabc || fail "REGISTER: $(cat /tmp/answer)"
host scsi0 rival 1 register 0x999
host scsi0 rival 1 preempt 0xabc 1
write || fail "nothing is reserved, and the write failed"
host scsi0 rival 1 clear
