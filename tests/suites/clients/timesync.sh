# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 90
# host: --service timesync --service kvp --service vss --service keyboard --service mouse --service balloon --service echo
# breaks-with: the VMM's "set" without the flag SYNC (seen)
#
# hv_utils has a PTP clock and sets the guest's clock when the host says so; a mere sample
# of the host's time changes nothing.

grep -qx hyperv /sys/class/ptp/*/clock_name || fail "there is no PTP clock named hyperv"
for clock in /sys/class/ptp/*; do
	if grep -qx hyperv "$clock/clock_name"; then ptp=/dev/${clock##*/}; fi
done
[ -c "$ptp" ] || fail "$ptp is no device"

# Not "within": that reads the clock that moves here.
wait_for() { # COMMAND...
	for _ in $(seq 100); do
		"$@" && return
		sleep 0.1
	done
	return 1
}
is_about() {
	local now
	now=$(date +%s)
	[ "$now" -ge "$1" ] && [ "$now" -lt $(($1 + 20)) ]
}
answered() { [ "$(counter timesync.answered)" -gt "$before" ]; }

true_time=$(date +%s)
before=$(counter timesync.answered)
host timesync sample 2100000000
wait_for answered || fail "the sample is not answered"
sleep 1
is_about "$true_time" || fail "a sample alone has set the clock to $(date +%s)"

for there in 2000000000 1900000000 "$true_time"; do
	host timesync set "$there"
	wait_for is_about "$there" || fail "the clock is $(date +%s) 10 s after the host has set it to $there"
done
