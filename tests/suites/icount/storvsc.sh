# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# timeout: 300
# boot: own
# tools: fio
# icount: yes
# breaks-with: nothing yet
#
# What 2,000 random reads of 4 KiB, 16 of them under way, cost in all: guest, emulated
# host, and the Linux below it.

need_disk 0
# The program itself is read and linked before it counts.
/tools/fio --version >/dev/null
before=$(now_ns)
/tools/fio --name=randread --filename="$disk" --ioengine=libaio --direct=1 --size=128M --rw=randread --bs=4k \
	--iodepth=16 --number_ios=2000 --thread --minimal --terse-version=3 --output=/tmp/fio.txt ||
	fail "fio: $(tail -n 1 /tmp/fio.txt)"
after=$(now_ns)
# Terse output, version 3: field 6 has the KiB that were read, 9 the milliseconds.
[ "$(cut -d';' -f6 /tmp/fio.txt)" = 8000 ] || fail "fio read $(cut -d';' -f6 /tmp/fio.txt) KiB, not 8000"
figure read4k $(((after - before) / 2000)) "ns per request"
