# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_netvsc
# timeout: 90
# tools: socat iperf3
# breaks-with: the VMM drops frames that are no TCP
#
# Datagrams come back from the peer's echo as they went, from one byte to the most that
# UDP can carry, and a moderate stream of them loses next to nothing.

need_net
noise 1
echo_once() { # SIZE NAME ADDRESS
	/tools/socat -b 65536 -T 3 - "$3:7007" </tmp/sent >"/tmp/got$2" || fail "socat fails with $1 bytes to $3"
	cmp /tmp/sent "/tmp/got$2" || fail "a datagram of $1 bytes did not come back as it went to $3"
}
for size in 1 2 17 100 1471 1472 1473 2000 4096 6144 9000 20000 65507; do
	head -c $size /tmp/noise >/tmp/sent
	# At once, because socat stays half a second after the last byte.
	echo_once $size 6 "UDP6:[$PEER6]" &
	echo_once $size 4 "UDP4:$PEER"
	wait $! || fail "a datagram of $size bytes over IPv6"
done
for direction in "" -R; do
	# shellcheck disable=SC2086
	/tools/iperf3 -c $PEER -u -b 5M -l 1400 -t 3 $direction >/tmp/iperf.txt || fail "iperf3 -u: $(tail -n 1 /tmp/iperf.txt)"
	lost=$(sed -n 's,.*(\([0-9.e+-]*\)%).*receiver.*,\1,p' /tmp/iperf.txt | tail -n 1)
	note "netvsc: UDP at 5 Mbit/s ${direction:+from the peer }loses $lost %"
	at_least 5 "${lost:-100}" "percent of lost datagrams that are allowed"
done
