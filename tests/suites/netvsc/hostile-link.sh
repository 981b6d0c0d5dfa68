# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# boot: own
# xfail-c: X12 the carrier
# breaks-with: netvsc/link.rs: a link that comes back does not undo that it went (seen)
#
# A flood of link changes of which only the last counts: the link is what it says, soon.

need_net
host nic0 bad link-flood 300
sleep 10
for n in $(seq 20); do
	[ "$(cat /sys/class/net/eth0/carrier)" = 1 ] || fail "the carrier is off $((10 + n / 2)) s after the last change, which was on"
	sleep 0.5
done
need_net
