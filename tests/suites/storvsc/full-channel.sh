# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_storvsc
# timeout: 60
# host: --scsi-channels 3
# tools: fio
# breaks-with: storvsc/channels.rs: the channel of the processor, however full (seen)
#
# The host does not read one channel for a while: commands of its processor take another as soon as
# nine tenths of its ring are full (S4), and those that are in it are answered later.

device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
both() { [ "$(cat "$device"/channels/*/out_mask | wc -l)" = 2 ]; }
need_disk 0
within 10 both || fail "there are $(cat "$device"/channels/*/out_mask | wc -l) open channels"
for channel in "$device"/channels/*; do
	[ "$(cat "$channel/subchannel_id")" != 0 ] || primary=$channel
done
cpu=$(cat "$primary/cpu")
others() { counter scsi0.sub_channel_1_commands; }
load() { # NAME ARGUMENTS...
	local name=$1
	shift
	taskset $((1 << cpu)) sh -c '. /hv/lib.sh; name=$1; shift; fio_of "$name" "$@"' sh "$name" --filename="$disk" --rw=randwrite --bs=256k \
		--verify=crc32c --verify_fatal=1 --do_verify=1 "$@"
}
# All is well: each processor has its own.
before=$(others)
load alone --size=16M --iodepth=8 || fail "fio: $(grep -m1 -iE 'verify|error|bad' /tmp/alone.txt)"
count=$(($(others) - before))
[ $count -le 20 ] || fail "$count commands took another channel, and theirs was free"

before=$(others)
writes=$(counter scsi0.writes)
host stop scsi0 0
load full --size=128M --io_size=64M --iodepth=300 &
writer=$!
spilled() { [ $(($(others) - before)) -ge 50 ]; }
within 20 spilled || fail "$(($(others) - before)) commands took another channel while theirs was full"
[ "$(counter scsi0.writes)" -ge $((writes + 50)) ] || fail "the host did $(($(counter scsi0.writes) - writes)) of the writes that took another channel"
kill -0 $writer || fail "fio ended though one channel is not read"
host go scsi0 0
within 40 not kill -0 $writer || fail "commands hang though the host reads again"
wait $writer || fail "fio: $(grep -m1 -iE 'verify|error|bad' /tmp/full.txt)"
