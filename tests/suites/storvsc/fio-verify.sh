# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus hv_storvsc
# timeout: 180
# tools: fio
# breaks-with: the VMM's READ one byte off in the second of two ranges
#
# Random writes of mixed sizes past the page cache, 16 of them under way, each block
# with a checksum that is verified after it was read back.

need_disk 0
verify_fio mixed --iodepth=16 --rw=randwrite --bsrange=4k-256k --blockalign=4k --size=48M
