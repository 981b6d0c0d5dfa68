# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# vcpus: 1
# rust: hv_netvsc
# timeout: 60
# each: shift batch address group speed sections alias-short
# tools: ethtool
# breaks-with: netvsc/attach.rs: a name without its end is no name (seen)
#
# X9, X10: the host says of the card what cannot be: a padding of 2 to the power of 40, packets of no
# message, an address of zeros or of a group, a link that is faster than anything, few sections of 4 MiB;
# a name without its end. C gets away with these: its stack is zeroed in this kernel, and there is
# memory for 64 such sections. See facts-kept.

need_net
noise 1
case $1 in
shift) host nic0 say batch 8 40 ;;
batch) host nic0 say batch 0 3 ;;
address) host nic0 say 0x1010101 000000000000 ;;
group) host nic0 say 0x1010101 01005e000001 ;;
speed) host nic0 say 0x10107 ffffffff ;;
sections) host nic0 say sections 4194304 3 ;;
alias-short) host nic0 say 0x20216 4100 ;;
esac
rebind_card
case $1 in
address | group)
	not ip link set eth0 up || fail "the card comes up with the address $(cat /sys/class/net/eth0/address)"
	ip link set eth0 address 00:15:5d:00:00:01 || fail "it takes no other address"
	;;
speed) ip link set eth0 up && cat /sys/class/net/eth0/speed ;;
alias-short)
	[ "$(cat /sys/class/net/eth0/ifalias)" = A ] || fail "the name is $(hexdump -C /sys/class/net/eth0/ifalias | head -n 3)"
	;;
esac
need_net
send_file /tmp/noise
receive_file
ping -c 2 -s 20000 -W 1 $PEER || fail "no answer to large frames"
host nic0 say truth
rebind_card
need_net
receive_little
