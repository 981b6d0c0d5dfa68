# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 120
# soak: 2
# tools: ethtool socat
# breaks-with: netvsc/queue.rs: a poll does not wake the queue when there is room (seen)
#
# The host stops reading the ring for a while, or completes nothing and takes no more than its
# quota: the queue stops, and all goes on when the host does.

need_net
noise 2
statistic() { /tools/ethtool -S eth0 | sed -n "s/^ *$1: //p"; }
# A socket that may have more under way than the ring takes.
echo 67108864 >/proc/sys/net/core/wmem_max
flood() {
	/tools/socat -u -b 100 OPEN:/dev/zero "UDP4-SENDTO:$PEER:7009,sndbuf=33554432" &
	socat=$!
}
for way in "pause resume" "hold release"; do
	# A pause that is too short to stop the queue.
	[ $TIMES = 1 ] && pauses=3 || pauses="1 5"
	for seconds in $pauses; do
		stop=$(statistic stop_queue)
		flood
		sleep 1
		host nic0 "${way% *}"
		sleep $seconds
		[ "$(statistic stop_queue)" != "$stop" ] || [ $seconds = 1 ] ||
			fail "${way% *}: the queue was not stopped in $seconds s"
		not ping -c 1 -W 1 $PEER || [ "$way" != "pause resume" ] || fail "the peer answers although the host reads nothing"
		host nic0 "${way#* }"
		sleep 1
		kill $socat
		wait $socat || true
		need_net
		send_file /tmp/noise
		receive_little
	done
	[ "$(statistic stop_queue)" -le "$(statistic wake_queue)" ] ||
		fail "${way% *}: the queue was stopped $(statistic stop_queue) times and woken $(statistic wake_queue) times"
done
[ "$(cat /sys/class/net/eth0/queues/tx-0/tx_timeout)" = 0 ] || fail "the transmit queue timed out"
