# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 180
# tools: hv_kvp_daemon hv_vss_daemon
# host: --service timesync --service kvp --service vss --service keyboard --service mouse --service balloon --service echo
# breaks-with: the VMM does not offer again what it has rescinded (seen)
#
# The host takes each small device away, and offers it again: its driver lets go of it and
# takes it again, with a daemon in between too.

for module in hyperv-keyboard hid-hyperv hv_balloon uio_hv_generic; do
	modprobe $module || fail "modprobe $module"
done
echo e5a3c1d7-6b0f-4e52-9c84-2f7d10b8a6e3 >/sys/bus/vmbus/drivers/uio_hv_generic/new_id
mkdir -p /var/lib/hyperv
bound() { [ -e "/sys/bus/vmbus/devices/$1/driver" ]; }
gone() { [ ! -e "/sys/bus/vmbus/devices/$1" ]; }
ready() { [ "$(host "$1" ready)" = true ]; }

for round in 1 2; do
	for service in \
		timesync:2dd1ce17-079e-403c-b352-a1921ee207ee kvp:242ff919-07db-4180-9c2e-b86cb68c8c55 \
		vss:2450ee40-33bf-4fbd-892e-9fb06e9214cf keyboard:d34b2567-b9b6-42b9-8778-0a4ec0b955bf \
		mouse:58f75a6d-d949-4320-99e1-a2a2576d581c balloon:1eccfd72-4b41-45ef-b73a-4a6e44c12924 \
		heartbeat:fd149e91-82e0-4a7d-afa6-2a4166cbd7c0 shutdown:b6650ff7-33bc-4840-8048-e0676786f393 \
		echo0:5e1f0a94-3c7d-4b26-8d19-0a6be47c52f0; do
		name=${service%:*} device=${service#*:}
		within 20 bound "$device" || fail "round $round: $name has no driver"
		case $name in
		kvp | vss)
			/tools/hv_${name}_daemon -n &
			within 20 ready "$name" || fail "round $round: the daemon of $name does not lead to an agreement"
			;;
		keyboard | mouse | balloon)
			within 20 ready "$name" || fail "round $round: $name is not ready"
			;;
		esac
		host rescind "$name"
		within 20 gone "$device" || fail "round $round: $name is still there 20 s after its rescind"
		# The daemons end when their file does.
		wait || true
		host offer "$name"
		within 20 bound "$device" || fail "round $round: $name has no driver after it was offered again"
	done
done
answered=$(host heartbeat)
more() { [ "$(host heartbeat)" -gt "$answered" ]; }
within 20 more || fail "no heartbeat is answered after the last offer"
host timesync set "$(date +%s)"
echo e5a3c1d7-6b0f-4e52-9c84-2f7d10b8a6e3 >/sys/bus/vmbus/drivers/uio_hv_generic/remove_id
rmmod uio_hv_generic
