# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_netvsc
# timeout: 90
# tools: socat
# breaks-with: netvsc/info.rs: two bits of the priority of three (seen)
#
# VLAN tags travel beside the frame, each way: one that a program put into a frame arrives at
# the peer, and the peer's arrive here, priorities too.

need_net
peer() { echo "$*" | nc -w 10 $PEER 7004; }
octets() { echo "$*" | sed 's/[ :]*\([0-9a-f][0-9a-f]\)/\\x\1/g'; }
own=$(cat /sys/class/net/eth0/address)
[ "$(peer watch)" = watching ] || fail "the peer does not watch"
before=$(counter nic0.tx_vlan)
tags="1 5 100 4094 24677 57345" # The last ones with a priority.
for tag in $tags; do
	# shellcheck disable=SC2059
	printf "$(octets "02 00 00 00 00 88 $own 81 00 $(printf '%02x %02x' $((tag >> 8)) $((tag & 255))) 88 b5")%080d" 7 >/tmp/frame
	/tools/socat -u OPEN:/tmp/frame INTERFACE:eth0 || fail "socat cannot send a frame"
done
sent() { [ $(($(counter nic0.tx_vlan) - before)) = 6 ]; }
within 5 sent || fail "$(($(counter nic0.tx_vlan) - before)) tags travel beside their frames, not 6"
sleep 0.2
peer seen >/tmp/seen
for tag in $tags; do
	grep -q " 02:00:00:00:00:88 $tag " /tmp/seen || fail "the peer did not see the tag $tag: $(cat /tmp/seen)"
done

# What comes: socat puts the tag that the kernel tells beside a frame (PACKET_AUXDATA) back into
# it. Its option retrieve-vlan, which says the same, crashes in 1.8.0.
/tools/socat -u -b 2048 INTERFACE:eth0,setsockopt=263:8:1 CREATE:/tmp/got &
listener=$!
listening() { [ "$(wc -l </proc/net/packet)" -gt 1 ]; }
within 5 listening || fail "socat does not listen"
for tag in $tags; do
	beside=$(counter nic0.rx_vlan)
	[ "$(peer send "$own" 3 $tag)" = sent ] || fail "the peer does not send"
	passed() { [ $(($(counter nic0.rx_vlan) - beside)) = 3 ]; }
	within 5 passed || fail "the host passed $(($(counter nic0.rx_vlan) - beside)) tags of $tag beside their frames, not 3"
done
# And without.
[ "$(peer send "$own" 3)" = sent ] || fail "the peer does not send"
sleep 0.5
kill $listener
wait $listener || true
hexdump -v -e '1/1 "%02x"' /tmp/got >/tmp/hex
addresses=$(echo "$own" | tr -d :)020000000077
for tag in $tags; do
	came=$(grep -o "${addresses}8100$(printf '%04x' $tag)88b5a5a5" /tmp/hex | wc -l)
	[ $came = 3 ] || fail "$came frames came with the tag $tag, not 3"
done
[ "$(grep -o "${addresses}88b5a5a5" /tmp/hex | wc -l)" = 3 ] || fail "not 3 frames came without a tag"
need_net
[ "$(counter nic0.tx_refused)" = 0 ] || fail "the host refused frames: $(host nic0 counters)"
