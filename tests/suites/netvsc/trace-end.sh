# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 30
# boot: own
# kconfig: debug
# xfail-c: X13 no end after|killed|crash|is not ready|does not answer|BUG|Oops|KASAN
# breaks-with: nothing was tried yet
#
# X13: the host announces an empty message at the very end of the receive buffer, while trace events
# show the beginning of each: they do not read behind it.

need_net
mount -t tracefs tracefs /sys/kernel/tracing || fail "no tracefs"
echo 1 >/sys/kernel/tracing/events/netvsc/enable
before=$(counter nic0.rx_guest_failed)
host nic0 bad range-end 5
within 5 ping -c 1 -W 1 $PEER || fail "no answer after it"
[ $(($(counter nic0.rx_guest_failed) - before)) = 5 ] || fail "the guest did not refuse it"
grep -q rndis_recv /sys/kernel/tracing/trace || fail "nothing was traced"
echo 0 >/sys/kernel/tracing/events/netvsc/enable
umount /sys/kernel/tracing
