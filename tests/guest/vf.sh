# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# A virtual function beside eth0 (tests/vf): its cable ends in a namespace, where somebody has the
# address of the peer.

# Bytes and packets by the function; tx_bytes and so on.
vf_figure() { # NAME
	/tools/ethtool -S eth0 | sed -n "s/^ *vf_$1: //p"
}

# Whether the guest has told the host that it sends by this path.
vf_path() { # vf|synthetic
	[ "$(host nic0 vf path)" = "$1" ]
}

vf_there() { nsenter -t "$vf_space" -n "$@"; }

vf_begin() {
	ping -c 1 -W 1 $PEER >/dev/null
	vf_peer=$(ip neigh show dev eth0 | sed -n "s/^$PEER .*lladdr \([0-9a-f:]*\) .*/\1/p")
	[ -n "$vf_peer" ] || fail "the peer has no address"
	vf_mac=$(cat /sys/class/net/eth0/address)
	unshare -n sleep 1000 &
	vf_space=$!
	within 5 vf_apart || fail "there is no namespace"
}

vf_apart() { [ "$(readlink /proc/$vf_space/ns/net)" != "$(readlink /proc/self/ns/net)" ]; }

vf_end() {
	host nic0 vf off
	kill "$vf_space"
	wait "$vf_space" || true
}

# The device alone; the host says nothing.
vf_device() { # SLOT [PARAMETER...]
	local slot=$1
	shift
	modprobe hvrust_vf slot="$slot" mac="$vf_mac" "$@" || fail "the virtual function does not come"
	within 5 [ -e /sys/class/net/vfwire ] || fail "the virtual function has no cable"
	ip link set vfwire netns "$vf_space"
	vf_there ip link set vfwire address "$vf_peer"
	vf_there ip addr add $PEER/24 dev vfwire
	vf_there ip link set vfwire mtu 9000
	vf_there ip link set vfwire up
}

# As a host does it: what it says first, the device then.
vf_plug() { # SERIAL [PARAMETER...]
	host nic0 vf on "$1"
	vf_device "$@"
}

vf_unplug() {
	host nic0 vf off
	rmmod hvrust_vf || fail "the virtual function does not go"
}

# Sends a file to who is at the other end of the function's cable, and compares.
vf_send() { # FILE
	local got
	vf_there nc -l -p 8001 -e sha256sum &
	within 5 vf_listens 8001 || fail "nobody listens behind the function"
	got=$(nc -w 20 $PEER 8001 <"$1") || fail "sending by the function failed"
	[ "${got%% *}" = "$(sum "$1")" ] || fail "other data arrived behind the function"
}

vf_receive() { # FILE
	local got
	vf_there nc -l -p 8002 -e cat "$1" &
	within 5 vf_listens 8002 || fail "nobody listens behind the function"
	got=$(nc -w 20 $PEER 8002 </dev/null | sum) || fail "receiving by the function failed"
	[ "$got" = "$(sum "$1")" ] || fail "other data came from behind the function"
}

vf_listens() { # PORT
	vf_there netstat -ltn | grep -q ":$1 "
}
