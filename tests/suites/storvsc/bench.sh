# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# kconfig: fast
# rust: hv_vmbus hv_storvsc hv_netvsc
# alone: yes
# timeout: 120
# tools: fio
# breaks-with: a sleep of 50 ms per request in the VMM
#
# Figures, and a quarter of what a complete VMM reached on this kind of machine: the
# host must not be what limits.

need_disk 0
run_fio() { # NAME ARGUMENTS...: sets iops and kib (KiB/s)
	local name=$1
	shift
	# Terse output, version 3: fields 7 and 8 are KiB/s and IOPS of reads, 48 and 49 of writes.
	/tools/fio --name="$name" --filename="$disk" --ioengine=libaio --direct=1 --size=128M --time_based \
		--runtime=2 --thread --minimal --terse-version=3 --output=/tmp/fio.txt "$@" || fail "fio $name: $(tail -n 1 /tmp/fio.txt)"
	case $name in
	*write*) fields=48,49 ;;
	*) fields=7,8 ;;
	esac
	# shellcheck disable=SC2046
	set -- $(grep '^3;' /tmp/fio.txt | cut -d';' -f$fields | tr ';' ' ')
	kib=$1 iops=$2
}
run_fio randread --rw=randread --bs=4k --iodepth=16
reads=$iops
run_fio randwrite --rw=randwrite --bs=4k --iodepth=16
writes=$iops
run_fio read --rw=read --bs=128k --iodepth=4
note "storvsc: 4 KiB at depth 16: $reads reads/s, $writes writes/s; 128 KiB reads: $((kib / 1024)) MiB/s"
at_least "$reads" "$(at_this_speed 147)" "random reads per second"
at_least "$writes" "$(at_this_speed 71)" "random writes per second"
at_least "$kib" "$(at_this_speed 8700)" "KiB/s of 128 KiB reads"
