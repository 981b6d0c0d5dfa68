# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 120
# host: --fc 24M,40M --scsi-channels 3
# tools: sg_raw
# xfail-c: Y15 after a change the names are
# breaks-with: storvsc/driver.rs: the limit of Fibre Channel is not applied (seen)
#
# An adapter of Fibre Channel: its world wide names, also when they change, its remote port, scans
# that user space asks for, its limits, and its disks.

device=$(echo /sys/bus/vmbus/devices/9b5c1c??-2c41-4b70-8f3a-6f1bd1d3c8e0)
at() { echo "$device"/host*/target*:0:0/*:0:0:"$1"/block/*; }
there() { [ -e "$(at "$1")" ]; }
need() { # LUN: sets disk
	within 20 there "$1" || fail "disk $1 did not come"
	disk=/dev/$(basename "$(at "$1")")
}
names() { echo "$(cat /sys/class/fc_host/host*/node_name) $(cat /sys/class/fc_host/host*/port_name)"; }
all_channels() { [ "$(ls "$device/channels" | wc -l)" = "$(nproc)" ]; }
gone() { [ -z "$(ls /sys/class/fc_host)" ]; }
named() { [ "$(names)" = "$1" ]; }
noise 2

for round in 1 2; do
	need 0
	scsi=$(basename "$device"/host*)
	named "0xc003ff000000ffff 0xc003ff0000000000" || fail "the names are $(names)"
	[ "$(ls /sys/class/fc_host)" = "$scsi" ] || fail "fc_host has $(ls /sys/class/fc_host)"
	port=$(echo /sys/class/fc_remote_ports/rport-*)
	grep -q "FCP Dummy Initiator" "$port/roles" || fail "the remote port is $(cat "$port/roles")"
	within 10 all_channels || fail "there are $(ls "$device/channels" | wc -l) channels"
	for lun in 0 1; do
		need $lun
		dd if=/tmp/noise of="$disk" bs=64k seek=$lun oflag=direct
		[ "$(host fc0 hash $lun $((lun << 16)) $((2 << 20)))" = "$(sum /tmp/noise)" ] || fail "disk $lun was not written"
		[ "$(dd if="$disk" bs=64k skip=$lun count=32 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "disk $lun returns other data"
	done
	[ $round = 1 ] || break

	# Names change; the second set of them becomes the active one.
	host fc0 names 1122334455667788 99aabbccddeeff00
	within 5 named "0x1122334455667788 0x99aabbccddeeff00" || fail "after a change the names are $(names)"
	host fc0 names c003ff000000ffff c003ff0000000000 second
	within 5 named "0xc003ff000000ffff 0xc003ff0000000000" || fail "with the second set the names are $(names)"

	# Scans of user space: of one address, of all.
	host fc0 add 3 8M silent
	host fc0 add 4 8M silent
	sleep 1
	there 3 && fail "disk 3 is seen without a scan"
	echo "0 0 3" >"/sys/class/scsi_host/$scsi/scan" || fail "disk 3 cannot be scanned for"
	need 3
	there 4 && fail "disk 4 is seen without a scan"
	echo "- - -" >"/sys/class/scsi_host/$scsi/scan"
	need 4
	for wrong in "9 0 0" "0 128 0" "0 0 255"; do
		echo "$wrong" 2>/dev/null >"/sys/class/scsi_host/$scsi/scan" && fail "a scan of $wrong is taken"
	done
	for lun in 3 4; do
		host fc0 remove $lun
		within 20 not there $lun || fail "disk $lun is still there"
	done

	# What adapters answer wrongly is a success, whatever they say.
	need 0
	for cdb in "a3 0a 00 00 00 00 00 00 00 10 00 00" "5e 00 00 00 00 00 00 00 10 00"; do
		host fc0 fail 1 4 "opcode=${cdb%% *}"
		# shellcheck disable=SC2086
		/tools/sg_raw -r 16 "$disk" $cdb >/tmp/out 2>&1 || fail "$cdb fails: $(cat /tmp/out)"
	done

	# No more than 512 KiB in a command.
	host fc0 set max-transfer 1048576
	unload hv_storvsc
	gone || fail "the adapter is still there without its driver"
	modprobe hv_storvsc
	need 0
	[ "$(cat "/sys/block/${disk#/dev/}/queue/max_hw_sectors_kb")" = 512 ] ||
		fail "a command may have $(cat "/sys/block/${disk#/dev/}/queue/max_hw_sectors_kb") KiB"
done
host rescind fc0
within 30 gone || fail "the adapter is still there after the rescind"
host offer fc0
need 0
