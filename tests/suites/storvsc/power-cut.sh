# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_storvsc
# timeout: 90
# boot: own
# host: --scsi 96M:cache
# soak: 10
# tools: mkfs.ext4 e2fsck
# breaks-with: the VMM answers SYNCHRONIZE CACHE with success and does nothing (seen)
#
# The power fails while files are written, and what the disk had not made durable is lost, or is
# not, sector by sector. In the next boot, which runs this test once more, the file system is clean
# after its journal was replayed, and everything is there that was synced. Twice, in a soak 20 times.

host_disk() { disk=/dev/$(disk_of 1 0); }
within 20 opens disk_of 1 0 || fail "the disk did not come"
host_disk
file() { # NUMBER: its name, in one of many folders
	echo "/mnt/$(($1 % 7))/$1"
}
content() { # NUMBER: 8 to 200 KiB that follow from it
	yes "file $1 of the test" | head -c $((8192 + $1 * 7919 % 196608)) || :
}

first=1
if [ "$BOOT" = 1 ]; then
	/tools/mkfs.ext4 -q "$disk"
	mount -t ext4 "$disk" /mnt
	mkdir /mnt/0 /mnt/1 /mnt/2 /mnt/3 /mnt/4 /mnt/5 /mnt/6
	sync
else
	# What the host was told before the power failed: files from there up to there were synced.
	read -r first last <<-END
		$(host recall)
	END
	[ -n "$last" ] && [ "$last" -ge "$first" ] || fail "boot $BOOT: nothing was synced before the power failed"
	mount -t ext4 "$disk" /mnt || fail "boot $BOOT: the file system cannot be mounted"
	umount /mnt
	/tools/e2fsck -fn "$disk" >/tmp/fsck 2>&1 || fail "boot $BOOT: the file system is not clean: $(grep -v Pass /tmp/fsck | head -n 3)"
	mount -t ext4 "$disk" /mnt
	for number in $(seq "$first" "$last"); do
		content "$number" | cmp - "$(file "$number")" || fail "boot $BOOT: file $number of $first to $last was synced, and is not there as it was"
	done
	note "power-cut: boot $BOOT: $((last - first + 1)) files that were synced are there"
	[ "$BOOT" -le $((2 * TIMES)) ] || exit 0
	rm /mnt/?/*
	sync
	first=$((last + 1))
fi

# Others write too, and sync nothing.
(number=0 && while :; do content $number >/mnt/3/other$((number % 9)); number=$((number + 1)); done) 2>/dev/null &
number=$first
while :; do
	if [ $((number % 3)) = 0 ]; then
		content "$number" >"$(file "$number")"
		sync
	else
		content "$number" | dd of="$(file "$number")" bs=64k conv=fsync 2>/dev/null
	fi
	# From the second one on: the power fails some time after.
	host remember "$first $number"
	[ "$number" != $((first + 1)) ] || host cut $((300 + $(od -An -N2 -tu2 /dev/urandom) % 4000))
	number=$((number + 1))
done
