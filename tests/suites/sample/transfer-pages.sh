# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 120
# host: --service echo
# breaks-with: a byte that the host changes in each 16th packet that it sends back (seen)
#
# The host puts data into a buffer that the guest gave it, on the primary channel and on a
# sub-channel: each packet is read as it was written and completed once, also when more wait than
# the buffer has sections. Meanwhile requests with pages come back inverted.

id=5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
figures=/sys/kernel/debug/hvrust_sample-$id/figures
figure() { tr ' ' '\n' <$figures | sed -n "s/^$1=//p"; }
of_host() { host echo0 counters | tr ' ' '\n' | sed -n "s/^$1=//p"; }
completed() { [ $(($(of_host pages_completed) - before)) = "$1" ]; }
returned() { [ $(($(of_host returned) - back)) = "$1" ]; }

before=$(of_host pages_completed) back=$(of_host returned)
modprobe hvrust_sample packets=320 subs=1 sections=16 || fail "probe failed: $(dmesg | tail -n 2)"
[ "$(figure subs)" = 1 ] || fail "no sub-channel: $(cat $figures)"
[ "$(figure sent)" = 640 ] || fail "not all was sent: $(cat $figures)"
[ "$(figure inverted)" -gt 0 ] || fail "no pages were inverted: $(cat $figures)"
total=0
for channel in 0 1; do
	for how in "4 1" "8 8" "1500 3" "4096 8"; do
		# shellcheck disable=SC2086
		set -- $how
		host echo0 pages 250 "$1" $channel "$2" || fail "pages $1 $channel $2"
		total=$((total + 250))
		within 20 completed $total || fail "channel $channel, $2 ranges of $1 bytes: $(host echo0 counters)"
	done
done
# Both at once, and two-sided.
for channel in 0 1; do
	host echo0 pages 500 4096 $channel 2
	host echo0 send 500 4096 $((1 - channel))
	total=$((total + 500))
	within 30 completed $total || fail "both at once: $(host echo0 counters)"
	within 30 returned $(((channel + 1) * 500)) || fail "both at once: $(host echo0 counters)"
done
[ "$(figure pages)" = $total ] || fail "completed: $(figure pages) of $total"
[ "$(figure wrong)" = 0 ] || fail "$(figure wrong) wrong packets"
[ "$(of_host to_complete)" = 0 ] || fail "the host still waits: $(host echo0 counters)"
rmmod hvrust_sample
