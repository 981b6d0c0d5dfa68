# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 120
# boot: own
# host: --nic tap0,rsc=on
# tools: netdevice.sh ethtool ip
# breaks-with: netvsc/nic.rs: a feature that cannot be switched off (seen)
#
# The kernel's own test of network devices (tools/testing/selftests/net/netdevice.sh): each of its
# results is the one that the C driver has. Those of drivers/net want Python or two machines.

need_net
# It takes only what is down and has no address.
ip addr flush dev eth0
ip link set eth0 down
PATH=/tools:$PATH netdevice.sh >/tmp/all 2>&1 || fail "netdevice.sh: exit status $?: $(tail -n 1 /tmp/all)"
grep -E '^(PASS|FAIL|SKIP|XFAIL): eth0' /tmp/all >/tmp/results
cmp -s /tmp/results /hv/tests/netvsc/selftest.golden || {
	diff /hv/tests/netvsc/selftest.golden /tmp/results | grep '^[-+][^-+]' >/tmp/diff || true
	cat /tmp/diff
	fail "other results, from '$(head -n 1 /tmp/diff)': $(wc -l </tmp/diff) differ"
}
need_net
receive_little
