# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2 4
# kconfig: fast
# rust: hv_storvsc
# timeout: 60
# soak: 120
# host: --scsi-channels 3
# tools: fio
# breaks-with: storvsc/queue.rs: the offset in the first page is left out for more than 32 pages (seen)
#
# Loads of all kinds, one after another, for five seconds, ten minutes in a soak: so many jobs, such
# sizes, so many commands under way, in order and not, at once on another disk; each block is verified.

# The next number below a limit.
seed=${SEED:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
note "stress: seed $seed"
next() { # LIMIT: sets number
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	number=$((seed / 65536 % $1 + 1))
}
pick() { # WORD...: sets word
	next $#
	eval "word=\$$number"
}
need_disk 1
other=$disk
need_disk 0
end=$(($(date +%s) + 5 * TIMES))
round=0
while [ "$(date +%s)" -lt $end ]; do
	round=$((round + 1))
	pick 1 1 2 4 8 && jobs=$word
	pick 1 4 16 32 64 256 && depth=$word
	pick write randwrite randwrite randrw && how=$word
	pick 512-4k 4k-4k 4k-64k 512-256k 64k-64k 4k-1M 1M-1M && sizes=$word
	pick 512 2k 4k 4k && align=$word
	# Few have long transfers that begin anywhere in a page: one of them always does.
	[ $round != 1 ] || { sizes=512-256k && align=512; }
	case $sizes in 4k* | 64k* | 1M*) align=4k ;; esac
	# The buffers have to fit into memory.
	case $sizes in *1M) most=48 ;; *) most=256 ;; esac
	[ $((depth * jobs)) -le $most ] || depth=$((most / jobs))
	next 7 && io=$((number * 8 / (jobs + 1) + 1))
	what="--rw=$how --bsrange=$sizes --blockalign=$align --iodepth=$depth --size=$((160 / jobs))M --io_size=${io}M --numjobs=$jobs"
	echo "round $round: $what"
	pick 4k 64k 256k && bs=$word
	fio_of other --filename="$other" --rw=randwrite --bs="$bs" --iodepth=8 --size=48M --io_size=4M \
		--verify=crc32c --verify_fatal=1 --do_verify=1 &
	beside=$!
	# shellcheck disable=SC2086
	verify_fio stress $what --offset_increment=$((160 / jobs))M --iomem_align="$align"
	wait $beside || {
		cat /tmp/other.txt
		fail "round $round: the other disk: $(grep -m1 -iE 'verify|error|bad' /tmp/other.txt)"
	}
done
note "stress: $round loads"
