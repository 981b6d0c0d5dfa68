# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: builtin
# timeout: 60
# breaks-with: vmbus/debugfs.rs: no delay of interrupts (seen)
#
# The delays of CONFIG_HYPERV_TESTING in debugfs: what they take and refuse, that a device is slower by
# as much as they say for each interrupt or packet, once, and that they go with the device. Where the
# bus is built in: with this option C's module uses freed memory when it goes (W30, seen on debug).

need_disk 0
device=$(echo /sys/bus/vmbus/devices/f8b3781a-*)
knobs=/sys/kernel/debug/hyperv/${device##*/}
interrupt=$knobs/delay/fuzz_test_buffer_interrupt_delay message=$knobs/delay/fuzz_test_message_delay
for file in "$knobs/fuzz_test_state" "$interrupt" "$message"; do
	# 644 with C; debugfs is root's alone anyway.
	case $(stat -c %a "$file") in 600 | 644) ;; *) fail "$file has the mode $(stat -c %a "$file")" ;; esac
	[ "$(cat "$file")" = 0 ] || fail "$file is $(cat "$file")"
done
for value in 1001 -1 x 99999999999; do
	not sh -c "echo $value >$interrupt" || fail "a delay of $value is taken"
done
not sh -c "echo 2 >$knobs/fuzz_test_state" || fail "a state of 2 is taken"

# Microseconds that 100 reads take, one after another: of five tries the best.
reads() {
	local best=99999999 took start n
	for n in 1 2 3 4 5; do
		start=$(now_ns)
		dd if="$disk" of=/dev/null bs=4k count=100 iflag=direct 2>/dev/null
		took=$((($(now_ns) - start) / 1000))
		[ $took -ge $best ] || best=$took
	done
	echo $best
}
plain=$(reads)
for file in "$interrupt" "$message"; do
	echo 1000 >"$file"
	[ "$(cat "$file")" = 1000 ] || fail "$file is $(cat "$file"), not 1000"
	off=$(reads)
	[ $off -lt $((plain + 60000)) ] || fail "${file##*/} delays though it is off: $off us for 100 reads, and $plain without"
	echo 1 >"$knobs/fuzz_test_state"
	more=$(($(reads) - plain))
	note "${file##*/}: 100 reads take $plain us, with 1000 us of delay $more more"
	at_least $more 90000 "us more with ${file##*/}"
	# The ring is looked at twice: for the answer, and for what may come behind it.
	[ $file = "$interrupt" ] && most=170000 || most=270000
	[ $more -le $most ] || fail "${file##*/} delays too often: $more us more for 100 reads"
	echo 0 >"$knobs/fuzz_test_state"
	echo 0 >"$file"
done
host rescind scsi0
gone() { [ ! -e "$knobs" ]; }
within 20 gone || fail "$knobs stays without its device"
host offer scsi0
need_disk 0
[ "$(cat "$interrupt")" = 0 ] || fail "a new device has a delay of $(cat "$interrupt")"
