# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 120
# host: --service echo
# breaks-with: a byte that the host changes in each 16th packet that it sends back (seen)
#
# Sub-channels that the host does not open, or takes away while packets are under way: the others
# go on, and the driver can close all of them, and be loaded again.

id=5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
figures=/sys/kernel/debug/hvrust_sample-$id/figures
figure() { tr ' ' '\n' <$figures | sed -n "s/^$1=//p"; }
grown() { [ "$(figure sent)" -gt $((sent + 200)) ]; }
channels() { find /sys/bus/vmbus/devices/$id/channels/ -mindepth 1 -maxdepth 1 | wc -l; }
have() { [ "$(channels)" = "$1" ]; }

# All are opened.
modprobe hvrust_sample packets=100 subs=2 || fail "probe failed: $(dmesg | tail -n 2)"
[ "$(figure subs) $(figure refused)" = "2 0" ] || fail "not two sub-channels: $(cat $figures)"
[ "$(figure sent)" = 300 ] || fail "not all channels were used: $(cat $figures)"
rmmod hvrust_sample
within 10 have 1 || fail "there are $(channels) channels after closing"

# The second one is refused: the primary is the first that is opened.
host fault message OPEN_RESULT status 5 skip 2
modprobe hvrust_sample packets=100 subs=2 flood=1 || fail "probe failed: $(dmesg | tail -n 2)"
[ "$(figure subs) $(figure refused)" = "1 1" ] || fail "not one was refused: $(cat $figures)"
sent=$(figure sent)
within 10 grown || fail "the others do not go on: $(cat $figures)"
[ "$(figure wrong)" = 0 ] || fail "packets went wrong: $(cat $figures)"
rmmod hvrust_sample
host fault clear
within 10 have 1 || fail "there are $(channels) channels after closing"

# One is taken away.
for round in 1 2 3; do
	modprobe hvrust_sample packets=100 subs=2 flood=1 || fail "round $round: $(dmesg | tail -n 2)"
	[ "$(figure subs) $(figure refused)" = "2 0" ] || fail "round $round: not two: $(cat $figures)"
	host rescind echo0 1 || fail "round $round: no rescind"
	sent=$(figure sent)
	within 10 grown || fail "round $round: the others do not go on: $(cat $figures)"
	host echo0 send 200 1000 2
	[ "$(figure wrong)" = 0 ] || fail "round $round: packets went wrong: $(cat $figures)"
	rmmod hvrust_sample
	within 10 have 1 || fail "round $round: there are $(channels) channels after closing"
done
lost() { dmesg | grep -E 'leaked|left the channel open|are lost'; }
not lost || fail "something was leaked"
