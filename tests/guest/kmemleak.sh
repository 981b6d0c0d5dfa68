# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# The last test of each boot of the debug kernel: nothing leaked in it, and the checks
# were on until now.

report=/sys/kernel/debug/kmemleak
# Twice, because a pointer on its way from one place to another is not seen by one scan;
# younger objects than 5 s are not reported.
for scan in 1 2; do
	sleep 6
	echo scan >$report || fail "kmemleak has turned itself off (scan $scan)"
done
cat $report
leaks=$(grep -c '^unreferenced object' $report || true)
# The second line of a backtrace is the caller of the allocator.
[ "$leaks" = 0 ] || fail "kmemleak: $leaks leaks; the first: $(sed -n '/backtrace/,/^unref/p' $report | sed -n '2,9s/ *\[<[^>]*>\]//p' | tr -s ' \n' ' ')"
grep -q 'debug_locks: *1$' /proc/lockdep_stats || fail "lockdep has turned itself off"
