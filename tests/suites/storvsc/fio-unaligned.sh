# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_storvsc
# timeout: 180
# tools: fio
# breaks-with: the VMM reads a range from the beginning of its first page
#
# Sizes from one block to 1 MiB, which is more than a command may have, at any block, from
# buffers that begin anywhere in a page (their sizes are no whole number of pages); each block verified after it was read back.

need_disk 0
verify_fio mixed --rw=randwrite --bsrange=512-1M --blockalign=512 --size=64M --io_size=48M --iodepth=8
verify_fio small --rw=randwrite --bs=512 --size=4M --offset=100M --iodepth=32 --iomem_align=512
verify_fio offset --rw=randwrite --bsrange=512-306688 --blockalign=512 --size=32M --offset=128M --iodepth=4 --iomem_align=512
