# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# kconfig: fast
# host: --service timesync --service kvp --service vss --service keyboard --service mouse --service balloon --service echo
# breaks-with: a host that presses no key (seen)
#
# Suspend to idle: the connection stays, a key wakes the guest, and disk and card work as before.

modprobe atkbd || fail "modprobe atkbd"
modprobe hyperv-keyboard || fail "modprobe hyperv-keyboard"
ready() { [ "$(host keyboard ready)" = true ]; }
within 20 ready || fail "the guest does not listen to the keyboard"
need_disk 0
need_net
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
grep -q s2idle /sys/power/mem_sleep || fail "the kernel cannot suspend to idle"
for round in $(rounds 2); do
	contacts=$(counter contacts)
	slept=$(cat /sys/power/suspend_stats/success)
	host later 2000 keyboard press 30
	host later 2500 keyboard release 30
	start=$(date +%s)
	timeout 20 sh -c 'echo freeze >/sys/power/state' || fail "round $round: the kernel cannot suspend to idle"
	[ "$(cat /sys/power/suspend_stats/success)" = $((slept + 1)) ] || fail "round $round: the kernel did not sleep"
	[ $(($(date +%s) - start)) -ge 1 ] || fail "round $round: the kernel did not wait for the key"
	[ "$(counter contacts)" = "$contacts" ] || fail "round $round: the bus left the host"
	[ "$(dd if="$disk" bs=64k count=16 iflag=direct | sum)" = "$(sum /tmp/noise)" ] || fail "round $round: the disk returns other data"
	need_net
	send_file /tmp/noise
done
rmmod hyperv-keyboard
rmmod atkbd
