# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# What "make run" shows: data goes to a disk and over a network card and comes back.

note "The guest runs Linux $(uname -r); $(sed -n 's/.*hv_vmbus: //p' /run/boot.log | grep -m1 version)."
note "Drivers in Rust: ${RUST:-none}. On its bus are:"
for device in /sys/bus/vmbus/devices/*; do
	driver=$(readlink "$device/driver") || driver=nothing
	note "  $(basename "$device"), driven by $(basename "$driver")"
done

need_disk 0
size=$(cat "/sys/block/${disk#/dev/}/size")
/tools/mkfs.ext4 -q -F "$disk"
mount -t ext4 "$disk" /mnt
noise 8
cp /tmp/noise /mnt/file
umount /mnt
note "hv_storvsc: $disk has $((size / 2048)) MiB; made an ext4 file system, wrote a file of 8 MiB."
# Mounted anew: the data has to come from the disk, not from the page cache.
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 "$disk" /mnt
[ "$(sum /mnt/file)" = "$(sum /tmp/noise)" ] || fail "the file on the disk differs from what was written"
umount /mnt
note "hv_storvsc: mounted it again: the file is the same, sha256 $(sum /tmp/noise | head -c 16)..."

need_net
note "hv_netvsc: eth0 $(cat /sys/class/net/eth0/address) is up, its peer $PEER answers."
send_file /tmp/noise
note "hv_netvsc: sent 8 MiB over TCP: the peer got the same bytes."
receive_file
note "hv_netvsc: received 8 MiB over TCP: the same bytes as the peer sent."
