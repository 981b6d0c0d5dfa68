# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 30
# each: 4.0 4.1 5.0 5.1 5.2 5.3 6.0
# host: --vmbus-max {}
# breaks-with: another number after --vmbus-max (seen)
#
# The newest version that the host takes is the one that is used, and devices work with it.

version=$(sed -n 's/.*hv_vmbus: Vmbus version://p' /run/boot.log)
[ "$version" = "$1" ] || fail "negotiated ${version:-nothing} with a host that knows up to $1"
need_disk 0
noise 1
dd if=/tmp/noise of="$disk" bs=64k conv=fsync
dd if="$disk" of=/tmp/back bs=64k count=16 iflag=direct
cmp /tmp/noise /tmp/back || fail "the disk returns other data than was written"
need_net
