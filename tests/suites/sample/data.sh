# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 120
# host: --service echo
# breaks-with: a byte that the host changes in each 16th packet that it sends back (seen)
#
# Packets of 1 byte to 16 KiB go both ways through rings that they fill and wrap many times:
# requests come back as completions, others as data, and what the host sends goes back.

id=5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
figure() { tr ' ' '\n' <"/sys/kernel/debug/hvrust_sample-$id/figures" | sed -n "s/^$1=//p"; }
of_host() { host echo0 counters | tr ' ' '\n' | sed -n "s/^$1=//p"; }
came_back() { [ $(($(of_host returned) - before)) = "$1" ]; }

requests=$(of_host completed) others=$(of_host echoed)
# 1000 packets of 7 KiB and more on average, in rings of 60 KiB.
modprobe hvrust_sample packets=1000 || fail "probe failed: $(dmesg | tail -n 2)"
for pair in sent=1000 completed=500 echoed=500 wrong=0; do
	[ "$(figure ${pair%=*})" = ${pair#*=} ] || fail "$pair is wanted: $(cat /sys/kernel/debug/hvrust_sample-$id/figures)"
done
[ "$(figure full)" -gt 0 ] || fail "the ring to the host was never full"
[ $(($(of_host completed) - requests)) = 500 ] || fail "the host completed not 500 requests: $(host echo0 counters)"
[ $(($(of_host echoed) - others)) = 500 ] || fail "the host echoed not 500 packets: $(host echo0 counters)"

before=$(of_host returned)
total=0
for size in 8 16 1000 4096 16384; do
	host echo0 send 200 $size
	total=$((total + 200))
	within 20 came_back $total || fail "of the host's packets of $size bytes not all came back: $(host echo0 counters)"
done
[ "$(figure returned)" = $total ] || fail "returned: $(figure returned) of $total"
[ "$(of_host reordered)" = 0 ] || fail "the host's packets came back in another order"
[ "$(figure wrong)" = 0 ] || fail "$(figure wrong) wrong packets"
rmmod hvrust_sample
