# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 4
# rust: hv_netvsc
# timeout: 120
# boot: own
# host: --nic tap0,queues=4
# tools: ethtool
# xfail-c: X5 no end after|killed|crash|is not ready|does not answer|BUG|Oops|hangs|channels|receives|sends
# breaks-with: netvsc/attached.rs: sub-channels that are offered at the same time get the same number; netvsc/queues.rs: the table names a queue that was not opened (both seen)
#
# X5: the host refuses to open the middle one of three sub-channels: the card works with the other
# three channels, each of which carries frames both ways, and gets all four when it is set up anew.

combined() { /tools/ethtool -l eth0 | sed -n 's/^Combined:[[:space:]]*//p' | tail -n 1; }
has() { [ "$(combined)" = "$1" ]; }
carry() { # [CHANNEL]: of the host, which carries nothing; the others do
	local n tx rx
	read_queues
	for n in 0 1 2 3; do eval "was_tx$n=\$tx$n was_rx$n=\$rx$n"; done
	send_many 24
	receive_many 24
	read_queues
	for n in 0 1 2 3; do
		tx=$((tx$n - was_tx$n)) rx=$((rx$n - was_rx$n))
		if [ $n = "${1:-}" ]; then
			[ $((tx + rx)) = 0 ] || fail "channel $n, which is not open, carries frames"
		else
			[ $tx -gt 20 ] || fail "the guest sends $tx frames on channel $n"
			[ $rx -gt 20 ] || fail "the guest receives $rx frames on channel $n"
		fi
	done
}
# Which of them is not open: the opens of sub-channels overtake one another.
closed() {
	local channel
	for channel in /sys/class/net/eth0/device/channels/*; do
		cat "$channel/out_mask" >/dev/null 2>&1 || cat "$channel/subchannel_id"
	done
}

need_net
within 10 has 4 || fail "there are $(combined) channels, not 4"
carry
# The primary channel opens first.
host fault message OPEN_RESULT status 0xc0000001 1 skip 2
ip link set eth0 mtu 1400 || fail "the MTU cannot be changed"
refused() { [ "$(counter fault.status)" = 1 ]; }
within 10 refused || fail "no sub-channel was refused"
within 10 has 3 || fail "there are $(combined) channels, not 3"
need_net
sleep 1
noise 2
send_file /tmp/noise
receive_file
# Entries of the table are queues of the guest: three of them.
[ "$(/tools/ethtool -x eth0 | sed -n 's/^ *[0-9]*: //p' | tr -s ' ' '\n' | grep . | sort -u | tr '\n' ' ')" = "0 1 2 " ] ||
	fail "ethtool -x: $(/tools/ethtool -x eth0 | sed -n 3,4p)"
carry "$(closed)"
timeout 20 ip link set eth0 mtu 1500 || fail "the MTU cannot be changed back"
within 10 has 4 || fail "there are $(combined) channels, not 4, after the MTU was changed back"
need_net
carry
