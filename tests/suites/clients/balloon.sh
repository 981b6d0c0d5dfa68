# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 90
# host: --service timesync --service kvp --service vss --service keyboard --service mouse --service balloon --service echo
# breaks-with: the VMM forgets a range when it gives the pages back (seen)
#
# hv_balloon reports the memory's use, gives pages to the host and takes them back.

modprobe hv_balloon || fail "modprobe hv_balloon"
# Seconds without a report after the load.
echo 0 >/sys/module/hv_balloon/parameters/pressure_report_delay
figure() { sed -n "s/^$1 *: *//p" /sys/kernel/debug/hv-balloon; }
ready() { [ "$(host balloon ready)" = true ]; }
total() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
within 20 ready || fail "hv_balloon has not agreed with the host"
[ "$(figure host_version)" = 2.0 ] || fail "the version is $(figure host_version)"

first=$(counter balloon.status)
more() { [ "$(counter balloon.status)" -ge $((first + 3)) ]; }
within 20 more || fail "hv_balloon reports $(counter balloon.status) times, 20 s ago it was $first"

before=$(total)
for pages in 1000 3; do
	host balloon up $pages
	within 30 ready || fail "the guest does not finish to give $pages pages"
	[ "$(host balloon pages)" = $pages ] || fail "the host has $(host balloon pages) pages, not $pages"
	[ "$(figure pages_ballooned)" = $pages ] || fail "the guest says that $(figure pages_ballooned) pages are given, not $pages"
	[ $((before - $(total))) = $((pages * 4)) ] || fail "the memory shrank from $before kB to $(total) kB by $pages pages"
	host balloon down
	within 30 ready || fail "the guest does not finish to take $pages pages back"
	[ "$(figure pages_ballooned)" = 0 ] || fail "$(figure pages_ballooned) pages are still given"
	[ "$(total)" = "$before" ] || fail "the memory is $(total) kB after the balloon, before it was $before kB"
done
