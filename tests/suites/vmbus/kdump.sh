# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 60
# boot: own
# kernel: yes
# tools: kexec
# memory: 768
# append: crashkernel=256M
# host: --append retain_initrd --crash-kernel
# breaks-with: vmbus/connection.rs: unload_by_polling() sends nothing (seen)
#
# A panic with another kernel waiting for it, with both devices busy: it comes up, finds the old
# one's memory, and disk and card work, whatever the host signals to processors of the old one. The
# way is by the panic notifiers; others are in vmbus/kdump-ways, which is this with an argument.

if [ -e /proc/vmcore ]; then
	[ "$(counter_ever contacts)" = 2 ] || fail "the host was contacted $(counter_ever contacts) times by two kernels"
	[ "$(counter_ever unloads)" = 1 ] || fail "the kernel that died left the bus $(counter_ever unloads) times"
	recalled=$(host recall)
	# Nobody could tell its other processors to take no signals any more.
	for cpu in $(seq ${recalled#* }); do
		for relid in $(seq 20); do
			host interrupt "$relid" "$cpu"
		done
	done
	need_disk 0
	dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct || fail "the new kernel cannot read the disk"
	[ "${recalled% *}" = "$(sum /tmp/back)" ] || fail "the disk returns other data than the first kernel wrote"
	[ "$(head -c 4 /proc/vmcore | tail -c 3)" = ELF ] || fail "the memory of the old kernel is not there"
	dd if=/proc/vmcore of="$disk" bs=64k count=16 || fail "the new kernel cannot write to the disk"
	need_net
	send_file /tmp/back
	exit 0
fi

need_disk 0
need_net
noise 1
dd if=/tmp/noise of="$disk" bs=64k oflag=direct
host remember "$(sum /tmp/noise) $(($(nproc) - 1))"
cat /sys/firmware/initrd >/tmp/initrd || fail "the kernel did not keep its initramfs"
/tools/kexec -s -p /hv/bzImage --initrd=/tmp/initrd \
	--append="$(sed 's/ crashkernel=[^ ]*//; s/ retain_initrd//' /proc/cmdline) nr_cpus=1 reset_devices" ||
	fail "kexec -p failed"
rm /tmp/initrd
[ "$(cat /sys/kernel/kexec/crash_loaded /sys/kernel/kexec_crash_loaded 2>/dev/null | head -n 1)" = 1 ] ||
	fail "no crash kernel is loaded"
case ${1:-notified} in
direct) echo N >/sys/module/kernel/parameters/crash_kexec_post_notifiers ;;
silent)
	if [ "$TIMES" = 1 ]; then
		host fault message UNLOAD_COMPLETE delay 3000
	else
		host fault message UNLOAD_COMPLETE drop
	fi
	;;
esac
(while dd if="$disk" of=/dev/null bs=64k iflag=direct; do :; done) 2>/dev/null &
ping -f $PEER >/dev/null 2>&1 &
sleep 1
echo 1 >/proc/sys/kernel/sysrq
# The machine's messages come to this processor in both kernels.
taskset 1 sh -c 'echo c >/proc/sysrq-trigger'
fail "there was no panic"
