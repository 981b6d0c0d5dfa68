# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_vmbus hv_netvsc hv_storvsc
# timeout: 60
# soak: 200
# host: --service echo --scsi-channels 3 --nic tap0,queues=2
# xfail-c: W24 devices do not come back|kernel.s log|leaked|still|does not|unfinished|killed
# breaks-with: vmbus/lifecycle.rs: the relid of a channel that goes while it is added is not released
#
# W9, W10, W24: disk, card, echo device and heartbeat come and go, each for itself, at random
# moments of probe, open, traffic and removal, sub-channels before or after their primaries, while
# user space unbinds and binds them: at the end host and guest have the same channels, and all
# devices work.

devices=/sys/bus/vmbus/devices
echo0=$devices/5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0
relids() { ls $devices/*/channels | grep '^[0-9]' | sort -n | tr '\n' ' '; }
same() { [ "$(host channels | tr ' ' '\n' | sort -n | tr '\n' ' ')" = "$(relids)" ]; }
over() { [ "$(host left)" = 0 ]; }
random() { echo $(($(od -An -N2 -tu2 /dev/urandom) % $1)); }

# Binds and unbinds what is there.
juggle() { # DRIVER INSTANCE
	local driver=/sys/bus/vmbus/drivers/$1
	while [ ! -e /tmp/over ]; do
		sleep 0.$(random 4)
		echo "$2" >"$driver/unbind"
		echo "$2" >"$driver/bind"
	done 2>/dev/null
}
instance() { # CLASS
	local found
	found=$(grep -lF "$1" $devices/*/class_id)
	found=${found%/class_id}
	echo "${found##*/}"
}

need_disk 0
need_net
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
modprobe hvrust_sample packets=16 flood=1
within 10 same || fail "before the storm the host has $(host channels), and the guest $(relids)"
card=$(instance '{f8615163-df3e-46c5-913f-f2d2f965ed0e}')
controller=$(instance '{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}')

# A soak has three seeds.
seeds=1
[ "$TIMES" = 1 ] || seeds='1 2 3'
times=$(rounds 5 | wc -l)
for seed in $seeds; do
	before=$(counter flickers)
	rm -f /tmp/over
	juggle hv_netvsc "$card" &
	juggle hv_storvsc "$controller" &
	(while [ ! -e /tmp/over ]; do
		name=$(disk_name 0) && [ -b "/dev/$name" ] && dd if="/dev/$name" of=/dev/null bs=64k count=16 iflag=direct
	done) >/dev/null 2>&1 &
	(while [ ! -e /tmp/over ]; do up || sleep 0.1; done) >/dev/null 2>&1 &

	host fault seed "$seed"
	host fault flicker nic0 "$times" 250
	host fault flicker scsi0 "$times" 250
	host fault flicker echo0 "$times" 60
	host fault flicker heartbeat "$times" 30
	within $((30 + times * 2)) over ||
		fail "seed $seed: devices do not come back: $(host left) departures are left, the host has $(host channels)"
	touch /tmp/over
	wait
	[ $(($(counter flickers) - before)) -ge $((4 * times)) ] || fail "seed $seed: only $(counter flickers) departures"
	within 20 same || fail "seed $seed: a number leaked: the host has $(host channels), and the guest $(relids)"
done
[ "$TIMES" = 1 ] || note "$(counter flickers) departures, $(counter flickers_of_sub_channels) of sub-channels"

for driver in hv_netvsc/"$card" hv_storvsc/"$controller"; do
	[ -e "/sys/bus/vmbus/drivers/$driver" ] || echo "${driver#*/}" >"/sys/bus/vmbus/drivers/${driver%/*}/bind"
done
for name in nic0 scsi0 echo0 heartbeat; do
	host rescind $name
	host offer $name
done
need_calm
need_data
figures=/sys/kernel/debug/hvrust_sample-${echo0##*/}/figures
busy() { [ "$(sed 's/^sent=\([0-9]*\).*/\1/' "$figures")" -gt 40 ]; }
within 10 busy || fail "the echo device does not work after the storm"
rmmod hvrust_sample
need_heartbeat
within 20 same || fail "a number leaked: the host has $(host channels), and the guest $(relids)"
