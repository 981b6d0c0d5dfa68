# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 300
# soak: 2
# host: --nic tap0,rsc=on
# tools: ethtool socat
# breaks-with: netvsc/transmit.rs: the host is told that UDP is TCP (seen)
#
# Data over TCP and UDP is right with every combination of scatter-gather, segmentation and
# checksums by the host, coalescing by the host or by the kernel. Each day half of the 32, with all
# combinations of any four of them.

need_net
noise 1
head -c 256k /tmp/noise >/tmp/quarter
# What depends on something that is off goes off too, and ethtool says that it cannot.
e() { /tools/ethtool -K eth0 "$@" >/dev/null 2>&1 || true; }
is() { /tools/ethtool -k eth0 | grep -q "^$1: $2" || fail "$set: $1 is not $2"; }
datagram() { # BYTES ADDRESS
	head -c "$1" /tmp/noise >/tmp/sent
	/tools/socat -b 65536 -T 2 - "$2:7007" </tmp/sent >/tmp/got || fail "socat to $2"
	cmp /tmp/sent /tmp/got || fail "$set: a datagram of $1 bytes did not come back as it went to $2"
}
for lro in on off; do
	for gro in on off; do
		for sg in on off; do
			for tx in on off; do
				for gso in on off; do
					set="lro $lro gro $gro sg $sg tx $tx gso $gso"
					ons=0
					for state in $lro $gro $sg $tx $gso; do [ $state = off ] || ons=$((ons + 1)); done
					[ "$TIMES" != 1 ] || [ $((ons % 2)) = 1 ] || continue
					# shellcheck disable=SC2086
					e $set
					is large-receive-offload $lro
					is generic-receive-offload $gro
					is tx-checksumming $tx
					[ $tx = off ] || is scatter-gather $sg
					send_file /tmp/quarter
					# The host computes no checksum for what is sent in fragments.
					datagram 1000 "UDP4:$PEER"
				done
			done
		done
		receive_little
		receive_little $PEER6
		send_file /tmp/noise $PEER6
		datagram 4000 "UDP4:$PEER"
		for bytes in 1000 4000; do datagram $bytes "UDP6:[$PEER6]"; done
	done
done
e lro on gro on sg on tx on tso on gso on
need_net
[ "$(counter nic0.tx_refused)" = 0 ] || fail "the host refused frames: $(host nic0 counters)"
[ "$(counter nic0.tx_pseudo_checksum_wrong)" = 0 ] || fail "the guest left a wrong sum of the pseudo-header"
