# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# smoke: yes
# kconfig: debug
# timeout: 60
# tools: socat
# breaks-with: vmbus/connection/messages.rs: no event for a teardown that is confirmed (seen)
#
# The 22 trace events of the bus, with the fields that tools read: from the first message to the host
# on, over a device that goes and comes, a channel that moves, and a socket that nobody takes.

t=/sys/kernel/tracing
mount -t tracefs tracefs $t || fail "no tracefs"
for module in hv_netvsc hv_storvsc hv_utils hv_vmbus; do
	unload $module
done
echo >$t/trace
# For events of a module that comes later.
echo ':mod:hv_vmbus' >$t/set_event || fail "no events of modules that come later"
for module in hv_vmbus hv_utils hv_storvsc hv_netvsc; do
	modprobe $module || fail "modprobe $module"
done
[ "$(ls -d $t/events/hyperv/vmbus_*/ | wc -l)" = 22 ] || fail "other events: $(ls $t/events/hyperv)"
need_disk 0
# Its rings need more than one message.
need_net
for channel in /sys/bus/vmbus/drivers/hv_storvsc/*-*-*/channels/*; do
	[ "$(nproc)" = 1 ] || for cpu in 0 1; do echo $cpu >"$channel/cpu"; done
done
relid=$(printf 0x%x "${channel##*/}")
dd if="$disk" of=/dev/null bs=4k count=4 iflag=direct
modprobe hv_sock
not timeout 20 /tools/socat -u OPEN:/dev/null VSOCK-CONNECT:2:5001 || fail "a connection to a port that the host refuses"
rmmod hv_sock
device=$(basename "$(readlink /sys/class/net/eth0/device)")
echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/unbind
echo "$device" >/sys/bus/vmbus/drivers/hv_netvsc/bind
host rescind nic0
within 20 not [ -e /sys/class/net/eth0 ] || fail "the card does not go"
need_calm
host offer nic0
need_net
echo 0 >$t/events/hyperv/enable
cat $t/trace >/tmp/trace
hex='0x[0-9a-f]+'
guid='[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'
while read -r line; do
	[ "$(nproc)" -gt 1 ] || case $line in *modifychannel*) continue ;; esac
	grep -Eq "vmbus_$line$" /tmp/trace || {
		grep -m 3 "vmbus_${line%%:*}:" /tmp/trace || true
		fail "no vmbus_$line"
	}
done <<END
on_msg_dpc: msgtype=1
on_message: msgtype=1
onoffer: child_relid $relid, monitorid 0x[0-9a-f]+, is_dedicated [01], connection_id $hex, if_type ba6163d9-04a1-4d29-b605-72e2ffb1dc7f, if_instance $guid, chn_flags $hex, mmio_megabytes [0-9]+, sub_channel_index 0
onoffer_rescind: child_relid $hex
onopen_result: child_relid $relid, openid [0-9]+, status 0
ongpadl_created: child_relid $relid, gpadl $hex, creation_status 0
ongpadl_torndown: gpadl $hex
onversion_response: version_supported 1
request_offers: sending ret 0
open: sending child_relid $relid, openid [0-9]+, gpadlhandle $hex, target_vp $hex, offset $hex, ret 0
close_internal: sending child_relid $hex, ret 0
establish_gpadl_header: sending child_relid $relid, gpadl $hex, range_buflen [1-9][0-9]* rangecount 1, ret 0
establish_gpadl_body: sending msgnumber [0-9]+, gpadl $hex, ret 0
teardown_gpadl: sending child_relid $hex, gpadl $hex, ret 0
negotiate_version: sending vmbus_version_requested 393216, target_vcpu $hex, pages [0-9a-f]+:[0-9a-f]+:[0-9a-f]+, ret 0
release_relid: sending child_relid $hex, ret 0
send_tl_connect_request: sending guest_endpoint_id $guid, host_service_id $guid, ret 0
send_modifychannel: binding child_relid $relid to target_vp 0x1, ret 0
onmodifychannel_response: child_relid $relid, status 0
chan_sched: relid $relid
setevent: relid $relid
on_event: relid $relid
END
echo >$t/set_event
umount $t
