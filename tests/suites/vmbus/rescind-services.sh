# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# smoke: yes
# timeout: 60
# breaks-with: vmbus/lifecycle.rs: the device of a rescinded channel stays (seen)
#
# The host takes its services away and brings them back: they work again.

for round in $(rounds 3); do
	for service in heartbeat shutdown; do
		before=$(ls /sys/bus/vmbus/devices | wc -l)
		host rescind $service
		gone() { [ "$(ls /sys/bus/vmbus/devices | wc -l)" = $((before - 1)) ]; }
		within 10 gone || fail "round $round: $service is still on the bus"
		host offer $service
		there() { [ "$(ls /sys/bus/vmbus/devices | wc -l)" = "$before" ]; }
		within 10 there || fail "round $round: $service does not come again"
	done
done
first=$(host heartbeat)
more() { [ "$(host heartbeat)" -gt "$first" ]; }
within 15 more || fail "the heartbeat that came back is not answered"
