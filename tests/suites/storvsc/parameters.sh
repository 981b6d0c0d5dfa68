# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 120
# tools: sg_raw
# breaks-with: storvsc/parameters.rs: a wrong number of queues is not set back (seen)
#
# The module's parameters: names, modes, defaults, what they do; and what is logged at which level.

folder=/sys/module/hv_storvsc/parameters
device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
again() {
	unload hv_storvsc
	modprobe hv_storvsc "$@"
	need_disk 0
	scsi=$(echo "$device"/host*/scsi_host/host*)
}
need_disk 0
(cd $folder && for name in *; do echo "$name $(stat -c %a "$name") $(cat "$name")"; done) >/tmp/parameters
cat >/tmp/expected <<END
logging_level 644 1
ring_avail_percent_lowater 444 10
storvsc_max_hw_queues 644 0
storvsc_ringbuffer_size 444 131072
storvsc_vcpus_per_sub_channel 444 4
END
cmp /tmp/parameters /tmp/expected || fail "the parameters are: $(tr '\n' ',' </tmp/parameters)"

again
depth=$(cat "$scsi/can_queue")
[ "$depth" = $((352 * 90 / 100)) ] || [ "$depth" = $((352 * (1 + ($(nproc) - 1) / 4) * 90 / 100)) ] || fail "can_queue is $depth"
# As many as the host takes: 2048 are more.
[ "$(cat "$scsi/cmd_per_lun")" = "$depth" ] || fail "cmd_per_lun is $(cat "$scsi/cmd_per_lun")"
[ "$(cat "$scsi/nr_hw_queues")" = "$(nproc)" ] || fail "there are $(cat "$scsi/nr_hw_queues") hardware queues"

# The ring, and with it the depth.
again storvsc_ringbuffer_size=262144
[ "$(cat "$scsi/can_queue")" -gt $((depth * 3 / 2)) ] || fail "with larger rings can_queue is $(cat "$scsi/can_queue")"
again ring_avail_percent_lowater=50
[ "$(cat "$scsi/can_queue")" -lt $((depth * 2 / 3)) ] || fail "with half of the ring kept free can_queue is $(cat "$scsi/can_queue")"

# Hardware queues; too many are the default.
again storvsc_max_hw_queues=1
[ "$(cat "$scsi/nr_hw_queues")" = 1 ] || fail "there are $(cat "$scsi/nr_hw_queues") hardware queues, and 1 was wanted"
again storvsc_max_hw_queues=77
[ "$(cat "$scsi/nr_hw_queues")" = "$(nproc)" ] || fail "there are $(cat "$scsi/nr_hw_queues") hardware queues, and 77 were wanted"
[ "$(cat $folder/storvsc_max_hw_queues)" = 0 ] || fail "a wrong number of queues stays: $(cat $folder/storvsc_max_hw_queues)"
again
echo 1 >$folder/storvsc_max_hw_queues
echo "${device##*/}" >/sys/bus/vmbus/drivers/hv_storvsc/unbind
echo "${device##*/}" >/sys/bus/vmbus/drivers/hv_storvsc/bind
need_disk 0
[ "$(cat "$device"/host*/scsi_host/host*/nr_hw_queues)" = 1 ] || fail "the number of queues is not the one written last"

# The queue depth of a disk has the host's as its limit.
depth=/sys/block/${disk#/dev/}/device/queue_depth
echo 7 >"$depth"
[ "$(cat "$depth")" = 7 ] || fail "the queue depth is $(cat "$depth"), not 7"
echo 100000 2>/dev/null >"$depth" || true
[ "$(cat "$depth")" -le "$(cat "$device"/host*/scsi_host/host*/can_queue)" ] || fail "the queue depth is $(cat "$depth")"

# Levels.
says() { # LEVEL OPCODE COMMAND...: whether the failure of that command is in the log
	echo "$1" >$folder/logging_level
	host scsi0 fail 1 04 "opcode=$2" lun=0
	shift 2
	dmesg -c >/dev/null
	"$@" >/dev/null 2>&1 || true
	host scsi0 faults off
	dmesg | grep -E "tag#[0-9]+ cmd 0x" || return 1
}
read_it() { dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct; }
says 0 28 read_it && fail "level 0 logs a failure"
says 1 28 read_it >/tmp/said || fail "level 1 logs no failure"
grep -q "cmd 0x28 status: scsi 0x0 srb 0x4" /tmp/said || fail "level 1 logs another failure: $(cat /tmp/said)"
# sg_turs of Debian 13 sends nothing.
is_ready() { /tools/sg_raw "$disk" 0 0 0 0 0 0; }
says 1 0 is_ready && fail "level 1 logs what is not ready"
says 2 0 is_ready || fail "level 2 does not log what is not ready"
echo 1 >$folder/logging_level
