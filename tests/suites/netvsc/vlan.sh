# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# timeout: 60
# tools: socat
# breaks-with: nothing yet
#
# VLAN tags travel beside the frame: one that a program put into a frame arrives at the peer,
# and the peer's arrives at a program.

need_net
peer() { echo "$*" | nc -w 10 $PEER 7004; }
octets() { echo "$*" | sed 's/[ :]*\([0-9a-f][0-9a-f]\)/\\x\1/g'; }
own=$(cat /sys/class/net/eth0/address)
for tag in 1 5 100 4094 24677 57345; do # The last ones with a priority.
	[ "$(peer watch)" = watching ] || fail "the peer does not watch"
	count=$(counter nic0.tx_vlan)
	# shellcheck disable=SC2059
	printf "$(octets "02 00 00 00 00 88 $own 81 00 $(printf '%02x %02x' $((tag >> 8)) $((tag & 255))) 88 b5")%080d" 7 >/tmp/frame
	/tools/socat -u OPEN:/tmp/frame INTERFACE:eth0 || fail "socat cannot send a frame"
	[ $(($(counter nic0.tx_vlan) - count)) = 1 ] || fail "the tag $tag does not travel beside the frame"
	sleep 0.2
	peer seen >/tmp/seen
	grep -q " 02:00:00:00:00:88 $tag " /tmp/seen || fail "the peer did not see the tag $tag: $(cat /tmp/seen)"
done
for tag in 1 100 24677; do
	count=$(counter nic0.rx_vlan)
	/tools/socat -u -T 3 INTERFACE:eth0,retrieve-vlan CREATE:/tmp/heard &
	listener=$!
	sleep 1
	[ "$(peer send "$own" 3 $tag)" = sent ] || fail "the peer does not send"
	wait $listener || true
	[ $(($(counter nic0.rx_vlan) - count)) = 3 ] || fail "the tag $tag does not come beside the frame"
	grep -qF "$(printf '%04x' $tag)88b5" <<-END || fail "the program did not get the tag $tag back"
		$(od -An -v -tx1 /tmp/heard | tr -d ' \n')
	END
done
