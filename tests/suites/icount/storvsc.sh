# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# kconfig: fast
# timeout: 300
# boot: own
# tools: fio
# icount: yes
# breaks-with: no verdict on the cost: people compare the figures, of which two runs have to agree
#
# What 10,000 random reads of 4 KiB, 16 of them under way, cost in all: guest, emulated
# host, and the Linux below it.

need_disk 0
/tools/fio --name=randread --filename="$disk" --ioengine=libaio --direct=1 --size=128M --rw=randread --bs=4k \
	--iodepth=16 --number_ios=10000 --thread --minimal --terse-version=3 --output=/tmp/fio.txt ||
	fail "fio: $(tail -n 1 /tmp/fio.txt)"
# Terse output, version 3: field 6 has the KiB that were read, 40 the mean latency in
# microseconds. How long fio itself runs is a matter of its sleeps.
[ "$(cut -d';' -f6 /tmp/fio.txt)" = 40000 ] || fail "fio read $(cut -d';' -f6 /tmp/fio.txt) KiB, not 40000"
figure read4k "$(cut -d';' -f40 /tmp/fio.txt)" "us from a request to its end"
