# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# boot: own
# each: duplicate unknown-id
# breaks-with: vmbus/requestor.rs: a number is taken without a look at its mark (seen)
#
# Completions that come twice or that belong to nothing: the driver says so at most, and
# goes on.

need_disk 0
need_net
noise 1
host fault seed 3
for device in nic0 scsi0; do
	case $1 in
	# A request that is never answered takes the SCSI layer's 180 s: not here.
	unknown-id) [ $device = scsi0 ] || host fault packet $device unknown-id 3 completions ;;
	*) host fault packet $device "$1" 3 completions ;;
	esac
done
ping -c 5 -W 1 $PEER || true
timeout -s KILL 10 dd if="$disk" of=/dev/null bs=4k count=8 iflag=direct || true
seen=$(counter "nic0.fault.$1")
[ "$seen" -ge 1 ] || fail "there was no fault on the network"
[ "$1" = unknown-id ] || [ "$(counter "scsi0.fault.$1")" -ge 1 ] || fail "there was no fault on the disk"
host fault clear
dd if=/tmp/noise of="$disk" bs=64k oflag=direct || fail "the disk does not write any more"
need_net
send_file /tmp/noise
