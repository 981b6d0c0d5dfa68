# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: debug
# boot: own
# each: READ_AFTER_FREE ARRAY_BOUNDS CORRUPT_LIST_ADD SPINLOCKUP
# must-fail: the kernel's log: .*(KASAN|UBSAN|list_add corruption|lock held|scheduling while atomic)
# breaks-with: an option or a pattern of BAD_LINES that is missing
#
# Faults in the kernel on purpose: each check of the debug kernel is on and is heard.

modprobe lkdtm || fail "cannot load lkdtm"
echo "$1" >/sys/kernel/debug/provoke-crash/DIRECT || true
