# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 180
# host: --service echo
# breaks-with: a byte that the host changes in each 16th packet that it sends back (seen)
#
# The channels are closed and opened again 100 times while packets are under way in both
# directions, each time with rings of other sizes: a primary and a sub-channel, with the receive
# buffer of the first time.

id=5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
figures=/sys/kernel/debug/hvrust_sample-$id/figures
figure() { tr ' ' '\n' <$figures | sed -n "s/^$1=//p"; }
of_host() { host echo0 counters | tr ' ' '\n' | sed -n "s/^$1=//p"; }

# The channels may be closed just now.
maybe() { (host "$@") >/dev/null 2>&1 || rm -f /tmp/why; }

modprobe hvrust_sample packets=100 subs=1 sections=32 reopen=100 flood=1 &
loader=$!
while kill -0 $loader 2>/dev/null; do
	maybe echo0 send 200 1000
	maybe echo0 send 200 1000 1
	maybe echo0 pages 200 3000 0 2
	sleep 0.1
done
wait $loader || fail "probe failed: $(dmesg | tail -n 3)"
[ -e $figures ] || fail "not bound: $(dmesg | tail -n 3)"
[ "$(figure opened)" = 101 ] || fail "opened: $(cat $figures)"
[ "$(figure subs)" = 101 ] || fail "sub-channels: $(cat $figures)"
[ "$(figure wrong)" = 0 ] || fail "packets went wrong: $(cat $figures)"
[ "$(figure cancelled)" -gt 0 ] || fail "nothing was under way: $(cat $figures)"
[ "$(of_host returned)" -gt 0 ] || fail "nothing came back to the host: $(host echo0 counters)"
[ "$(of_host pages_completed)" -gt 0 ] || fail "nothing went through the buffer: $(host echo0 counters)"
rmmod hvrust_sample
[ ! -e $figures ] || fail "still bound without the module"
[ "$(counter violations)" = 0 ] || fail "the guest has broken the protocol"
lost() { dmesg | grep -E 'leaked|left the channel open|are lost'; }
not lost || fail "something was leaked"
