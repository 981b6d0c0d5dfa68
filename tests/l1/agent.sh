#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# usage: agent.sh SHARE BIN, in a network namespace of its own
#
# Runs guests, in L1 or straight on a machine whose KVM has Hyper-V emulation.
# Commands come on stdin, one line each:
#   run N    boot the guest of SHARE/jobs/N/argv; the next command may come at once
#   shell N  the same, but stdin and stdout belong to the guest until it ends
#   kill     end the running guest
#   quit
# What it says begins with "@hv": ready; end N STATUS; error TEXT.
# Words of argv (one a line) that begin with @ are files of BIN. Guests start in SHARE.

bin=$2
cd "$1" || exit 1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
work=$(mktemp -d /tmp/hv.XXXXXX)
guest=
pending=
exec 8<&0

# The network peer: the other end of the guest's cable and what answers there.
ip link set lo up &&
	ip tuntap add dev tap0 mode tap vnet_hdr &&
	ip addr add 192.168.77.1/24 dev tap0 &&
	ip addr add fd77::1/64 dev tap0 nodad &&
	ip link set tap0 up || { echo "@hv error the network peer cannot be set up"; exit 1; }
# More of them for guests with more cards: 192.168.78.1 and so on. Without a guest they have no carrier.
for n in 1 2 3 4 5 6 7; do
	ip tuntap add dev tap$n mode tap vnet_hdr &&
		ip addr add 192.168.$((77 + n)).1/24 dev tap$n &&
		ip link set tap$n up || { echo "@hv error tap$n cannot be set up"; exit 1; }
done
python3 "$bin/peer.py" "$work" </dev/null &
services=$!
trap 'kill -KILL $guest $services $iperf 2>/dev/null; rm -rf "$work"' EXIT

# Sets argv and dir.
prepare() {
	dir=jobs/$1
	mapfile -t argv <"$dir/argv"
	argv=("${argv[@]/#@/$bin/}")
	argv+=(--out "$dir")
	# A fresh one for each guest: a client that died in the middle keeps it busy.
	[ -z "$iperf" ] || kill "$iperf" 2>/dev/null
	iperf3 -s </dev/null >/dev/null 2>&1 &
	iperf=$!
}

until [ -e "$work/ready" ]; do
	kill -0 "$services" 2>/dev/null || { echo "@hv error peer.py ended"; exit 1; }
	sleep 0.1
done
echo "@hv ready"
while true; do
	command=
	if IFS= read -r -t 0.2 part; then
		command=$pending$part
		pending=
	elif [ $? -gt 128 ]; then # nothing, or half a line, came in time
		pending+=$part
	else # the runner is gone
		exit 0
	fi
	case $command in
	"run "*)
		job=${command#run }
		prepare "$job"
		"${argv[@]}" >"$dir/stdout" 2>"$dir/stderr" </dev/null &
		guest=$!
		;;
	"shell "*)
		job=${command#shell }
		prepare "$job"
		"${argv[@]}" 2>"$dir/stderr" <&8
		echo "@hv end $job $?"
		;;
	kill) # It saves its logs if it still can.
		kill "$guest" 2>/dev/null
		{ sleep 5 && kill -KILL "$guest"; } 2>/dev/null &
		;;
	quit) exit 0 ;;
	esac
	if [ -n "$guest" ] && ! kill -0 "$guest" 2>/dev/null; then
		wait "$guest"
		echo "@hv end $job $?"
		guest=
	fi
done
