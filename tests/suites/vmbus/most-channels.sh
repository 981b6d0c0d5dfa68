# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 120
# boot: own
# memory: 1024
# breaks-with: an offer that the VMM does not send (seen)
#
# W27: as many channels as there are numbers, offered in one burst: each becomes a device with a
# number of its own, and the bus still works with the first and the last of them.

devices() { find /sys/bus/vmbus/devices/ -mindepth 1 -maxdepth 1 | wc -l; }
clock() { cut -d ' ' -f 1 /proc/uptime | tr -d .; }
all() { [ "$(devices)" = $count ]; }
last() { grep -qx 2047 /sys/bus/vmbus/devices/*/id; }

need_disk 0
need_net
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
count=2047
start=$(clock)
host null $((count - $(devices)))
within 60 all || fail "$(devices) of $count devices are on the bus after 60 s"
note "2047 channels in $((($(clock) - start) * 10)) ms"
[ "$(cat /sys/bus/vmbus/devices/*/id | sort -un | wc -l)" = $count ] || fail "two devices have the same number"
last || fail "no device has the number 2047"

for name in null10 null100; do
	host rescind $name
	count=2046
	within 20 all || fail "$(devices) devices are on the bus after a rescind"
	host offer $name
	count=2047
	within 20 all || fail "$(devices) devices are on the bus after an offer"
done
dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct
cmp /tmp/noise /tmp/back || fail "the disk returns other data than was written"
send_file /tmp/noise
