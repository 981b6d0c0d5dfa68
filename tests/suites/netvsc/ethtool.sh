# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_netvsc
# tools: ethtool
# breaks-with: the VMM's RNDIS offload answer without TCP checksums; link speed 0
#
# What ethtool says about the card, and counters that count what was sent.

need_net
e() { /tools/ethtool "$@"; }
e -i eth0 >/tmp/info
grep -qx 'driver: hv_netvsc' /tmp/info || fail "ethtool -i: $(head -n 1 /tmp/info)"
grep -qE '^firmware-version: .+' /tmp/info || fail "ethtool -i has no firmware version"
[ "$(cat /sys/class/net/eth0/address)" = 00:15:5d:00:00:01 ] || fail "the MAC address is $(cat /sys/class/net/eth0/address)"
[ "$(cat /sys/class/net/eth0/mtu)" = 1500 ] || fail "the MTU is $(cat /sys/class/net/eth0/mtu)"
[ "$(basename "$(readlink /sys/class/net/eth0/device/subsystem)")" = vmbus ] || fail "eth0's parent is not on vmbus"

e eth0 >/tmp/link
grep -q 'Link detected: yes' /tmp/link || fail "ethtool: no link"
grep -qE 'Speed: [1-9][0-9]*Mb/s' /tmp/link || fail "ethtool: $(grep Speed /tmp/link)"
grep -q 'Duplex: Full' /tmp/link || fail "ethtool: $(grep Duplex /tmp/link)"

e -k eth0 >/tmp/features
for feature in rx-checksumming tx-checksumming scatter-gather tcp-segmentation-offload generic-receive-offload; do
	grep -q "^$feature: on" /tmp/features || fail "$feature is not on"
done
e -l eth0 >/tmp/channels || fail "ethtool -l"
[ "$(sed -n 's/^Combined:[[:space:]]*//p' /tmp/channels | tail -n 1)" -ge 1 ] || fail "ethtool -l shows no channel"
e -g eth0 >/tmp/rings || fail "ethtool -g"
[ "$(sed -n 's/^RX:[[:space:]]*//p' /tmp/rings | tail -n 1)" -gt 100 ] || fail "ethtool -g shows no receive sections"

statistic() { e -S eth0 | sed -n "s/^ *$1: //p"; }
for name in tx_scattered tx_no_memory tx_no_space tx_too_big tx_busy tx_send_full rx_comp_busy rx_no_memory \
	stop_queue wake_queue vlan_error vf_tx_dropped rx_queue_0_xdp_drop cpu0_rx_packets; do
	[ -n "$(statistic $name)" ] || fail "ethtool -S has no $name"
done
sent=$(statistic tx_queue_0_packets) received=$(statistic rx_queue_0_packets)
host_sent=$(host nic0 counters)
ping -c 20 -i 0.05 $PEER
[ $(($(statistic tx_queue_0_packets) - sent)) -ge 20 ] || fail "tx_queue_0_packets does not count 20 pings"
[ $(($(statistic rx_queue_0_packets) - received)) -ge 20 ] || fail "rx_queue_0_packets does not count 20 answers"
[ "$(host nic0 counters)" != "$host_sent" ] || fail "the host's counters do not move: $host_sent"
