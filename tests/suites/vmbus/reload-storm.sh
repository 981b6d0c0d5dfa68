# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_vmbus
# timeout: 90
# soak: 200
# breaks-with: vmbus/hv_vmbus.rs: interrupts are not switched off before the handler goes
#
# W14, W20: the bus is unloaded and loaded while the host offers and rescinds devices, whose
# messages and interrupts come until the very end: nothing is called that is gone, and the devices
# of the bus that is loaded at last work.

for module in hv_netvsc hv_storvsc hv_utils; do
	unload $module
done
for round in $(rounds 5); do
	host fault flicker heartbeat 1000 3
	host fault flicker shutdown 1000 3
	host fault flicker nic0 1000 3
	[ $((round % 2)) = 0 ] || sleep 0.1
	rmmod hv_vmbus || fail "round $round: rmmod hv_vmbus"
	modprobe hv_vmbus || fail "round $round: modprobe hv_vmbus"
done
host fault clear
for module in hv_utils hv_storvsc hv_netvsc; do
	modprobe $module
done
calm() { case $(host channels) in *-*) return 1 ;; esac; }
within 20 calm || fail "devices do not go: $(host channels)"
for name in heartbeat shutdown nic0; do
	try_host offer $name || :
done
need_disk 0
need_net
answered=$(host heartbeat)
more() { [ "$(host heartbeat)" -gt "$answered" ]; }
within 20 more || fail "no heartbeat is answered any more"
