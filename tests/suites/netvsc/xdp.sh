# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_netvsc
# timeout: 180
# soak: 5
# tools: ethtool ping ip
# breaks-with: netvsc/attach.rs: the program goes when the card is set up anew (seen)
#
# Programs see received frames first: what they pass arrives, what they drop does not, what they
# send back or redirect goes out again; and each is counted. They come and go under traffic.

need_net
# Others that run in this guest may have been sent what cannot be used.
refused=$(counter nic0.rx_guest_failed)
load() { /tools/ip -force link set dev eth0 xdp object /tools/xdp.o program "$1" || fail "the program $1 does not load"; }
off() { /tools/ip link set dev eth0 xdp off || fail "the program does not go"; }
answers() { /tools/ping -n -q -c "$1" -i 0.05 -W 2 $PEER >/tmp/ping.txt && grep -q " $1 received" /tmp/ping.txt; }
figure_of() { # NAME: of all queues
	/tools/ethtool -S eth0 | sed -n "s/^ *.x_queue_[0-9]*_$1: //p" | { sum=0; while read -r n; do sum=$((sum + n)); done; echo $sum; }
}

for name in pass head; do
	before=$(figure_of xdp_drop)
	load $name
	/tools/ip -d link show eth0 | grep -q 'prog/xdp' || fail "ip does not show the program"
	answers 10 || fail "$name: $(cat /tmp/ping.txt)"
	[ "$(figure_of xdp_drop)" = "$before" ] || fail "$name: frames were dropped"
done
noise 4
receive_file
send_file /tmp/noise

for name in drop aborted invalid; do
	before=$(figure_of xdp_drop)
	load $name
	not ping -c 3 -W 1 $PEER || fail "$name: an answer arrived"
	got=$(($(figure_of xdp_drop) - before))
	[ $got = 3 ] || fail "$name: 3 frames of ping, $got counted"
	# Others still arrive.
	receive_file
done
# What an invalid answer of a program is worth, the kernel says once.
dmesg | grep -q 'Illegal *XDP return value' || fail "the kernel does not complain about the program"

for name in tx redirect; do
	load $name
	counted=xdp_$name before=$(figure_of xdp_$name) sent=$(figure_of xdp_xmit)
	# The second answer is the one that arrives.
	/tools/ping -n -c 5 -i 0.1 -W 2 $PEER >/tmp/ping.txt || fail "$name: $(cat /tmp/ping.txt)"
	[ "$(grep -cE 'icmp_seq=(3276[89]|3277[0-9])' /tmp/ping.txt)" = 5 ] || fail "$name: $(cat /tmp/ping.txt)"
	got=$(($(figure_of $counted) - before)) sent=$(($(figure_of xdp_xmit) - sent))
	[ $got = 5 ] || fail "$name: 5 frames, $got counted"
	[ $name = tx ] || [ $sent = 5 ] || fail "$name: 5 frames redirected here, $sent counted"
	receive_file
done
[ "$(counter nic0.rx_guest_failed)" = "$refused" ] || fail "the guest refused packets"

# Without a program, and back, while frames come.
receive_file >/tmp/receive 2>&1 &
for round in $(rounds 20); do
	load pass
	off
done
wait $! || fail "receiving meanwhile failed: $(cat /tmp/receive)"
answers 5 || fail "without a program: $(cat /tmp/ping.txt)"

# It stays when the card is set up anew, and keeps frames from growing too large for it.
load drop
/tools/ethtool -G eth0 rx 5000 || fail "ethtool -G"
before=$(figure_of xdp_drop)
dropped() {
	ping -c 1 -W 1 $PEER && fail "the program is gone after the rings changed"
	[ "$(figure_of xdp_drop)" -gt "$before" ]
}
within 20 dropped || fail "no frame comes after the rings changed"
before=$(cat /sys/class/net/eth0/mtu)
not ip link set dev eth0 mtu 9000 2>/dev/null || fail "an MTU that is too large was taken"
[ "$(cat /sys/class/net/eth0/mtu)" = "$before" ] || fail "the MTU changed all the same"
off
ip link set dev eth0 mtu 9000 || fail "the MTU does not change without a program"
not /tools/ip link set dev eth0 xdp object /tools/xdp.o program pass 2>/tmp/reason || fail "a program came with an MTU that is too large"
grep -q 'mtu too large' /tmp/reason || fail "no reason is given: $(cat /tmp/reason)"
ip link set dev eth0 mtu "$before"
need_net
