# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 120
# host: --nic tap0,rsc=on
# tools: ethtool
# breaks-with: netvsc/attach.rs: version 2 is left out (seen)
#
# Hosts that speak older versions of NVSP: the card works with what they have. The newest is
# what all other tests use.

noise 2
device=$(basename "$(readlink /sys/class/net/eth0/device)")
for version in 1 2 4 5 6 6.1; do
	host nic0 version $version
	echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/unbind
	echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/bind || fail "$version: the card does not come"
	need_net
	send_file /tmp/noise
	receive_little
	send_file /tmp/noise $PEER6
	case $version in
	1) not ip link set eth0 mtu 1501 || fail "version 1 has no larger MTU" ;;
	*)
		ip link set eth0 mtu 4000 || fail "$version: the MTU cannot be changed"
		need_net
		send_file /tmp/noise
		;;
	esac
	# Coalescing came with 6.1.
	case $version in 6.1) coalesces=on ;; *) coalesces=off ;; esac
	/tools/ethtool -k eth0 | grep -q "^large-receive-offload: $coalesces" ||
		fail "$version: large-receive-offload is not $coalesces"
done
