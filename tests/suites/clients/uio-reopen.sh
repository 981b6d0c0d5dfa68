# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# soak: 20
# host: --service echo
# xfail-c: W28 mappings more than before
# breaks-with: the C driver, which maps the rings of a channel anew at each open and forgets the old ones
#
# W28: user space opens and closes a device through uio_hv_generic many times, with the same rings:
# the kernel has no more mappings afterwards than before.

class=e5a3c1d7-6b0f-4e52-9c84-2f7d10b8a6e3
device=/sys/bus/vmbus/devices/5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
driver=/sys/bus/vmbus/drivers/uio_hv_generic
mappings() { grep -c . /proc/vmallocinfo; }
cycle() {
	exec 5<>"$node"
	exec 5>&-
}
modprobe uio_hv_generic
echo $class >$driver/new_id
within 10 test -e $device/uio || fail "new_id binds nothing"
node=/dev/$(ls $device/uio)
cycle
before=$(mappings)
count=0
for round in $(rounds 50); do
	cycle
	count=$((count + 1))
done
more=$(($(mappings) - before))
[ $more -lt $((count / 2)) ] || fail "$more mappings more than before, after $count times"
echo $class >$driver/remove_id
echo ${device##*/} >$driver/unbind
rmmod uio_hv_generic
