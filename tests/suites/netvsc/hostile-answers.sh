# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# tools: ethtool
# each: answer-id answer-status answer-short
# breaks-with: netvsc/control.rs: the id of an answer is not compared (seen)
#
# The host answers control messages wrongly: an answer that nobody waits for before the right
# one, a failure, or less than an answer. X16, X18: also when all messages are looked at for the log;
# C reads behind those that are short, which only KASAN would notice.

need_net
/tools/ethtool -s eth0 msglvl 0xffff || fail "ethtool -s msglvl"
noise 1
for state in on off on off; do
	host nic0 bad "$1" 1
	ip link set eth0 promisc $state || fail "promisc $state"
	sleep 0.3
done
need_net
send_file /tmp/noise
# The first ones of setting the card up again; the driver may give up and go back.
for count in 1 2; do
	host nic0 bad "$1" $count
	ip link set eth0 mtu $((1300 + count)) || [ "$1" != answer-id ] || fail "what nobody waits for was taken for an answer"
	host nic0 bad "$1" 0
	within 20 ping -c 1 -W 1 $PEER || {
		ip link set eth0 mtu 1500 || fail "$count $1: the card does not come back"
		need_net
	}
	[ "$(counter nic0.bad)" != 0 ] || fail "no answer was made wrong"
done
ip link set eth0 mtu 1500
need_net
send_file /tmp/noise
receive_little
/tools/ethtool -s eth0 msglvl 0
