# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_vmbus
# pattern: no
# timeout: 60
# boot: own
# soak: 50
# each: write offline
# xfail-c: W7 did not end with the rescind|no end|still on the bus
# breaks-with: vmbus/lifecycle.rs: a rescind does not end the waits for answers
#
# W7, W8: the host does not answer MODIFY_CHANNEL, of a move that user space asked for or of a
# processor that goes offline, nor GPADL_TORNDOWN of an unbind at the same time, and takes the card
# away then: all waits end, no move counts as done, and the card works when it comes again.

class='{f8615163-df3e-46c5-913f-f2d2f965ed0e}'
gone() { ! grep -qF "$class" /sys/bus/vmbus/devices/*/class_id; }
processor=/sys/devices/system/cpu/cpu1/online
dropped() { [ "$(counter fault.drop)" -gt "$drops" ]; }
for round in $(rounds 2); do
	need_net
	device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
	device=${device%/class_id}
	channel=$(echo "$device"/channels/*)
	[ "$(cat "$channel/cpu")" = 1 ] || echo 1 >"$channel/cpu" || fail "round $round: the channel does not go to processor 1"
	drops=$(counter fault.drop)
	host fault message MODIFY_CHANNEL_RESPONSE drop 9
	host fault message GPADL_TORNDOWN drop 9
	case $1 in
	write) (echo 0 >"$channel/cpu") 2>/dev/null & ;;
	offline) (echo 0 >$processor) 2>/dev/null & ;;
	esac
	first=$!
	within 10 dropped || fail "round $round: there was no MODIFY_CHANNEL"
	(echo "${device##*/}" >/sys/bus/vmbus/drivers/hv_netvsc/unbind) &
	second=$!
	sleep 0.3
	kill -0 $first || fail "round $round: the move did not wait for the host"
	host rescind nic0
	within 10 not kill -0 $first || fail "round $round: the wait for MODIFY_CHANNEL did not end with the rescind"
	within 10 not kill -0 $second || fail "round $round: unbind did not end with the rescind"
	within 10 gone || fail "round $round: the card is still on the bus"
	[ "$(cat $processor)" = 1 ] || echo 1 >$processor || fail "round $round: the processor does not come back"
	host fault clear
	host offer nic0
done
need_net
