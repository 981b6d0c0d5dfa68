# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_netvsc
# timeout: 180
# tools: ethtool
# breaks-with: the VMM ignores the checksum or the LSO information of a frame
#
# Every combination of checksums and segmentation, by the guest or by the host, carries
# data unharmed; and the host really does the work when it is asked to, and only then.

need_net
noise 2
moved() { # COUNTER COMMAND...: how far it moves meanwhile
	local before counter=$1
	shift
	before=$(counter "$counter")
	"$@"
	echo $(($(counter "$counter") - before))
}
for tx in on off; do
	for tso in on off; do
		for rx in on off; do
			set="tx $tx, tso $tso, rx $rx"
			[ $tx$tso != offon ] || continue
			# Segmentation needs checksums and goes off with them.
			/tools/ethtool -K eth0 tx $tx rx $rx >/dev/null || fail "ethtool -K: $set"
			[ $tx = off ] || /tools/ethtool -K eth0 tso $tso >/dev/null || fail "ethtool -K: $set"
			need_net
			sums=$(counter nic0.tx_csum) segments=$(counter nic0.tx_lso)
			send_file /tmp/noise
			sums=$(($(counter nic0.tx_csum) - sums)) segments=$(($(counter nic0.tx_lso) - segments))
			echo "$set: $sums frames with checksums to do, $segments to segment"
			[ $tx$tso != onon ] || [ $segments -gt 10 ] || fail "$set: the host segmented $segments frames"
			[ $tx$tso = onon ] || [ $segments = 0 ] || fail "$set: the host segmented $segments frames"
			[ $tx = off ] || [ $((sums + segments)) -gt 20 ] || fail "$set: the host did $sums checksums"
			[ $tx = on ] || [ $sums = 0 ] || fail "$set: the host did $sums checksums"
			receive_little
		done
	done
done
/tools/ethtool -K eth0 tx on rx on tso on
send_file /tmp/noise $PEER6
