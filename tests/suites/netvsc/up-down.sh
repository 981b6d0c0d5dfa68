# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_netvsc
# timeout: 60
# soak: 50
# breaks-with: netvsc/attach.rs: the card passes frames on while it is down (seen)
#
# The interface goes down and up, twenty times, a thousand times in a soak, while data come in: each
# time it carries data again, no frame comes while it is down, and nothing waits.

need_net
noise 1
flood() { while [ ! -e /tmp/enough ]; do nc -w 2 $PEER 7002 </dev/null >/dev/null 2>&1 || sleep 0.1; done; }
rm -f /tmp/enough
flood &
answers() { ip addr replace fd77::2/64 dev eth0 && ping -c 1 -W 1 $PEER; }
frames() { cat /sys/class/net/eth0/statistics/rx_packets; }
for round in $(rounds 20); do
	ip link set eth0 down || fail "round $round: down"
	before=$(frames)
	[ $((round % 10)) != 0 ] || sleep 0.2
	[ "$(frames)" = "$before" ] || fail "round $round: $(($(frames) - before)) frames came while it was down"
	ip link set eth0 up || fail "round $round: up"
	within 10 answers || fail "round $round: no answer"
done
touch /tmp/enough
wait
dmesg | grep -i 'not empty' && fail "something was left under way"
[ "$(counter nic0.tx_refused)" = 0 ] || fail "the host refused frames: $(host nic0 counters)"
need_net
send_file /tmp/noise
receive_file
