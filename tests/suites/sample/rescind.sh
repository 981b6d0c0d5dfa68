# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 120
# host: --service echo
# breaks-with: the VMM does not offer again what it has rescinded (seen)
#
# The host takes the device away while packets are under way, and while probe waits for answers:
# the driver lets go of it at once, and binds when it is offered again.

id=5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
device=/sys/bus/vmbus/devices/$id
figures=/sys/kernel/debug/hvrust_sample-$id/figures
gone() { [ ! -e $device ]; }
busy() { [ -e $figures ] && [ "$(sed 's/^sent=\([0-9]*\).*/\1/' $figures)" -gt 40 ]; }
kept() { [ "$(host echo0 counters | tr ' ' '\n' | sed -n 's/^held=//p')" -gt 0 ]; }
gave_up() { dmesg | grep -F 'no more answers: '; }

modprobe hvrust_sample packets=16 flood=1
for round in 1 2 3 4 5; do
	within 10 busy || fail "round $round: no traffic: $(cat $figures)"
	host echo0 send 1000 4096
	host rescind echo0
	within 10 gone || fail "round $round: the device is still there 10 s after the rescind"
	# The link goes before the driver does.
	within 10 [ ! -e $figures ] || fail "round $round: the driver still has it"
	host offer echo0
done
within 10 busy || fail "not bound any more: $(dmesg | tail -n 3)"
[ "$(dmesg | grep -c 'unbound: .*wrong=0 ')" = 5 ] || fail "packets went wrong: $(dmesg | grep unbound: | tail -n 1)"
rmmod hvrust_sample

# Now probe waits, and the bus waits for probe.
host echo0 hold
modprobe hvrust_sample &
within 10 kept || fail "the host got no packets to keep"
host rescind echo0
within 10 gave_up || fail "probe still waits 10 s after the rescind"
within 10 gone || fail "the device is still there although probe has failed"
wait
host echo0 release
host offer echo0
within 10 [ -e $device/driver ] || fail "not bound after the offer"
rmmod hvrust_sample
