# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_vmbus hv_netvsc
# timeout: 120
# soak: 10
# boot: own
# host: --more-nics 7
# tools: ethtool
# xfail-c: X8 cards are still there|does not go|hangs|killed
# breaks-with: C's own way: a card that is being set up is not let go (seen)
#
# Eight cards: each comes up and moves its own data. The host takes all of them away at once, while
# they carry data, links go down and up and rings change; and the driver is unloaded meanwhile. They
# come back.

name_of() { # NUMBER
	local dir address
	for dir in /sys/class/net/*; do
		read -r address 2>/dev/null <"$dir/address" || continue
		[ "$address" != "00:15:5d:00:00:0$(($1 + 1))" ] || { echo "${dir##*/}" && return; }
	done
	return 1
}
all() { for n in 0 1 2 3 4 5 6 7; do name_of $n || return 1; done; }
none() { not name_of 0 && not name_of 3 && not name_of 7; }
bring_up() { # NUMBER
	local name
	name=$(name_of "$1") &&
		ip link set "$name" up &&
		ip addr replace "192.168.$((77 + $1)).2/24" dev "$name" &&
		ping -c 1 -W 1 "192.168.$((77 + $1)).1"
}
works() { # NUMBER
	within 20 bring_up "$1" || fail "card $1 does not come up"
	send_file /tmp/little "192.168.$((77 + $1)).1"
	receive_little "192.168.$((77 + $1)).1"
}
each() { # COMMAND...: for all cards at the same time
	local n pids=
	for n in 0 1 2 3 4 5 6 7; do
		(set -e; "$@" $n) &
		pids="$pids $!"
	done
	for n in $pids; do
		wait "$n" || fail "$*: $(cat /tmp/why)"
	done
}
disturb() { # NUMBER: until the card is gone, which may be in the middle of anything
	local name n
	name=$(name_of "$1") || return 0
	for n in $(seq 12); do
		/tools/ethtool -G "$name" rx $((2000 + n * 10)) || true
		ip link set "$name" down || true
		ip link set "$name" up || true
		ip link set "$name" mtu $((1300 + n)) || return 0
	done
}
flood() { # NUMBER
	for n in 1 2 3 4; do
		timeout 5 nc -w 2 "192.168.$((77 + $1)).1" 7005 </dev/null >/dev/null || return 0
	done
}

head -c 100000 /dev/urandom >/tmp/little
within 20 all || fail "not all cards came"
each works
for round in $(rounds 1); do
	for what in rescind unload; do
		for n in 0 1 2 3 4 5 6 7; do
			disturb $n >/tmp/disturb$n 2>&1 &
			flood $n >/dev/null 2>&1 &
		done
		sleep 1
		if [ $what = rescind ]; then
			for n in 0 1 2 3 4 5 6 7; do host rescind nic$n; done
			within 20 none || fail "round $round: cards are still there: $(ls /sys/class/net)"
			timeout 20 rmmod hv_netvsc || fail "round $round: the driver does not go"
		else
			timeout 40 rmmod hv_netvsc || fail "round $round: the driver does not go"
		fi
		wait
		timeout 10 ip link show >/dev/null || fail "round $round: ip link hangs"
		none || fail "round $round: cards are still there after $what"
		[ $what = unload ] || for n in 0 1 2 3 4 5 6 7; do host offer nic$n; done
		modprobe hv_netvsc
		within 20 all || fail "round $round: not all cards came back after $what"
		each works
	done
done
