# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# host: --nic tap0,whole-sections,receive-section=4000,send-section=2048,alias=Blue
# tools: ethtool
# breaks-with: netvsc/buffers.rs: sections of 6144 bytes, whatever the host says (seen)
#
# A host with other sections, which announces them whole, and a network with a name.

need_net
noise 4
send_file /tmp/noise
receive_file
send_file /tmp/noise $PEER6
receive_file $PEER6
now() { /tools/ethtool -g eth0 | sed -n '/Current/,$p' | sed -n "s/^$1:[[:space:]]*//p"; }
# 16 MiB and 1 MiB, less what the default sections leave over.
[ "$(now RX)" -gt 4180 ] && [ "$(now RX)" -lt 4196 ] || fail "$(now RX) receive sections"
[ "$(now TX)" -gt 505 ] && [ "$(now TX)" -lt 513 ] || fail "$(now TX) send sections"
[ "$(cat /sys/class/net/eth0/ifalias)" = Blue ] || fail "the alias is $(cat /sys/class/net/eth0/ifalias)"
