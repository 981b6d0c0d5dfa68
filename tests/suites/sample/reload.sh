# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 120
# soak: 5
# host: --service echo
# breaks-with: a byte that the host changes in each 16th packet that it sends back (seen)
#
# The module goes and comes back 20 times with packets under way in both directions: each time
# the channel is closed with its rings full, and opened as if it were new.

id=5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
figures=/sys/kernel/debug/hvrust_sample-$id/figures
sent() { sed 's/^sent=\([0-9]*\).*/\1/' $figures; }
more() { [ "$(sent)" -gt 40 ]; }

rounds=$((20 * TIMES))
for round in $(seq $rounds); do
	modprobe hvrust_sample packets=16 flood=1 || fail "round $round: modprobe"
	[ -e $figures ] || fail "round $round: not bound"
	host echo0 send 1000 4096
	within 10 more || fail "round $round: no traffic: $(cat $figures)"
	! grep -q 'wrong=[1-9]' $figures || fail "round $round: $(cat $figures)"
	rmmod hvrust_sample || fail "round $round: rmmod"
	[ ! -e $figures ] || fail "round $round: still bound without the module"
done
[ "$(dmesg | grep -c 'unbound: .*wrong=0 ')" = $rounds ] || fail "packets went wrong: $(dmesg | grep unbound: | tail -n 1)"
