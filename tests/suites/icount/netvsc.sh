# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: fast
# timeout: 400
# boot: own
# tools: socat ethtool
# icount: yes
# breaks-with: the time of one transfer instead of the shortest of several (seen: 15 % apart)
#
# What one small packet costs in all, each way, and a MiB over TCP: to the peer in packets of
# 64 KiB that the host segments and in single segments, and from the peer. In all: guest,
# emulated host and peer, and the Linux below them. The shortest of seven times but one: where
# all processors wait for something outside, the clock goes to the next timer (10 ms), and at times
# packets gather as they never do. No iperf3: that looks once a second whether it is done.

need_net
noise 16
own=$(cat /sys/class/net/eth0/address)
received() { cat /sys/class/net/eth0/statistics/rx_packets; }
# What a connection learnt must not change the next one.
echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save
echo 0 >/sys/module/tcp_cubic/parameters/hystart

timed() { # NAME COUNT UNIT COMMAND...
	local name=$1 count=$2 unit=$3 before round
	shift 3
	# Once for the caches. And what the last note left behind has to reach the share.
	"$@"
	sleep 2
	for round in 1 2 3 4 5 6 7; do
		before=$(now_ns)
		"$@"
		echo $(($(now_ns) - before))
	done | sort -n >/tmp/times
	note "$name: $(tr '\n' ' ' </tmp/times)"
	figure "$name" $(($(sed -n 2p /tmp/times) / count)) "ns per $unit"
}

head -c $((64 * 4000)) /dev/zero >/tmp/small
datagrams() {
	/tools/socat -u -b 64 OPEN:/tmp/small "UDP4-SENDTO:$PEER:7009"
	# The answer comes after all of them have gone.
	ping -c 1 -W 5 $PEER >/dev/null || fail "no answer after the datagrams"
}
[ "$(echo "room 5000" | nc -w 30 $PEER 7004)" = there ] || fail "the peer has no room"
frames() {
	local before
	before=$(received)
	[ "$(echo "send $own 4000" | nc -w 30 $PEER 7004)" = sent ] || fail "the peer does not send"
	[ $(($(received) - before)) -ge 4000 ] || fail "$(($(received) - before)) of 4000 frames came"
}
receive() { [ "$(nc -w 30 $PEER 7002 </dev/null | wc -c)" = $((8 << 20)) ] || fail "the peer's 8 MiB did not come"; }

timed udp_out 4000 "datagram of 64 bytes to the peer" datagrams
timed frames_in 4000 "frame of 100 bytes from the peer" frames
timed tcp_lso 16 "MiB to the peer" send_file /tmp/noise
timed tcp_in 8 "MiB from the peer" receive
/tools/ethtool -K eth0 tso off gso off gro off || fail "ethtool -K"
timed tcp_out 16 "MiB to the peer in segments" send_file /tmp/noise
timed tcp_in_single 8 "MiB from the peer without GRO" receive
