# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 120
# boot: own
# kernel: yes
# tools: kexec
# host: --append retain_initrd
# breaks-with: a VMM that refuses versions to the second kernel (seen)
#
# The guest boots another kernel by itself, with both devices busy: the old one leaves the
# bus, and the new one finds everything as it was. This runs once in each.

sector() { # of the second disk: what the first kernel tells the second
	dd if="/dev/$(disk_name 1)" bs=512 count=1 iflag=direct 2>/dev/null | tr -d '\0'
}
if grep -qw hvtest.again /proc/cmdline; then
	[ "$(counter_ever contacts)" = 2 ] || fail "the host was contacted $(counter_ever contacts) times by two kernels"
	[ "$(counter_ever unloads)" = 1 ] || fail "the first kernel left the bus $(counter_ever unloads) times"
	need_disk 0
	need_disk 1
	need_disk 0
	dd if="$disk" of=/tmp/back bs=64k count=64 iflag=direct || fail "the new kernel cannot read the disk"
	[ "$(sector)" = "$(sum /tmp/back)" ] || fail "the disk returns other data than the first kernel wrote"
	need_net
	send_file /tmp/back
	receive_file
	noise 4
	dd if=/tmp/noise of="$disk" bs=64k oflag=direct || fail "the new kernel cannot write the disk"
	[ "$(host disk 0 hash 0 $((4 << 20)))" = "$(sum /tmp/noise)" ] || fail "the disk was not written"
	exit 0
fi

need_disk 1
other=$disk
need_disk 0
need_net
noise 4
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
sum /tmp/noise | dd of="$other" bs=512 conv=sync oflag=direct
cat /sys/firmware/initrd >/tmp/initrd || fail "the kernel did not keep its initramfs"
/tools/kexec -c -l /hv/bzImage --initrd=/tmp/initrd --append="$(cat /proc/cmdline) hvtest.again" ||
	fail "kexec -l failed"
# A new kernel must not meet what the host still writes for the old one.
(while dd if="$disk" of=/dev/null bs=64k iflag=direct; do :; done) 2>/dev/null &
ping -f $PEER >/dev/null 2>&1 &
nc $PEER 7002 </dev/null >/dev/null &
sleep 1
/tools/kexec -e
fail "kexec -e returned"
