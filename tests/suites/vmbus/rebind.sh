# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 120
# host: --service echo
# breaks-with: vmbus/sys/driver.rs: an id that is removed stays (seen)
#
# W12: a device goes from its driver to uio_hv_generic and back, by driver_override and by
# new_id, while packets go both ways, the disk is written and the card sends.

id=5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
class=e5a3c1d7-6b0f-4e52-9c84-2f7d10b8a6e3
device=/sys/bus/vmbus/devices/$id
drivers=/sys/bus/vmbus/drivers
driver() { basename "$(readlink $device/driver)"; }

need_disk 0
need_net
noise 1
modprobe hvrust_sample flood=1
modprobe uio_hv_generic
(while [ ! -e /tmp/end ]; do dd if=/tmp/noise of="$disk" bs=64k oflag=direct 2>/dev/null; done) &
(while [ ! -e /tmp/end ]; do send_file /tmp/noise || touch /tmp/lost; done) &

use() { # The device is open as long as its file is.
	local node
	node=/dev/$(ls $device/uio)
	exec 5<>"$node"
	host echo0 send 2 64
	exec 5>&-
}

host echo0 send 200 512 || :
for round in 1 2 3 4 5; do
	[ "$(driver)" = hvrust_sample ] || fail "round $round: the device is $(driver)'s"
	echo uio_hv_generic >$device/driver_override
	echo $id >$drivers/hvrust_sample/unbind
	echo $id >$drivers/uio_hv_generic/bind || fail "round $round: driver_override does not let uio_hv_generic have it"
	use
	echo $id >$drivers/uio_hv_generic/unbind
	echo >$device/driver_override
	echo $id >$drivers/hvrust_sample/bind || fail "round $round: the driver does not get its device back"

	echo $id >$drivers/hvrust_sample/unbind
	echo $class >$drivers/uio_hv_generic/new_id
	[ "$(driver)" = uio_hv_generic ] || fail "round $round: new_id does not bind"
	use
	echo $class >$drivers/uio_hv_generic/remove_id
	echo $id >$drivers/uio_hv_generic/unbind
	echo $id >$drivers/uio_hv_generic/bind 2>/dev/null && fail "round $round: bound without an id"
	echo $id >$drivers/hvrust_sample/bind || fail "round $round: the driver does not get its device back from new_id"
done
touch /tmp/end
wait
[ ! -e /tmp/lost ] || fail "bytes were lost on the network meanwhile"
[ "$(host disk 0 hash 0 $((1 << 20)))" = "$(sum /tmp/noise)" ] || fail "the disk holds other bytes"
rmmod hvrust_sample
rmmod uio_hv_generic
