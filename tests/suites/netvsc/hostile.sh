# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# timeout: 60
# soak: 5
# each: length-short length-long data-offset data-length info-offset info-length range-outside range-wraps range-long ranges-none ranges-many ranges-huge ranges-negative type type-short type-in-buffer completion-unknown completion-empty completion-twice part-first part-middle
# breaks-with: nothing was tried yet
#
# The host sends packets that break the protocol: they are dropped, and the rest of the
# traffic does not notice.

need_net
noise 4
before=$(counter nic0.bad)
receive_file &
for round in $(seq "$TIMES"); do
	host nic0 bad "$1" 20
done
send_file /tmp/noise
wait $! || fail "receiving meanwhile failed"
within 5 ping -c 1 -W 1 $PEER || fail "no answer after it"
sent=$(($(counter nic0.bad) - before))
[ $sent = $((20 * TIMES)) ] || fail "the host sent $sent bad packets, not $((20 * TIMES))"
# Whatever a message says, no frame of it reaches the stack of a program.
receive_file $PEER6
ip link set eth0 down
need_net
