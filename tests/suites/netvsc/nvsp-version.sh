# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# each: 1 2 4 5 6
# host: --nic tap0,nvsp={},rsc=on
# tools: ethtool
# breaks-with: netvsc/attach.rs: version 2 is left out (seen)
#
# Hosts that speak older versions of NVSP: the card works with what they have. The newest is
# what all other tests use.

need_net
noise 2
send_file /tmp/noise
receive_file
send_file /tmp/noise $PEER6
case $1 in
1) not ip link set eth0 mtu 1501 || fail "version 1 has no larger MTU" ;;
*)
	ip link set eth0 mtu 4000 || fail "the MTU cannot be changed"
	need_net
	send_file /tmp/noise
	;;
esac
# Coalescing came with 6.1.
/tools/ethtool -k eth0 | grep -q '^large-receive-offload: off' || fail "large-receive-offload is on"
