# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# host: --monitor
# breaks-with: vmbus/hw/interrupt.rs: signals by hypercall only (seen)
#
# Channels with a monitor id: the attributes are there and say what the host said, and the
# driver sets bits in shared memory instead of calling.

need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct
cmp /tmp/noise /tmp/back || fail "the disk returns other data than was written"
need_net
send_file /tmp/noise
[ "$(counter monitor_signals)" -ge 20 ] || fail "the guest set $(counter monitor_signals) bits"

for device in /sys/bus/vmbus/devices/*; do
	id=$(cat "$device/id")
	# The host's rule: the number itself, and each id has a latency of its own.
	[ "$(cat "$device/monitor_id")" = "$id" ] || fail "channel $id has the monitor id $(cat "$device/monitor_id")"
	for who in server client; do
		[ "$(cat "$device/${who}_monitor_latency")" = $((1000 + id)) ] ||
			fail "channel $id: ${who}_monitor_latency is $(cat "$device/${who}_monitor_latency")"
		[ "$(cat "$device/${who}_monitor_conn_id")" = $((id + 8192)) ] ||
			fail "channel $id: ${who}_monitor_conn_id is $(cat "$device/${who}_monitor_conn_id")"
		cat "$device/${who}_monitor_pending" >/dev/null || fail "channel $id: no ${who}_monitor_pending"
	done
	channel=$device/channels/$id
	[ "$(cat "$channel/monitor_id")" = "$id" ] || fail "channel $id: its monitor_id is $(cat "$channel/monitor_id")"
	[ "$(cat "$channel/latency")" = $((1000 + id)) ] || fail "channel $id: its latency is $(cat "$channel/latency")"
	cat "$channel/pending" >/dev/null || fail "channel $id has no pending"
done
