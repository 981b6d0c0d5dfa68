# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# The last test of each boot of the debug kernel: nothing leaked in it, and the checks
# were on until now.

report=/sys/kernel/debug/kmemleak
# What is left of a pointer in stacks and lists goes first; objects that are younger than 5 s are
# not reported anyway. The first scan only takes checksums.
sleep 5
for scan in 1 2; do
	echo scan >$report || fail "kmemleak has turned itself off (scan $scan)"
done
# Known leaks of C, by functions of its that the drivers in Rust do not have: W22.
awk '
	/^unreferenced object/ { show(); text = "" }
	{ text = text $0 "\n" }
	END { show() }
	function show() { if (text != "" && text !~ / hv_init\+.* \[hv_vmbus\]/) printf "%s", text }
' $report >/tmp/leaks
cat /tmp/leaks
leaks=$(grep -c '^unreferenced object' /tmp/leaks || true)
[ "$leaks" = 0 ] || fail "kmemleak: $leaks leaks; the first: $(awk '
	trace && /^ {4}/ { print $1; next }
	trace { exit }
	/backtrace/ { trace = 1 }
' /tmp/leaks | head -n 9 | tr '\n' ' ')"
grep -q 'debug_locks: *1$' /proc/lockdep_stats || fail "lockdep has turned itself off"
