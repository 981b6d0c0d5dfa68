# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 60
# host: --service echo
# breaks-with: a byte that the host changes in each 16th packet that it sends back (seen)
#
# The module is found by the device's alias and binds to the device; the packets of probe
# come back; user space can unbind it and bind it again.

id=5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
device=/sys/bus/vmbus/devices/$id
driver=/sys/bus/vmbus/drivers/hvrust_sample
bound() { [ -e $device/driver ] && [ "$(readlink -f $device/driver)" = $driver ]; }

[ -e $device ] || fail "the echo device is not on the bus"
modprobe "$(cat $device/modalias)" || fail "no module for $(cat $device/modalias)"
[ -e $driver ] || fail "the alias loads another module than hvrust_sample"
bound || fail "hvrust_sample does not bind to the echo device"
dmesg | grep -F "hvrust_sample $id: bound to echo" || fail "probe does not get the information of the table's entry"
dmesg | grep -F 'all came back' || fail "the packets of probe did not come back"

echo $id >$driver/unbind
not bound || fail "still bound after unbind"
dmesg | grep -F 'unbound: sent=64' || fail "the driver's unbind was not called"
[ ! -e /sys/kernel/debug/hvrust_sample-$id ] || fail "the files of debugfs are still there"
echo $id >$driver/bind
bound || fail "not bound again"
[ "$(dmesg | grep -cF 'all came back')" = 2 ] || fail "no packets after binding again"
rmmod hvrust_sample
not bound || fail "still bound without the module"
