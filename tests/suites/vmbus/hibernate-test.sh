# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# boot: own
# breaks-with: not seen yet: nobody has broken the host or a driver on purpose for this one
#
# The way into hibernation up to the image and back: the bus leaves the host and connects
# again, and all devices work as before.

need_disk 0
need_net
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
contacts=$(counter contacts)
echo platform >/sys/power/pm_test
echo disk >/sys/power/state || fail "the kernel cannot hibernate"
[ "$(counter contacts)" -gt "$contacts" ] || fail "the bus did not connect again"
dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct || fail "the disk does not read any more"
cmp /tmp/noise /tmp/back || fail "the disk returns other data than was written"
need_net
send_file /tmp/noise
