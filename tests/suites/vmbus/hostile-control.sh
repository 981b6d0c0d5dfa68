# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_vmbus hv_netvsc hv_storvsc
# pattern: no
# timeout: 180
# boot: own
# soak: 34
# host: --scsi-channels 3 --nic tap0,queues=2
# xfail-c: W4 .
# breaks-with: a host that does not answer what is asked about forged channels (seen), or forgets what it forged under a device's number; the C driver
#
# Control messages of every type and length, about channels and memory that exist and that do not,
# in any order and more than once, among the true ones, whose devices come and go meanwhile: no
# report, and afterwards the devices of the host bind and move data.

devices=/sys/bus/vmbus/devices
count() { ls $devices | wc -l; }
over() { [ "$(host left)" = 0 ]; }

need_disk 0
need_net
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
before=$(count)
rm -f /tmp/over
card=$(grep -lF '{f8615163-df3e-46c5-913f-f2d2f965ed0e}' $devices/*/class_id)
card=${card%/class_id}
card=${card##*/}
# True requests, for answers to be mistaken for theirs.
(while [ ! -e /tmp/over ]; do
	sleep 0.1
	echo "$card" >/sys/bus/vmbus/drivers/hv_netvsc/unbind
	echo "$card" >/sys/bus/vmbus/drivers/hv_netvsc/bind
done) 2>/dev/null &

# The seed of a soak is another one than that of each day.
host fault seed "$TIMES"
times=$(rounds 300 | wc -l)
host fault forge "$times"
within $((60 + times / 20)) over || fail "the guest takes no messages: $(host left) of $times are left"
touch /tmp/over
within 90 not kill -0 $! || fail "unbind or bind hangs"
host fault clear
[ "$(counter forged)" -ge "$times" ] || fail "only $(counter forged) messages"
note "$(counter refused) requests about channels that were never there"

# All that was offered goes, and only what is true stays.
host fault forge end
relids() { ls $devices/*/channels | grep '^[0-9]' | sort -n | tr '\n' ' '; }
settled() { [ "$(host channels | tr ' ' '\n' | sort -n | tr '\n' ' ')" = "$(relids)" ]; }
within 60 settled || fail "what was forged does not go: the host has $(host channels), and the guest $(relids)"
for name in nic0 scsi0 heartbeat shutdown; do
	try_host rescind $name || :
	host offer $name
done
need_calm
same() { [ "$(count)" = "$before" ]; }
within 30 same || fail "$(count) devices are on the bus, $before were there before: $(echo $(ls $devices))"
need_data
need_heartbeat
