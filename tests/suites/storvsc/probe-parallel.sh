# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_storvsc
# timeout: 60
# boot: own
# host: --scsi 16M --ide 16M
# breaks-with: storvsc/driver.rs: devices are probed one after another (seen)
#
# Controllers are probed at the same time (S1): two of them, whose host thinks for 3 s about the first
# question, take no longer than one. All of that is over when the module is loaded.

now() { sed 's/\.\([0-9]*\) .*/\1/' /proc/uptime; }
within 20 disk_of 0 1 && within 20 disk_of 1 0 || fail "the disks did not come"
load() { # CONTROLLER...: those whose host thinks; sets took: hundredths of a second
	unload hv_storvsc
	for controller; do
		host fault packet "$controller" delay 3000 completions
	done
	began=$(now)
	modprobe hv_storvsc
	took=$(($(now) - began))
	within 20 disk_of 0 1 && within 20 disk_of 1 0 || fail "the disks did not come back"
}
load
quick=$took
load scsi0 scsi1
note "probe-parallel: ${quick}0 ms, and ${took}0 ms if the host thinks"
[ $took -ge 290 ] || fail "nothing was waited for: it took ${took}0 ms"
[ $took -lt $((quick + 450)) ] || fail "one after the other: it took ${took}0 ms, and ${quick}0 ms without that"
