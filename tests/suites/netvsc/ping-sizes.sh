# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_netvsc
# smoke: yes
# timeout: 120
# tools: ping
# breaks-with: the VMM cuts frames at 1513 bytes; a send section of 6143 bytes
#
# Echo requests of every size at which something changes: nothing and almost nothing,
# the MTU (1472 bytes of data), where fragments begin, pages, a receive section (1728)
# and a send section (6144) of netvsc, several fragments, the most that IP can carry.
# ping compares the data that comes back.

need_net
count=0
for size in 0 1 2 3 7 8 15 16 17 63 64 65 127 128 255 256 511 512 513 1000 1023 1024 1025 \
	1400 1465 1471 1472 1473 1474 1479 1480 1481 1500 1513 1514 1686 1699 1700 1701 1727 1728 1729 \
	2951 2952 2953 4053 4068 4095 4096 4097 6101 6116 6143 6144 6145 8192 16384 32768 65506 65507; do
	count=$((count + 1))
	# A kernel full of checks sees a third of them.
	[ "${SLOW:-1}" = 1 ] || [ $((count % 3)) = 0 ] || continue
	answer=$(/tools/ping -n -c 1 -W 5 -s $size -p 0123456789abcdef $PEER) ||
		fail "no answer to a ping of $size bytes: $(echo "$answer" | tail -n 1)"
	case $answer in *'wrong data'*) fail "the answer to a ping of $size bytes has wrong data" ;; esac
done
[ $count = 60 ] || fail "$count sizes, not 60"
for size in 0 1 1451 1452 1453 4096 6144 65487; do
	/tools/ping -6 -n -c 1 -W 5 -s $size $PEER6 >/dev/null || fail "no answer to an IPv6 ping of $size bytes"
done
