# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 120
# tools: ethtool
# breaks-with: netvsc/attach.rs: no way back to what worked (seen)
#
# ethtool -G changes the number of sections of both buffers, and what does not fit is
# rounded or refused without harm.

need_net
noise 2
now() { # RX|TX: the sections
	/tools/ethtool -g eth0 | sed -n '/Current/,$p' | sed -n "s/^$1:[[:space:]]*//p"
}
set_to() { # WHAT COUNT
	/tools/ethtool -G eth0 "$1" "$2" || fail "ethtool -G $1 $2"
	need_net
	send_file /tmp/noise
	receive_little
}
rx=$(now RX) tx=$(now TX)
[ "$rx" -gt 9000 ] && [ "$tx" -gt 100 ] || fail "$rx receive and $tx send sections"
# Sections fill whole pages.
set_to rx 256
[ "$(now RX)" -ge 256 ] && [ "$(now RX)" -lt 262 ] || fail "$(now RX) receive sections, not 256"
set_to rx 64
set_to tx 20
[ "$(now TX)" -ge 20 ] && [ "$(now TX)" -lt 23 ] || fail "$(now TX) send sections, not 20"
set_to rx 18000
set_to rx "$rx"
set_to tx "$tx"
# The host wants more than 16: the driver goes back to what it had.
not /tools/ethtool -G eth0 rx 10 || fail "10 receive sections are taken"
need_net
send_file /tmp/noise
receive_file
