# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 30
# boot: own
# host: --expect-crash
# breaks-with: vmbus/hw/crash.rs: a panic does not end the connection (seen)
#
# A panic: the guest leaves the bus and reports its crash with parameters to the host,
# which ends the machine then. Without all of that --expect-crash is an error.

need_disk 0
need_net
echo 1 >/proc/sys/kernel/sysrq
echo PASS >/dev/ttyS1
flush
echo c >/proc/sysrq-trigger
sleep 20
