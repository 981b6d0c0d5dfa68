# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# smoke: yes
# timeout: 120
# soak: 5
# breaks-with: the VMM never confirms UNLOAD (seen); it forgets a GPADL teardown; vmbus_exit without its last free
#
# All drivers can be unloaded and loaded again, with data moving in between. Three
# times: what the first unload leaves behind shows in the second load.

for round in $(rounds 3); do
	need_disk 0
	need_net
	dd if=/dev/urandom of=/tmp/data bs=64k count=16
	dd if=/tmp/data of="$disk" bs=64k conv=fsync
	dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct
	cmp /tmp/data /tmp/back || fail "round $round: the disk returns other data than was written"

	# Under way while the driver goes: it has to end it, not to wait for its end.
	ping -i 0.05 $PEER >/dev/null 2>&1 &
	for module in hv_netvsc hv_storvsc hv_utils hv_vmbus; do
		unload $module
	done
	kill $! && wait $! || true
	[ ! -e /sys/bus/vmbus ] || fail "round $round: /sys/bus/vmbus is still there without hv_vmbus"
	[ ! -e /sys/class/net/eth0 ] || fail "round $round: eth0 is still there without hv_netvsc"
	not disk_name 0 || fail "round $round: the disk is still there without hv_storvsc"
	for module in hv_vmbus hv_utils hv_storvsc hv_netvsc; do
		modprobe $module || fail "round $round: modprobe $module"
	done
done
need_disk 0
dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct
cmp /tmp/data /tmp/back || fail "the disk lost its data when the drivers were loaded again"
need_net

# One driver alone, with the bus and the other one at work.
rmmod hv_netvsc
dd if="$disk" of=/dev/null bs=64k count=16 iflag=direct
modprobe hv_netvsc
need_net
unload hv_storvsc
ping -c 3 $PEER
modprobe hv_storvsc
need_disk 0
