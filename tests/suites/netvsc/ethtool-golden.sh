# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_netvsc
# timeout: 60
# boot: own
# host: --nic tap0,queues=2,rsc=on
# tools: ethtool
# breaks-with: netvsc/link.rs: another unit of the speed (seen)
#
# What ethtool shows of the card, and how it refuses what the card has not, word for word as with the
# C driver. Figures that count are a # each.

e() { # ARGUMENTS...
	local code=0
	echo "\$ ethtool $*"
	# Its own name is in what it says when it fails.
	/tools/ethtool "$@" >/tmp/said 2>&1 || code=$?
	sed 's,/tools/ethtool,ethtool,' /tmp/said
	echo "= $code"
}
combined() { /tools/ethtool -l eth0 | sed -n 's/^Combined:[[:space:]]*//p' | tail -n 1; }
two() { [ "$(combined)" = 2 ]; }
need_net
within 10 two || fail "there are $(combined) channels"
sleep 1
{
	e eth0
	e -i eth0 | sed 's/^version: .*/version: #/; s/^\(bus-info:\) .*/\1 #/'
	e -S eth0 | sed 's/: [0-9]*$/: #/'
	for what in -k -g -l -x -c -T -P -d -a -m --show-eee --show-fec --show-priv-flags --show-tunnels --phy-statistics; do
		e $what eth0
	done
	e -u eth0
	e -w eth0
	for flow in tcp4 tcp6 udp4 udp6 sctp4 ah4 esp4; do
		e -n eth0 rx-flow-hash $flow
		e -N eth0 rx-flow-hash $flow sd
		e -n eth0 rx-flow-hash $flow
		e -N eth0 rx-flow-hash $flow sdfn
		e -N eth0 rx-flow-hash $flow m
	done
	e -N eth0 flow-type tcp4 action 1
	e -X eth0 weight 1 3
	e -x eth0
	e -X eth0 hkey 01:02
	e -X eth0 hfunc xor
	e -X eth0 equal 3
	e -X eth0 default
	e -x eth0
	for what in "rx 1" "tx 1" "rx 4000 tx 150" "rx 100000000" "rx-mini 1"; do
		# shellcheck disable=SC2086
		e -G eth0 $what
		e -g eth0
	done
	for what in "combined 1" "combined 3" "combined 0" "rx 1" "combined 2"; do
		# shellcheck disable=SC2086
		e -L eth0 $what
		e -l eth0
	done
	e -C eth0 rx-usecs 1
	e -A eth0 rx off
	for what in "speed 1000 duplex full autoneg off" "duplex half" "autoneg on" "speed 10000 duplex full autoneg off" "msglvl 0x21" "wol g" "mdix on"; do
		# shellcheck disable=SC2086
		e -s eth0 $what
		e eth0
	done
	e -r eth0
	e -p eth0 1
	e -t eth0
	for what in rx tx sg tso gso gro lro rxhash rxvlan txvlan ntuple; do
		for state in off on; do
			e -K eth0 $what $state
			e -k eth0 | grep -v 'fixed\]'
		done
	done
} >/tmp/ethtool 2>&1
if ! cmp -s /tmp/ethtool /hv/tests/netvsc/ethtool.golden; then
	diff /hv/tests/netvsc/ethtool.golden /tmp/ethtool | grep '^[-+][^-+]' >/tmp/diff || true
	head -n 30 /tmp/diff
	fail "ethtool says something else, from '$(head -n 1 /tmp/diff)': $(wc -l </tmp/diff) lines differ"
fi
