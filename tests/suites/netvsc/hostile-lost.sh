# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 90
# boot: own
# xfail-c: X7 ip link hangs
# breaks-with: netvsc/control.rs: one question at a time, without a deadline, as C has it (seen)
#
# A control message without an answer: whoever waits must not keep everybody else waiting.

need_net
host nic0 bad answer-lost 1
ip link set eth0 promisc on
sleep 1
ip link set eth0 down &
link=$!
within 65 not kill -0 $link || fail "ip link hangs without an answer from the host"
