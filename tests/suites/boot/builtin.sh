# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# kconfig: builtin
# boot: own
# host: --service timesync --service kvp --service vss --service keyboard --service mouse --service balloon
# breaks-with: no "initcall: subsys" in vmbus/hv_vmbus.rs
#
# All drivers are built in, the bus in Rust: it is there before those of its devices
# register, every device finds its driver, and disk and network carry data.

bus=/sys/bus/vmbus
grep -q ' _R.*8hv_vmbus' /proc/kallsyms || fail "the bus is not built in, or not the one in Rust"
[ "$(cat /sys/module/hv_vmbus/parameters/max_version)" -gt 0 ] || fail "the bus has no parameters"
for driver in hv_netvsc hv_storvsc hv_utils hv_balloon hyperv_keyboard hid_hyperv uio_hv_generic hyperv_drm; do
	[ -d $bus/drivers/$driver ] || fail "there is no driver $driver, only $(echo $(ls $bus/drivers))"
done
bound() { [ "$(echo $bus/devices/*/driver | wc -w)" = "$(ls $bus/devices | wc -l)" ]; }
within 20 bound || fail "devices without a driver: $(for device in $bus/devices/*; do [ -e "$device"/driver ] || cat "$device"/class_id; done)"

need_disk 0
need_net
noise 4
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
[ "$(host disk 0 hash 0 $((4 << 20)))" = "$(sum /tmp/noise)" ] || fail "what was written is not on the disk"
send_file /tmp/noise
receive_file
