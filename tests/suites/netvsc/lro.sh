# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 120
# host: --nic tap0,rsc=on
# tools: ethtool
# breaks-with: netvsc/nic.rs: the card is not told that coalescing is off (seen)
#
# Segments that the host coalesced arrive as fewer and larger packets, whole; and not when
# the guest has that switched off.

need_net
# Others that run in this guest may have been sent what cannot be used.
refused=$(counter nic0.rx_guest_failed)
e() { /tools/ethtool "$@"; }
received() { cat /sys/class/net/eth0/statistics/rx_packets; }
e -k eth0 | grep -q '^large-receive-offload: on$' || fail "large-receive-offload is not on: $(e -k eth0 | grep large)"
for lro in on off on; do
	e -K eth0 lro $lro || fail "ethtool -K lro $lro"
	for address in $PEER $PEER6; do
		before=$(received) coalesced=$(counter nic0.rx_coalesced) bad=$(counter nic0.rx_bad_frame)
		receive_file $address
		packets=$(($(received) - before)) coalesced=$(($(counter nic0.rx_coalesced) - coalesced))
		echo "lro $lro, $address: $packets packets for 8 MiB, $coalesced of them coalesced"
		if [ $lro = on ]; then
			[ $coalesced -gt 50 ] || fail "$address: only $coalesced coalesced packets"
			[ $packets -lt 3000 ] || fail "$address: $packets packets for 8 MiB with lro"
		else
			[ $coalesced = 0 ] || fail "$address: $coalesced coalesced packets without lro"
			[ $packets -gt 5500 ] || fail "$address: only $packets packets for 8 MiB without lro"
		fi
		[ "$(counter nic0.rx_guest_failed)" = "$refused" ] || fail "the guest refused packets"
	done
done
# Without checksum offload the guest looks at every byte.
e -K eth0 rx off gro off || fail "ethtool -K rx off"
receive_file
receive_file $PEER6
e -K eth0 rx on gro on
