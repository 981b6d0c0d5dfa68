# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 2
# rust: hv_vmbus hv_netvsc
# timeout: 90
# boot: own
# breaks-with: nothing was tried yet
#
# The host takes the card away while the system hibernates: when its channel is closed, and when it
# is asked to begin anew. The system comes back, and so does the card.

gone() { [ ! -e /sys/class/net/eth0 ]; }
need_net
noise 1
echo platform >/sys/power/pm_test
echo 1 >/sys/module/hibernate/parameters/pm_test_delay
for when in close answer; do
	case $when in
	close) host fault rescind nic0 close ;;
	answer) host fault packet nic0 rescind ;;
	esac
	echo disk >/sys/power/state || fail "$when: the kernel cannot hibernate: $(dmesg | tail -n 3)"
	within 20 gone || fail "$when: the card is still there"
	host fault clear
	need_disk 0
	dd if="$disk" of=/dev/null bs=64k count=4 iflag=direct || fail "$when: the disk does not read"
	host offer nic0
	need_net
	send_file /tmp/noise
	receive_little
done
echo none >/sys/power/pm_test
