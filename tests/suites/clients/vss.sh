# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1 2
# rust: hv_vmbus
# timeout: 120
# tools: hv_vss_daemon mkfs.ext4
# host: --service timesync --service kvp --service vss --service keyboard --service mouse --service balloon --service echo
# breaks-with: the VMM's messages of type 7 (seen); a VMM that ends the channel at the check (seen)
#
# The host has the guest's file systems frozen, through hv_utils and its daemon: until it
# has them thawed a write waits.

within 10 test -c /dev/vmbus/hv_vss || fail "there is no /dev/vmbus/hv_vss"
ready() { [ "$(host vss ready)" = true ]; }
answered() { [ "$(host vss answer)" != pending ]; }
ask() { # OPERATION
	host vss "$1" >/dev/null
	within 30 answered || fail "no answer to $1"
	answer=$(host vss answer)
	[ "$answer" = 0x00000000 ] || fail "$1 is answered $answer"
}

need_disk 0
/tools/mkfs.ext4 -q -F "$disk"
mount -t ext4 "$disk" /mnt
/tools/hv_vss_daemon -n &
daemon=$!
within 20 ready || fail "the guest has not agreed on a version"

# Versions are agreed on without the daemon; until it has told who it is, requests fail.
registered() { dmesg | grep -q 'VSS: userspace daemon ver. .* connected'; }
within 20 registered || fail "the daemon does not register"
sleep 1
ask check
for round in 1 2; do
	ask freeze
	(echo "$round" >/mnt/file && sync && touch /tmp/written) &
	writer=$!
	sleep 2
	[ ! -e /tmp/written ] || fail "round $round: a write to a frozen file system does not wait"
	ask thaw
	within 10 test -e /tmp/written || fail "round $round: the write still waits 10 s after the thaw"
	wait $writer
	[ "$(cat /mnt/file)" = "$round" ] || fail "round $round: the file holds $(cat /mnt/file)"
	rm /tmp/written
done

kill $daemon
wait || true
umount /mnt
