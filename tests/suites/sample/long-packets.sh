# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 120
# host: --service echo
# breaks-with: a byte that the host changes in a long packet (seen)
#
# Packets of many pages, up to one that fills the whole ring: each waits until the ring is
# empty, wraps somewhere else than the last one, and comes back as it was.

id=5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
figure() { tr ' ' '\n' <"/sys/kernel/debug/hvrust_sample-$id/figures" | sed -n "s/^$1=//p"; }
of_host() { host echo0 counters | tr ' ' '\n' | sed -n "s/^$1=//p"; }
came_back() { [ $(($(of_host returned) - before)) = "$1" ]; }

for size in 61408 32768; do
	modprobe hvrust_sample packets=300 size=$size || fail "probe failed: $(dmesg | tail -n 2)"
	for pair in sent=300 completed=150 echoed=150 wrong=0; do
		[ "$(figure ${pair%=*})" = ${pair#*=} ] ||
			fail "up to $size bytes: $pair is wanted: $(cat /sys/kernel/debug/hvrust_sample-$id/figures)"
	done
	[ "$(figure full)" -gt 0 ] || fail "the ring to the host was never full"

	before=$(of_host returned)
	total=0
	for bytes in 61408 61400 4096 61408 61000 33000; do
		host echo0 send 20 $bytes
		total=$((total + 20))
		within 20 came_back $total || fail "of the host's packets of $bytes bytes not all came back: $(host echo0 counters)"
	done
	[ "$(figure wrong)" = 0 ] || fail "$(figure wrong) wrong packets"
	[ "$(of_host reordered)" = 0 ] || fail "the host's packets came back in another order"
	rmmod hvrust_sample
done
modprobe hvrust_sample size=61409
[ ! -e /sys/bus/vmbus/devices/$id/driver ] || fail "bound with packets that no ring takes"
rmmod hvrust_sample
