# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 120
# tools: ethtool
# breaks-with: netvsc/link.rs: a link that comes back does not undo that it went (seen)
#
# The link goes down and up, changes its speed, and its network; Linux looks at most every
# two seconds.

need_net
carrier() { [ "$(cat /sys/class/net/eth0/carrier)" = "$1" ]; }
speed() { [ "$(cat /sys/class/net/eth0/speed)" = "$1" ]; }
for round in 1 2; do
	host nic0 link down
	within 10 carrier 0 || fail "round $round: the link is down and the carrier is not"
	within 5 grep -qx down /sys/class/net/eth0/operstate || fail "the state is $(cat /sys/class/net/eth0/operstate)"
	not ping -c 1 -W 1 $PEER || fail "the peer answers over a link that is down"
	host nic0 link up
	within 10 carrier 1 || fail "round $round: the link is up and the carrier is not"
	need_net
done
# The last of many counts.
for state in down up down up down up; do host nic0 link $state; done
sleep 3
within 30 carrier 1 || fail "the carrier is off after a flap"
changes=$(cat /sys/class/net/eth0/carrier_changes)
host nic0 link change
changed() { [ $(($(cat /sys/class/net/eth0/carrier_changes) - changes)) -ge 2 ] && carrier 1; }
within 30 changed || fail "a change of the network does not take the carrier away and back"
for mbps in 1000 40000 10000; do
	host nic0 link speed $mbps
	within 5 speed $mbps || fail "the speed is $(cat /sys/class/net/eth0/speed), not $mbps"
	/tools/ethtool eth0 | grep -q "Speed: ${mbps}Mb/s" || fail "ethtool does not know a speed of $mbps"
done
need_net
noise 1
send_file /tmp/noise
receive_file
