# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# host: --nic tap0,rsc=on
# tools: ethtool
# breaks-with: netvsc/receive.rs: received bytes without the Ethernet header (seen)
#
# Everything that ethtool reads, against what the host knows.

need_net
e() { /tools/ethtool "$@" >/tmp/out 2>&1; }
for what in "" -i -S -g -l -k -T -P -d; do
	# shellcheck disable=SC2086
	e $what eth0 || fail "ethtool $what: $(tail -n 1 /tmp/out)"
	[ -s /tmp/out ] || fail "ethtool $what says nothing"
done
e -P eth0
grep -q '00:15:5d:00:00:01' /tmp/out || fail "ethtool -P: $(cat /tmp/out)"
e -T eth0
grep -q 'software-transmit' /tmp/out || fail "ethtool -T: no software time stamps of transmission"
# The table by which it transmits: 16 words.
[ "$(/tools/ethtool -d eth0 raw on | wc -c)" = 64 ] || fail "ethtool -d: $(/tools/ethtool -d eth0 raw on | wc -c) bytes, not 64"
e -k eth0
for feature in tx-vlan-offload rx-vlan-offload receive-hashing large-receive-offload; do
	grep -q "^$feature: on" /tmp/out || fail "$feature is not on"
done
for flow in tcp4 udp4 tcp6 udp6; do
	e -n eth0 rx-flow-hash $flow || fail "ethtool -n rx-flow-hash $flow: $(tail -n 1 /tmp/out)"
	grep -q 'L4 bytes 0 & 1' /tmp/out || fail "$flow is not hashed with ports"
	e -N eth0 rx-flow-hash $flow sd || fail "ethtool -N rx-flow-hash $flow sd"
	e -n eth0 rx-flow-hash $flow
	not grep -q 'L4 bytes 0 & 1' /tmp/out || fail "$flow is still hashed with ports"
	e -N eth0 rx-flow-hash $flow sdfn || fail "ethtool -N rx-flow-hash $flow sdfn"
done
# What the card does not have is said, and nothing breaks.
for what in -c -a -m; do
	not e $what eth0 || fail "ethtool $what works"
done
e -s eth0 msglvl 0x7 || fail "ethtool -s msglvl"
e eth0
grep -q "Current message level: 0x00000007" /tmp/out || fail "the message level is not 7"

noise 2
statistic() { /tools/ethtool -S eth0 | sed -n "s/^ *$1: //p"; }
ours() { cat "/sys/class/net/eth0/statistics/$1"; }
sum_of() { /tools/ethtool -S eth0 | sed -n "s/^ *$1: //p" | awk '{ n += $1 } END { print n }'; }
sleep 1
start_tx=$(ours tx_packets) start_rx=$(ours rx_packets) start_rx_bytes=$(ours rx_bytes)
host_tx=$(counter nic0.tx_packets) host_rx=$(counter nic0.rx_packets) host_rx_bytes=$(counter nic0.rx_bytes)
receive_file
sleep 1
rx=$(($(ours rx_packets) - start_rx)) rx_bytes=$(($(ours rx_bytes) - start_rx_bytes))
host_rx=$(($(counter nic0.rx_packets) - host_rx)) host_rx_bytes=$(($(counter nic0.rx_bytes) - host_rx_bytes))
# A frame of somebody else's may come between two readings: ARP, neighbour discovery.
near $rx $host_rx 3 || fail "the guest counts $rx received packets, the host $host_rx"
near $rx_bytes $host_rx_bytes 300 || fail "the guest counts $rx_bytes received bytes, the host $host_rx_bytes"
near $(($(ours tx_packets) - start_tx)) $(($(counter nic0.tx_packets) - host_tx)) 3 || fail "sent packets are counted differently"
for what in packets bytes; do
	[ "$(sum_of "rx_queue_[0-9]*_$what")" = "$(ours rx_$what)" ] || fail "rx_$what is not the sum of the queues"
	[ "$(sum_of "cpu[0-9]*_rx_$what")" = "$(ours rx_$what)" ] || fail "rx_$what is not the sum of the processors"
done
for name in tx_no_memory tx_too_big rx_no_memory vlan_error; do
	[ "$(statistic $name)" = 0 ] || fail "$name is $(statistic $name)"
done
