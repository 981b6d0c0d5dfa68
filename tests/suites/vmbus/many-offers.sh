# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# boot: own
# breaks-with: vmbus/offer.rs: no relid from 256 on is taken (seen)
#
# W14: a hundred devices at once while the guest is busy, then some hundreds more: all of them
# are on the bus, and the others go on.

need_disk 0
devices() { ls /sys/bus/vmbus/devices | wc -l; }
before=$(devices)
# Hundredths of a second.
clock() { cut -d' ' -f1 /proc/uptime | tr -d .; }
burst() { # DEVICES
	local start
	start=$(clock)
	host null "$1"
	before=$((before + $1))
	all() { [ "$(devices)" = $before ]; }
	within 30 all || fail "$(devices) of $before devices are on the bus"
	note "$1 offers in $((($(clock) - start) * 10)) ms"
}

for busy in 1 2; do
	(while :; do :; done) &
	pids="${pids:-} $!"
done
dd if="$disk" of=/dev/null bs=64k count=256 iflag=direct &
burst 100
kill $pids
wait || true
burst 400
ids=$(cat /sys/bus/vmbus/devices/*/id | sort -u | wc -l)
[ "$ids" = $before ] || fail "$before devices have $ids numbers"

host rescind null10
before=$((before - 1))
within 10 all || fail "$(devices) of $before devices are on the bus after a rescind"
host offer null10
before=$((before + 1))
within 10 all || fail "$(devices) of $before devices are on the bus after an offer"
dd if="$disk" of=/dev/null bs=64k count=64 iflag=direct
need_net
