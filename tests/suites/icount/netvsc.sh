# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: fast
# timeout: 300
# boot: own
# icount: yes
# breaks-with: the time of one transfer instead of the shortest of six (seen: 15 % apart)
#
# What 4 MiB over TCP, and 8 MiB back, cost in all: guest, emulated host and peer, and the
# Linux below them. The shortest of six: where all processors wait for something outside,
# the clock goes to the next timer. No iperf3: that looks once a second whether it is done.

need_net
noise 4
to=999999999999 from=999999999999
for round in 1 2 3 4 5 6; do
	before=$(now_ns)
	send_file /tmp/noise
	took=$(($(now_ns) - before))
	[ $took -ge $to ] || to=$took
	before=$(now_ns)
	[ "$(nc -w 30 $PEER 7002 </dev/null | wc -c)" = $((8 << 20)) ] || fail "round $round: the peer's 8 MiB did not come"
	took=$(($(now_ns) - before))
	[ $took -ge $from ] || from=$took
done
figure tcp_to $((to / 4)) "ns per MiB"
figure tcp_from $((from / 8)) "ns per MiB"
