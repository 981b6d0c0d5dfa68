# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# boot: own
# xfail-c: W15 no end|killed|the processor worked|does not go
# breaks-with: vmbus/ring/reader.rs: the index of the host is not checked, and "empty" is asked of the shared one
#
# W15, W16: the host writes nonsense over the indices of the rings of a device: its driver may get
# nothing any more, but no processor is lost in a loop, and when it comes again it works.

busy() { # Hundredths of a second that the processor has worked.
	awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8 }' /proc/stat
}
need_disk 0
for field in read write; do
	for device in heartbeat nic0; do
		for value in 4294967295 4 8 60000 4294967288; do
			host fault ring $device 0 $field $value
		done
		host fault ring $device 0 $field random
		before=$(busy)
		sleep 2
		worked=$(($(busy) - before))
		[ $worked -lt 150 ] || fail "$field index of $device: the processor worked $worked of 200 hundredths of a second"
		dd if="$disk" of=/dev/null bs=64k count=16 iflag=direct || fail "$field index of $device: the disk does not read meanwhile"
		host rescind $device
		calm() { case $(host channels) in *-*) return 1 ;; esac; }
		within 10 calm || fail "$field index of $device does not go"
		host offer $device
	done
done
need_net
answered=$(host heartbeat)
more() { [ "$(host heartbeat)" -gt "$answered" ]; }
within 20 more || fail "no heartbeat is answered any more"
