# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: fast
# timeout: 300
# boot: own
# tools: socat ethtool
# icount: yes
# breaks-with: no verdict on the cost, only on counts: people compare the figures
#
# What packets cost: small ones from a program and from the kernel's generator (without bursts,
# which give a packet to the driver several times: the C driver oopses), small ones received, TCP
# in segments of the MTU each way, and in large pieces. How many frames carry a transfer, and how many
# acknowledgements come back, is the stack's choice, by what it has seen of times: notes say so.

need_net
show_modules
tx() { cat /sys/class/net/eth0/statistics/tx_packets; }
rx() { cat /sys/class/net/eth0/statistics/rx_packets; }

# 18 bytes of data make a frame of 60, which with its checksum is 64.
head -c $((18 * 2000)) /dev/zero >/tmp/datagrams
send_udp() { /tools/socat -u -b 18 OPEN:/tmp/datagrams "UDP4-SENDTO:$PEER:7009"; }
send_udp
before=$(tx)
measure udp_sent 2000 nic0 send_udp
[ $(($(tx) - before)) -ge 2000 ] || fail "$(($(tx) - before)) frames were sent, not 2000"

modprobe pktgen
echo add_device eth0 >/proc/net/pktgen/kpktgend_0
generate() { # COUNT
	echo "count $1" >/proc/net/pktgen/eth0
	echo start >/proc/net/pktgen/pgctrl
	grep -q '^Result: OK' /proc/net/pktgen/eth0
}
for setting in "pkt_size 60" "delay 0" "dst $PEER" "dst_mac $(ip neigh show $PEER | sed 's/.*lladdr \([^ ]*\).*/\1/')"; do
	echo "$setting" >/proc/net/pktgen/eth0
done
generate 640
before=$(tx)
measure generated 6400 nic0 generate 6400
[ $(($(tx) - before)) -ge 6400 ] || fail "$(($(tx) - before)) frames were sent, not 6400"

receive_frames() { # COUNT
	local before end
	before=$(rx)
	[ "$(echo "send $(cat /sys/class/net/eth0/address) $1" | nc -w 30 $PEER 7004)" = sent ] || return 1
	end=$(($(date +%s) + 20))
	while [ $(($(rx) - before)) -lt "$1" ]; do
		[ "$(date +%s)" -lt $end ] || return 1
	done
}
receive_frames 200
measure received 2000 nic0 receive_frames 2000

# The size of what is sent at a time does not depend on how long an answer took, nor on what was before.
echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save
echo 30 >/proc/sys/net/ipv4/tcp_tso_rtt_log
echo 0 >/sys/module/tcp_cubic/parameters/hystart
transfer() { # NAME UNITS COMMAND
	local sent received
	sent=$(tx)
	received=$(rx)
	measure "$1" "$2" nic0 "$3"
	note "$1: $(($(tx) - sent)) frames sent, $(($(rx) - received)) received"
}

noise 4
receive() { [ "$(nc -w 30 $PEER 7002 </dev/null | wc -c)" = $((8 << 20)) ]; }
# In one piece: small ones would be sent as they come, or together, by what is on its way just then.
echo 16777216 >/proc/sys/net/core/wmem_max
to() { /tools/socat -t 30 -b 4194304 OPEN:/tmp/noise!!STDOUT "TCP4:$PEER:7001,sndbuf=8388608" >/dev/null; }
to
# 64 KiB are the unit.
transfer tcp_sent_large 64 to
receive
transfer tcp_received_large 128 receive
/tools/ethtool -K eth0 tso off gso off
# A segment is 1448 bytes.
to
transfer tcp_sent 2896 to
/tools/ethtool -K eth0 gro off
receive
transfer tcp_received 5793 receive
