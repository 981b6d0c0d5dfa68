# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 120
# soak: 2
# host: --service timesync --service kvp --service keyboard --service balloon
# breaks-with: vmbus/request.rs: a deadline of 20 s (seen)
#
# The host is busy and answers one question after half a minute, as Azure has been seen to
# do: all devices come up, the others before it.

device() { # CLASS
	local found
	found=$(grep -lF "$1" /sys/bus/vmbus/devices/*/class_id)
	found=${found%/class_id}
	echo "${found##*/}"
}

bound() { # DRIVER DEVICE
	[ -e "/sys/bus/vmbus/drivers/$1/$2" ]
}

# So many messages are held back by now.
late() { # COUNT
	[ "$(counter fault.delay)" -ge "$1" ]
}

card=$(device '{f8615163-df3e-46c5-913f-f2d2f965ed0e}')
controller=$(device '{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}')
need_net
need_disk 0
rmmod hv_netvsc
unload hv_storvsc
round=0
for message in OPEN_RESULT GPADL_CREATED; do
	round=$((round + 1))
	# Who waits for the second one waits as for the first: less will do, but in a soak.
	seconds=30
	[ $round = 1 ] || [ "$TIMES$SLOW" != 11 ] || seconds=15
	host fault message $message delay ${seconds}000
	start=$(cut -d. -f1 /proc/uptime)
	modprobe hv_netvsc &
	within 10 late $round || fail "$message: it is not late"
	modprobe hv_storvsc
	within 20 bound hv_storvsc "$controller" || fail "$message: the controller waits for the card"
	need_disk 0
	[ $(($(cut -d. -f1 /proc/uptime) - start)) -lt $((seconds - 4)) ] || fail "$message: the disk came with the card"
	wait
	within 40 bound hv_netvsc "$card" || fail "$message: the card did not come"
	[ $(($(cut -d. -f1 /proc/uptime) - start)) -ge $((seconds - 1)) ] || fail "$message: the card came before the answer"
	need_net
	rmmod hv_netvsc
	unload hv_storvsc
done
modprobe hv_netvsc
modprobe hv_storvsc
need_net
need_disk 0
