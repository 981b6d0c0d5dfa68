# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_vmbus hv_netvsc
# timeout: 120
# host: --nic tap0,queues=2
# boot: own
# tools: ethtool
# xfail-c: X20? received on the channels
# breaks-with: netvsc/ethtool.rs: the card is not told the new table (seen)
#
# Two channels: both carry, each way; the table says where received frames go, and ethtool
# changes table, key and number of channels.

need_net
e() { /tools/ethtool "$@"; }
moved() { # COMMAND...: sets tx0 tx1 rx0 rx1 to how far each queue moved
	local a b c d
	read_queues
	a=$tx0 b=$tx1 c=$rx0 d=$rx1
	"$@"
	read_queues
	tx0=$((tx0 - a)) tx1=$((tx1 - b)) rx0=$((rx0 - c)) rx1=$((rx1 - d))
	echo "$*: tx $tx0 $tx1, rx $rx0 $rx1"
}
combined() { e -l eth0 | sed -n 's/^Combined:[[:space:]]*//p' | tail -n 1; }
# Sixteen connections, each with its own port.
sends() { send_many 16; }
receives() { receive_many 16; }

two() { [ "$(combined)" = 2 ]; }
within 10 two || fail "there are $(combined) channels, not 2"
[ "$(find /sys/class/net/eth0/device/channels/ -mindepth 1 -maxdepth 1 | wc -l)" = 2 ] || fail "sysfs does not show 2 channels"
moved receives
[ $rx0 -gt 50 ] && [ $rx1 -gt 50 ] || fail "received on the channels: $rx0 and $rx1"
moved sends
[ $tx0 -gt 20 ] && [ $tx1 -gt 20 ] || fail "sent on the channels: $tx0 and $tx1"

e -x eth0 >/tmp/table
[ "$(grep -cE '^ +[0-9]+:' /tmp/table)" = 16 ] || fail "ethtool -x shows no table of 128"
for only in 0 1; do
	weights="1 0"
	[ $only = 0 ] || weights="0 1"
	# shellcheck disable=SC2086
	e -X eth0 weight $weights || fail "ethtool -X weight $weights"
	moved receives
	other=$rx1
	[ $only = 0 ] || other=$rx0
	# ARP and neighbour discovery are not hashed.
	[ $other -lt 10 ] || fail "with all weight on channel $only the other one received $other frames"
done
e -X eth0 equal 2 hkey "$(for n in $(seq 40); do printf '%02x:' "$n"; done | sed 's/:$//')" || fail "ethtool -X hkey"
e -x eth0 | grep -q '01:02:03:04' || fail "ethtool -x does not show the new key"
moved receives
[ $rx0 -gt 50 ] && [ $rx1 -gt 50 ] || fail "with another key the channels received $rx0 and $rx1"

noise 2
# A table of the user's forbids fewer channels than it names.
e -X eth0 default || fail "ethtool -X default"
for count in 1 2; do
	e -L eth0 combined $count || fail "ethtool -L combined $count"
	[ "$(combined)" = $count ] || fail "there are $(combined) channels, not $count"
	need_net
	send_file /tmp/noise
	receive_little
	moved receives
	# What the table sends to a second channel that came back is not looked at yet.
	[ $count = 2 ] || [ $rx1 = 0 ] || fail "a channel that is closed received $rx1 frames"
done
not e -L eth0 combined 3 || fail "ethtool -L takes more channels than the host has"
