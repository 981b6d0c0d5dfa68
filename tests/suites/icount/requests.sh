# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: fast
# timeout: 300
# boot: own
# tools: fio
# icount: yes
# breaks-with: no verdict on the cost: people compare the figures
#
# What requests to a disk cost: 4 KiB at random places, one after the other and 32 at a time,
# and large ones in order.

need_disk 0
show_modules
run_fio() { # KIND SIZE DEPTH COUNT
	/tools/fio --name=fixed --filename="$disk" --ioengine=libaio --direct=1 --size=128M --rw="$1" --bs="$2" \
		--iodepth="$3" --iodepth_batch_submit=16 --iodepth_batch_complete_min=1 --number_ios="$4" --thread \
		--minimal --output=/tmp/fio.txt
}
run_fio randread 4k 1 100
measure read_4k_depth_1 2000 scsi0 run_fio randread 4k 1 2000
measure write_4k_depth_1 2000 scsi0 run_fio randwrite 4k 1 2000
measure read_4k_depth_32 4000 scsi0 run_fio randread 4k 32 4000
measure write_4k_depth_32 4000 scsi0 run_fio randwrite 4k 32 4000
measure read_128k 500 scsi0 run_fio read 128k 4 500
measure read_1m 100 scsi0 run_fio read 1m 4 100
measure write_1m 100 scsi0 run_fio write 1m 4 100
