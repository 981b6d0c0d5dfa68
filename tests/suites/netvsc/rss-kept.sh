# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_netvsc
# timeout: 60
# boot: own
# each: key table
# host: --nic tap0,queues=2
# tools: ethtool
# xfail-c: X20 is lost
# breaks-with: C's own way: no key with one channel, and a new table of zeros at each attach (seen)
#
# What spreads received frames survives that the card is set up anew: the key also when
# there was one channel in between, and a table that the user has made.

need_net
e() { /tools/ethtool "$@"; }
combined() { e -l eth0 | sed -n 's/^Combined:[[:space:]]*//p' | tail -n 1; }
two() { [ "$(combined)" = 2 ]; }
second() { # frames that the second channel receives of sixteen connections
	local before
	read_queues
	before=$rx1
	receive_many 16
	read_queues
	echo $((rx1 - before))
}
table() { e -x eth0 | grep -E '^ +[0-9]+:'; }
key() { e -x eth0 | grep -E '^([0-9a-f]{2}:){39}'; }

# Who was here before in this guest may have left one.
two || e -L eth0 combined 2 || true
within 10 two || fail "there are $(combined) channels, not 2"
case $1 in
key)
	key=$(key)
	[ -n "$key" ] || fail "ethtool -x shows no key"
	[ "$(second)" -gt 50 ] || fail "the second channel receives nothing from the start"
	for count in 1 2; do
		e -L eth0 combined $count || fail "ethtool -L combined $count"
	done
	need_net
	[ "$(key)" = "$key" ] || fail "the key is lost: it is $(key) now"
	[ "$(second)" -gt 50 ] || fail "the second channel receives nothing after it came back"
	;;
table)
	e -X eth0 weight 1 3 || fail "ethtool -X weight"
	table >/tmp/table
	grep -q 1 /tmp/table || fail "the table is empty"
	ip link set eth0 mtu 1400 || fail "the MTU cannot be changed"
	need_net
	within 10 two || fail "there are $(combined) channels, not 2"
	table | cmp - /tmp/table || fail "the table is lost: it begins with $(table | head -n 1)"
	[ "$(second)" -gt 50 ] || fail "the second channel receives nothing with the new MTU"
	;;
esac
