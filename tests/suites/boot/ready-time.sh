# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# kconfig: fast
# rust: hv_vmbus hv_storvsc hv_netvsc
# alone: yes
# breaks-with: a sleep of 6 s before READY in tests/guest/init (seen)
#
# From the VMM's start until drivers are loaded and their devices are there.

ready=$(host ready)
note "boot: the guest was ready after $ready ms"
# One thread emulates all processors of a guest with several.
limit=$((6000 * $(nproc)))
[ "$ready" -gt 0 ] && [ "$ready" -lt $limit ] || fail "the guest was ready after $ready ms, and $limit are allowed"
