# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 120
# soak: 5
# breaks-with: the VMM forgets packets that were to come late (seen)
#
# Completions come late and overtake each other, the host stops reading a ring at every
# position of a batch, and then a storm of all that a correct host may do: the data is
# right at the end.

need_disk 0
need_net
noise 4

check() { # WHAT
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct || fail "$1: writing failed"
	dd if="$disk" of=/tmp/back bs=64k count=64 iflag=direct || fail "$1: reading failed"
	cmp /tmp/noise /tmp/back || fail "$1: the disk returns other data than was written"
	send_file /tmp/noise
	receive_file
}

host fault seed 7
for device in scsi0 nic0; do
	host fault packet $device delay 50 10 completions skip 3
done
check "late completions"
[ "$(counter scsi0.fault.delay)" = 10 ] || fail "not all of the disk's completions were late"
host fault clear

for device in scsi0 nic0; do
	host fault pause $device 0 sweep 3
done
check "pauses"
[ "$(counter nic0.fault.pause)" -ge 5 ] || fail "the network ring was read without a pause"
host fault clear

# A ring that is not read at all for a while is full, and nothing is lost.
host stop nic0 0
ping -f -c 300 -W 1 $PEER >/dev/null 2>&1 &
sleep 1
host go nic0 0
wait $! || true
need_net

before=$(counter faults)
host fault storm 100
for round in $(seq "$TIMES"); do
	check "storm, round $round"
done
host fault clear
storm=$(($(counter faults) - before))
[ $storm -ge 10 ] || fail "a storm of $storm faults"
note "vmbus: a storm of $storm faults"
need_net
