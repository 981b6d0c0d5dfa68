# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# boot: own
# append: swiotlb=4096,force,track_hiwater
# breaks-with: netvsc/driver.rs: nobody asks whether the guest is isolated (seen)
#
# In a guest whose memory the host does not see, frames that stay where they are have to be copied to
# memory that it does see (N35): C does that, page by page. The driver in Rust does not, and so it does
# not bind there, says so, and lets the host see nothing. The guest is isolated by name only here
# (tests/vf), so that no other driver notices.

device=$(basename "$(readlink /sys/class/net/eth0/device)")
driver=/sys/bus/vmbus/drivers/hv_netvsc
bounces() { cat /sys/kernel/debug/swiotlb/io_tlb_used_hiwater; }
noise 1
need_net
echo "$device" >$driver/unbind
modprobe hvrust_isolated || fail "the guest cannot be isolated"
dmesg -c >/dev/null
case " $RUST " in
*" hv_netvsc "*)
	not sh -c "echo $device >$driver/bind" || fail "the driver binds in an isolated guest"
	dmesg | grep -q "isolated guests are not supported" || fail "it does not say why it does not bind"
	[ ! -e /sys/class/net/eth0 ] || fail "there is an eth0 nevertheless"
	[ "$(cat /sys/bus/vmbus/devices/"$device"/channels/*/out_mask 2>/dev/null | wc -l)" = 0 ] || fail "the channel is open"
	;;
*)
	echo "$device" >$driver/bind || fail "C's driver does not bind"
	need_net
	echo 0 >/sys/kernel/debug/swiotlb/io_tlb_used_hiwater
	send_file /tmp/noise
	[ "$(bounces)" -gt 0 ] || fail "frames are not copied to where the host sees them"
	receive_little
	echo "$device" >$driver/unbind
	;;
esac
rmmod hvrust_isolated
echo "$device" >$driver/bind || fail "the card does not come back"
need_net
send_file /tmp/noise
receive_little
