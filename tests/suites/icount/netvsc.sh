# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# timeout: 300
# boot: own
# tools: iperf3
# icount: yes
# breaks-with: nothing yet
#
# What 16 MiB over TCP cost in all, each way: guest, emulated host and peer, and the
# Linux below them.

need_net
/tools/iperf3 --version >/dev/null
for way in to from; do
	case $way in to) reverse= ;; from) reverse=-R ;; esac
	before=$(now_ns)
	/tools/iperf3 -c $PEER -n 16M -l 128k $reverse >/tmp/iperf.txt || fail "iperf3: $(tail -n 1 /tmp/iperf.txt)"
	figure "tcp_$way" $((($(now_ns) - before) / 16)) "ns per MiB"
done
