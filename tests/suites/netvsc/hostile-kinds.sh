# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 90
# boot: own
# each: frame-empty frame-buffer control-empty control-buffer exchange-empty exchange-rndis
# xfail-c: X3 no end after|killed|crash|is not ready|does not answer|BUG|Oops|hangs|is kept|did not come up
# breaks-with: C's own way: the host says how the pointer behind an id is to be understood (seen)
#
# X3: what the host says that it completes is not what it completes: frames, control messages and
# questions of the handshake are completed with nothing, or as one another.

need_net
noise 1
before=$(counter nic0.bad)
count=3
[ "${1%-*}" != exchange ] || count=1
host nic0 complete "${1%-*}" "${1#*-}" $count
case $1 in
frame-*) ping -c 1 -W 1 $PEER && send_file /tmp/noise ;;
control-*)
	for state in on off on off; do
		ip link set eth0 promisc $state
		sleep 0.2
	done
	;;
esac
# Sets the card up anew: all that was sent is to be done with. What the host answers to nonsense
# need not succeed.
ip link set eth0 mtu 1400 &
within 20 not kill -0 $! || fail "ip link hangs: what was sent is kept for ever"
[ "$(counter nic0.bad)" -ge $((before + 1)) ] || fail "the host did nothing wrong"
host nic0 complete frame empty 0
ip link set eth0 mtu 1300 || fail "the MTU cannot be changed afterwards"
need_net
send_file /tmp/noise
receive_little
ip link set eth0 mtu 1500
