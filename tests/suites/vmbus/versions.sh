# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 120
# breaks-with: the host is told another version (seen, when that was a parameter)
#
# The newest version that the host takes is the one that is used, and devices work with it.

noise 1
for version in 4.0 4.1 5.0 5.1 5.2 5.3 6.0; do
	speak $version
	need_disk 0
	dd if=/tmp/noise of="$disk" bs=64k conv=fsync
	dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct
	cmp /tmp/noise /tmp/back || fail "$version: the disk returns other data than was written"
	need_net
done
