# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# soak: 5
# each: length-short+length-long+data-offset+data-length info-offset+info-length+type+type-short range-outside+range-wraps+range-long+range-end ranges-none+ranges-many+ranges-huge+ranges-negative type-in-buffer+completion-unknown+completion-empty+completion-twice part-first+part-middle
# breaks-with: netvsc/receive.rs: the place of a frame in its message is not checked (seen)
#
# The host sends packets that break the protocol: they are dropped, and the rest of the
# traffic does not notice.

need_net
noise 2
before=$(counter nic0.bad)
receive_file &
kinds=$(echo "$1" | tr + ' ') count=0
for round in $(seq "$TIMES"); do
	for kind in $kinds; do
		case $kind in
		# The next twenty completions.
		completion-twice) host nic0 bad "$kind" 20 ;;
		*)
			# At times all sections are in use.
			for packet in $(seq 20); do
				within 5 try_host nic0 bad "$kind" 1 || fail "$kind: packet $packet cannot be sent"
			done
			;;
		esac
		count=$((count + 20))
	done
done
send_file /tmp/noise
wait $! || fail "receiving meanwhile failed"
within 5 ping -c 1 -W 1 $PEER || fail "no answer after it"
sent=$(($(counter nic0.bad) - before))
[ $sent = $count ] || fail "the host sent $sent bad packets, not $count"
# Whatever a message says, no frame of it reaches the stack of a program.
receive_little $PEER6
ip link set eth0 down
need_net
