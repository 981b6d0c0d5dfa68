# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: debug
# rust: hv_vmbus hv_storvsc hv_netvsc
# timeout: 60
# boot: own
# append: kunit.enable=1 kunit.autorun=1 log_buf_len=4M no_debug_objects
# breaks-with: a case with another expectation
#
# The kernel's own tests: the examples in the documentation of the kernel crate, the crate's
# unit tests, and those of the modules in Rust that were loaded. Examples of the kernel's own have
# timers on the stack, which ODEBUG would report.

# "make check" compares these with the source: in the kernel crate and in each module.
KERNEL="rust_doctests_kernel rust_vmbus"
VMBUS="hv_vmbus_affinity hv_vmbus_mmio hv_vmbus_requestor hv_vmbus_ring hv_vmbus_service"
STORVSC="hv_storvsc_errors"
NETVSC="hv_netvsc_control hv_netvsc_info hv_netvsc_nvsp hv_netvsc_rndis"

sed -n 's/^\[[^]]*\] *//p' /run/boot.log >/tmp/ktap
# A suite that did not come to its end has no total.
total() { sed -n "s/^# $1: pass:\([0-9]*\) fail:0 .*/\1/p" /tmp/ktap; }
not grep -A30 '^not ok' /tmp/ktap >/tmp/failed || fail "$(grep -c '^not ok' /tmp/ktap) tests failed; the first: $(head -n 1 /tmp/failed)"
suites=$KERNEL
for module in $RUST; do
	case $module in
	hv_vmbus) suites="$suites $VMBUS" ;;
	hv_storvsc) suites="$suites $STORVSC" ;;
	hv_netvsc) suites="$suites $NETVSC" ;;
	esac
done
for suite in $suites; do
	passed=$(total $suite)
	[ "${passed:-0}" -ge 1 ] || fail "no result of the suite $suite: $(grep "$suite" /tmp/ktap | tail -n 1)"
	note "$suite: $passed passed"
done
