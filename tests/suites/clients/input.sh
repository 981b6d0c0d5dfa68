# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_vmbus
# timeout: 60
# host: --service timesync --service kvp --service vss --service keyboard --service mouse --service balloon --service echo
# breaks-with: the VMM's key events without the flag BREAK (seen)
#
# Keys and pointer of the host arrive at /dev/input.

for module in evdev atkbd hyperv-keyboard hid-hyperv; do
	modprobe $module || fail "modprobe $module"
done

# Sets $node to the event device of an input device.
node_of() { # NAME
	local dir
	for dir in /sys/class/input/event*; do
		[ "$(cat "$dir/device/name" 2>/dev/null)" = "$1" ] && node=/dev/input/${dir##*/} && return
	done
	return 1
}
# An event is 24 bytes: time, type, code, value.
happened() { # TYPE CODE VALUE
	hexdump -v -e '12/2 "%u " "\n"' /tmp/events | cut -d' ' -f9-11 | grep -qx "$1 $2 $3"
}
expect() { # WHAT TYPE CODE VALUE
	within 5 happened "$2" "$3" "$4" && return
	hexdump -v -e '12/2 "%u " "\n"' /tmp/events
	fail "$1 does not arrive"
}
listen() {
	cat "$node" >/tmp/events &
	listener=$!
	# The reader has to be there before the event: it gets what comes after its open.
	within 5 sh -c "ls -l /proc/$listener/fd | grep -q $node" || fail "$node is not opened"
}
hush() {
	kill $listener
	wait $listener || true
}

within 20 node_of "AT Translated Set 2 keyboard" || fail "there is no keyboard"
node_of "AT Translated Set 2 keyboard"
listen
host keyboard press 30
expect "the key A" 1 30 1
host keyboard release 30
expect "the end of the key A" 1 30 0
host keyboard press 72 e0
expect "the key Up" 1 103 1
host keyboard release 72 e0
expect "the end of the key Up" 1 103 0
hush

mouse="Microsoft Vmbus HID-compliant Mouse"
within 20 node_of "$mouse" || fail "there is no mouse"
node_of "$mouse"
listen
host mouse move 1000 20000
expect "X" 3 0 1000
expect "Y" 3 1 20000
host mouse buttons 1
expect "the left button" 1 272 1
host mouse buttons 0
expect "the end of the left button" 1 272 0
hush
