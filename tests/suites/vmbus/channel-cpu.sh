# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_vmbus
# timeout: 90
# soak: 10
# breaks-with: a VMM that confirms MODIFY_CHANNEL and does nothing (seen)
#
# A channel's interrupts go to the processor that was written to its file "cpu", also while
# it works; and what cannot be is refused.

of() { # DRIVER: the folder of its device's only channel
	local channel
	for channel in /sys/bus/vmbus/drivers/"$1"/*-*-*/channels/*; do
		echo "$channel"
	done
}
interrupts() { # CPU
	awk -v column=$(($1 + 2)) '$1 == "HYP:" { print $column }' /proc/interrupts
}

need_disk 0
need_net
noise 4
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
scsi=$(of hv_storvsc) nic=$(of hv_netvsc)
# One request after another: an interrupt for each.
disk_at_work() { dd if="$disk" of=/dev/null bs=4k count=200 iflag=direct; }
card_at_work() { ping -c 200 -i 0.002 -W 5 $PEER; }
for cpu in 0 1; do
	for device in disk card; do
		channel=$scsi other=$nic
		[ $device = disk ] || channel=$nic other=$scsi
		echo $cpu >"$channel/cpu" || fail "channel ${channel##*/} cannot be moved to processor $cpu"
		[ "$(cat "$channel/cpu")" = $cpu ] || fail "channel ${channel##*/} is at processor $(cat "$channel/cpu")"
		here=$(interrupts $cpu) there=$(interrupts $((1 - cpu)))
		${device}_at_work || fail "the $device does not work after the move to processor $cpu"
		here=$(($(interrupts $cpu) - here)) there=$(($(interrupts $((1 - cpu))) - there))
		echo "$device at processor $cpu: $here interrupts there, $there at the other one"
		[ $here -ge 100 ] || fail "the $device was moved to processor $cpu, which got $here interrupts of 200"
		[ $there -le 40 ] || fail "the $device was moved to processor $cpu, and the other one got $there interrupts"
	done
done

# To and fro while both are busy.
(while [ ! -e /tmp/enough ]; do
	dd if="$disk" bs=64k count=64 iflag=direct 2>/dev/null | cmp - /tmp/noise || exit
done) &
reader=$!
(while [ ! -e /tmp/enough ]; do send_file /tmp/noise; done) &
sender=$!
for round in $(rounds 30); do
	echo $((round % 2)) >"$scsi/cpu" || fail "round $round: the disk's channel cannot be moved"
	echo $((round / 2 % 2)) >"$nic/cpu" || fail "round $round: the card's channel cannot be moved"
	sleep 0.05
done
touch /tmp/enough
wait $reader || fail "the disk read something else while its channel was moved"
wait $sender || fail "sending failed while the card's channel was moved"
rm /tmp/enough

for cpu in 2 8191 4294967295 -1 x; do
	not sh -c "echo $cpu >$scsi/cpu" || fail "a channel goes to processor $cpu"
done
[ "$(cat "$scsi/cpu")" = $((round % 2)) ] || fail "a refused move has an effect: $(cat "$scsi/cpu")"
# Interrupts of a closed channel cannot be moved: the host would not listen.
device=$(dirname "$(dirname "$nic")")
echo "${device##*/}" >/sys/bus/vmbus/drivers/hv_netvsc/unbind
closed=$(echo /sys/bus/vmbus/devices/"${device##*/}"/channels/*)
not sh -c "echo 1 >$closed/cpu && [ \$(cat $closed/cpu) = 1 ] && echo 0 >$closed/cpu" ||
	fail "the interrupts of a closed channel are moved"
echo "${device##*/}" >/sys/bus/vmbus/drivers/hv_netvsc/bind
need_net
