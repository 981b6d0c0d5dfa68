# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 40
# boot: own
# each: monitor flags twin
# xfail-c: W4 the disk (lost its channel|is still there after its rescind)|the kernel's log: .*WARNING
# breaks-with: vmbus/offer.rs: monitor id and flags are looked at before the relid (seen)
#
# An offer under the number of a channel that is in use, and with something else wrong about it, for
# which the number would be given back: the channel keeps it, and can be taken away later.

need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
class='{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}'
device=$(grep -lF "$class" /sys/bus/vmbus/devices/*/class_id)
relid=$(cat "${device%/class_id}/id")
violations=$(counter violations)
ghosts=$(counter ghost_messages)
case $1 in
monitor) wrong=monitor=200 ;;
flags) wrong=flags=4 ;;
twin) wrong="class=same instance=same" ;;
esac
# shellcheck disable=SC2086
host fault offer nic0 relid="$relid" $wrong
sleep 1
timeout -s KILL 5 dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct &
within 6 not kill -0 $! || fail "the disk lost its channel: reading hangs"
wait $! || fail "the disk lost its channel: reading fails"
[ "$(sum /tmp/back)" = "$(sum /tmp/noise)" ] || fail "the disk has other data now"
[ "$(counter ghost_messages)" = "$ghosts" ] || fail "the guest speaks of a channel that is not there"
# To the host that is a rule broken.
[ "$(counter violations)" = "$violations" ] || fail "the guest has given the number back"

case " $RUST " in
*" hv_vmbus "*)
	dmesg | grep -q "offer of relid $relid refused: its relid is in use" ||
		fail "the log does not say that the offer is refused"
	;;
esac

# It knows the channel by its number still.
host rescind scsi0
gone() { [ ! -b "$disk" ]; }
within 10 gone || fail "the disk is still there after its rescind"
host offer scsi0
need_disk 0
[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "the disk has other data after it came back"
